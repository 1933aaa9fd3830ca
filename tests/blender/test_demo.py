"""`lotus demo` where Blender is installed as a module: a scene that opens and renders as the photo's camera saw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lotus_core.cli import main


def test_the_demo_writes_a_scene_of_blender_s_own(bpy: Any, tmp_path: Path) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo"), "--quiet"]) == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "demo" / "scene.blend"))
    (mesh,) = bpy.data.meshes
    assert len(mesh.vertices) > 10_000
    assert bpy.context.scene.camera.type == "CAMERA"
    assert all(image.packed_file for image in bpy.data.images if image.size[0])
    render = bpy.context.scene.render
    with Image.open(tmp_path / "demo" / "coffee_depth.png") as depth:
        assert (render.resolution_x, render.resolution_y) == depth.size
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    assert np.isfinite(points).all()
    assert not list((tmp_path / "demo").glob(".*"))
