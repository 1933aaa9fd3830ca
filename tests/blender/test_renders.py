"""What Cycles makes of the maps: normals that point where the model says, pictures that equal the photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from lotus_core.maps import Depth, Normals

from .scenes import add_photo, checks, put

SIZE = 32


def render_normals(bpy: Any, path: Path, width: int, height: int) -> np.ndarray:
    """The pass with the shading normals, world axes, float32 H×W×3, one sample through each pixel's centre."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.filter_width = 0.01
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    bpy.context.view_layer.use_pass_normal = True
    settings = scene.render.image_settings
    if bpy.app.version >= (5, 0, 0):
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format, settings.color_depth = "OPEN_EXR_MULTILAYER", "32"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = {name[-1]: channel.pixels for part in file.parts for name, channel in part.channels.items()}
    return np.dstack([planes[axis] for axis in "XYZ"])


def front_plane(bpy: Any, width: int, height: int) -> Any:
    """A plane in front of a camera that sees exactly it, upright in the world's x and y; the active object."""
    bpy.ops.mesh.primitive_plane_add(size=1)
    plane = bpy.context.object
    plane.data.uv_layers[0].name = "UVMap"
    plane.scale = (width, height, 1)
    bpy.ops.object.transform_apply()  # Blender bends normal maps of objects that are scaled unevenly
    bpy.ops.object.camera_add(location=(0, 0, 10))
    camera = bpy.context.object
    camera.data.type = "ORTHO"
    camera.data.ortho_scale = max(width, height)
    bpy.context.scene.camera = camera
    camera.select_set(False)
    plane.select_set(True)
    bpy.context.view_layer.objects.active = plane
    return plane


@pytest.mark.parametrize("place", ["EXR", "PNG"])
def test_a_plane_with_the_normal_map_has_the_model_s_normals(bpy: Any, tmp_path: Path, place: str) -> None:
    """The front-plane error: 0.05° at most, also after the map was a 16-bit file. A flipped axis is off by degrees."""
    rows, columns = np.mgrid[:SIZE, : SIZE + 8] / SIZE
    # Lotus: x left, y up. Up to 40°: Cycles itself bends normals that would mirror a ray into the surface, from 45° on.
    left, up = 0.5 * np.sin(5 * columns + rows) + 0.1, 0.5 * np.cos(4 * rows) - 0.1
    truth = Normals.from_vectors(np.dstack([left, up, np.ones_like(up)]).astype(np.float32), "lotus")
    add_photo(bpy, checks(SIZE, SIZE + 8))
    if place == "EXR":
        put(bpy.context.scene.lotus.image, "normal", truth)
    else:
        truth.save(tmp_path / "n.png")
        assert bpy.ops.lotus.import_map(filepath=str(tmp_path / "n.png"), kind="NORMAL") == {"FINISHED"}
    front_plane(bpy, SIZE + 8, SIZE)
    assert bpy.ops.lotus.material(use_normal=True) == {"FINISHED"}
    found = Normals.from_vectors(render_normals(bpy, tmp_path / "n.exr", SIZE + 8, SIZE), "opengl")
    assert found.angle_to(truth).max() <= 0.05, "degrees"
    for signs in ((-1, 1, 1), (1, -1, 1)):
        flipped = Normals(truth.values * np.float32(signs), "lotus")
        assert np.median(found.angle_to(flipped)) > 20


def test_a_scene_mesh_seen_from_its_camera_has_the_normals_of_its_surface(bpy: Any, tmp_path: Path) -> None:
    """Predicted normals on a flat surface, through camera and world axes."""
    add_photo(bpy, checks(SIZE, SIZE))
    photo = bpy.context.scene.lotus.image
    put(photo, "depth", Depth(np.full((SIZE, SIZE), 0.5, np.float32), "disparity"))
    tilted = Normals.from_vectors(np.full((SIZE, SIZE, 3), (-0.4, 0.3, 0.9), np.float32), "lotus")
    put(photo, "normal", tilted)
    assert bpy.ops.lotus.scene_mesh(normals=True, refine=False, use_cut=False, shading="PRINCIPLED") == {"FINISHED"}
    world = render_normals(bpy, tmp_path / "n.exr", SIZE, SIZE)
    camera = np.array(bpy.context.scene.camera.matrix_world.to_3x3(), np.float32)
    found = Normals.from_vectors(world @ camera, "opengl")
    assert found.angle_to(tilted)[2:-2, 2:-2].max() <= 0.2


def test_the_emission_render_is_the_photo(bpy: Any, tmp_path: Path) -> None:
    """F12 after Scene Mesh: every pixel of the photo, one grey level apart at most."""
    pixels = checks(48, 64)
    photo = add_photo(bpy, pixels)
    rows, columns = np.mgrid[:48, :64] / 64
    put(photo, "depth", Depth((0.4 + 0.2 * np.sin(5 * columns) * np.cos(4 * rows)).astype(np.float32), "disparity"))
    assert bpy.ops.lotus.scene_mesh(use_cut=False, refine=False) == {"FINISHED"}
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 16, False
    scene.render.filepath = str(tmp_path / "r.png")
    bpy.ops.render.render(write_still=True)
    from PIL import Image

    with Image.open(tmp_path / "r.png") as picture:
        found = np.asarray(picture.convert("RGB")).astype(int)
    inside = np.s_[1:-1, 1:-1]  # the mesh ends at the centres of the outermost pixels
    assert np.abs(found - pixels)[inside].mean() < 2
