"""What is drawn."""

from __future__ import annotations
