"""Metrics, affine alignment, benchmark data sets and the evaluation runs that put them together."""
