"""A .blend of a mesh file, made by Blender's own importer where Blender is installed as a Python module (`bpy`)."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_SECONDS = 120.0  # for what takes three
_PROGRAM = """
import sys
import bpy

mesh, target, width, height = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=mesh)
scene = bpy.context.scene
scene.camera = next(thing for thing in bpy.data.objects if thing.type == "CAMERA")
scene.render.resolution_x, scene.render.resolution_y = int(width), int(height)
scene.view_settings.view_transform = "Standard"
bpy.ops.wm.save_as_mainfile(filepath=target, compress=True)
"""


def write_blend(mesh: Path, target: Path, size: tuple[int, int]) -> bool:
    """A scene of a GLB with its photo packed, seen by its camera in renders of `size` (width, height); False where
    `bpy` is not installed or could not make one. In a process of its own: it changes the one that imports it for good.
    """
    if find_spec("bpy") is None:
        return False
    words = [str(mesh.absolute()), str(target.absolute()), *map(str, size)]
    try:
        subprocess.run([sys.executable, "-c", _PROGRAM, *words], capture_output=True, check=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return False
    return target.is_file()
