"""Lotus Geometry: depth, normals and textured meshes from one photo, inside Blender.

torch never enters Blender: predictions come from another process (`backends`). This package only translates between
lotus_core and Blender's data.
"""

from __future__ import annotations


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    from . import registration

    registration.unregister()
