"""Training and evaluation data: one `Sample` type, and a map-style data set per source."""
