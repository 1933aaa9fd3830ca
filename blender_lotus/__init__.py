"""The Blender extension. It has no operators yet: enabling it does nothing."""

from __future__ import annotations


def register() -> None:
    """Called by Blender when the extension is enabled."""


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
