"""The few names that several modules share."""

from __future__ import annotations

PACKAGE = __package__
KINDS = ("depth", "normal", "uncertainty")
