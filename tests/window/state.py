"""What the story asks of Blender and of the installed extension. Runs inside Blender."""

from __future__ import annotations

import importlib
import time
from typing import Any

import bpy

MODULE = "bl_ext.user_default.lotus_geometry"


def part(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"{MODULE}.{name}")


def time_callbacks() -> list[float]:
    """Seconds that each call of the modal operator's timer took, filled from now on."""
    kind = part("operators.predict").ModalRun
    plain, taken = kind.modal, []

    def timed(self: Any, context: Any, event: Any) -> Any:
        started = time.perf_counter()
        try:
            return plain(self, context, event)
        finally:
            if event.type == "TIMER":
                taken.append(time.perf_counter() - started)

    kind.modal = timed
    return taken


def look_flat(view: bpy.types.Area) -> None:
    """Show textures as they are; the look with materials takes a software renderer minutes."""
    shading = view.spaces.active.shading
    shading.type, shading.light, shading.color_type = "SOLID", "FLAT", "TEXTURE"


def farthest() -> float:
    """Depth of the farthest vertex."""
    mesh = next(obj.data for obj in bpy.data.objects if obj.type == "MESH")
    found = [0.0] * len(mesh.vertices)
    mesh.attributes["depth"].data.foreach_get("value", found)
    return max(found)


def counts() -> dict[str, int]:
    """How many of each thing there are."""
    return {name: len(getattr(bpy.data, name)) for name in ("objects", "meshes", "cameras", "materials")}
