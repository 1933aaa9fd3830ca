"""A studio's own configuration of OpenColorIO, which Blender reads when it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

CONFIGURATION = """
ocio_profile_version: 1
roles: {default: Linear, scene_linear: Linear, default_byte: sRGB, default_float: Linear, default_sequencer: sRGB,
  color_picking: sRGB, data: Non-Color, texture_paint: Linear, matte_paint: Linear, compositing_log: Linear}
displays:
  Monitor:
    - !<View> {name: Studio, colorspace: sRGB}
active_displays: [Monitor]
active_views: [Studio]
colorspaces:
  - !<ColorSpace> {name: Linear, bitdepth: 32f, isdata: false}
  - !<ColorSpace> {name: sRGB, bitdepth: 32f, isdata: false,
      from_reference: !<ExponentTransform> {value: [2.2, 2.2, 2.2, 1], direction: inverse}}
  - !<ColorSpace> {name: Non-Color, bitdepth: 32f, isdata: true}
"""
CODE = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/core"]
import bpy
from lotus_core.maps import Depth
from tests.blender.inside import enable
from tests.blender.scenes import add_photo, checks, hills, put
enable({repository!r})
put(add_photo(bpy, checks(24, 32)), "depth", Depth(hills(24, 32), "disparity"))
assert bpy.ops.lotus.scene_mesh() == {{"FINISHED"}}
scene = bpy.context.scene
print("view", scene.view_settings.view_transform, scene.render.resolution_x, scene.render.filter_size)
"""


def test_without_the_view_transform_standard_the_mesh_is_built_and_the_user_told(
    blender: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "config.ocio").write_text(CONFIGURATION, encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    code = CODE.format(root=str(root), repository=str(tmp_path / "repository"))
    own = {"BLENDER_USER_RESOURCES": str(tmp_path / "user"), "OCIO": str(tmp_path / "config.ocio")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "view Studio 32 0.5" in done.stdout
    assert "Warning: The render has other colours than the photo" in done.stdout
    assert "no view transform Standard, so it stays Studio" in done.stdout
