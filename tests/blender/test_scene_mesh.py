"""The scene mesh lines up with the photo, pixel by pixel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotus_core.maps import Depth, Normals, Uncertainty

from .driving import enabled
from .scenes import add_photo, checks, hills, positions, put


def build(bpy: Any, **options: Any) -> tuple[Any, Any]:
    assert bpy.ops.lotus.scene_mesh(**options) == {"FINISHED"}
    mesh = bpy.context.view_layer.objects.active
    return mesh, next(obj for obj in bpy.data.objects if obj.type == "CAMERA")


def project(bpy: Any, camera: Any, obj: Any) -> np.ndarray:
    """Where Blender's own camera puts the vertices, pixels from the upper left corner."""
    scene = bpy.context.scene
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    width, height = scene.render.resolution_x, scene.render.resolution_y
    matrix = np.array(camera.calc_matrix_camera(graph, x=width, y=height)) @ np.array(camera.matrix_world.inverted())
    points = positions(obj.data)
    world = np.column_stack([points, np.ones(len(points))]) @ np.array(obj.matrix_world).T
    clip = world @ matrix.T
    ndc = clip[:, :2] / clip[:, 3:]
    return np.column_stack([(ndc[:, 0] + 1) / 2 * width, (1 - ndc[:, 1]) / 2 * height])


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (80, 80), (101, 37)])
@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_every_vertex_lies_on_its_pixel(bpy: Any, width: int, height: int, scale: float) -> None:
    photo = add_photo(bpy, checks(height, width))
    put(photo, "depth", Depth(hills(height, width), "disparity"))
    obj, camera = build(bpy, use_cut=False, refine=False, scale=scale)
    rows, columns = np.mgrid[:height, :width]
    expected = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    assert np.abs(project(bpy, camera, obj) - expected).max() <= 0.01
    assert (bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y) == (width, height)
    assert bpy.context.scene.camera == camera
    assert camera.data.background_images[0].image == photo


def test_the_distances_are_those_of_the_depth_map(bpy: Any) -> None:
    values = hills(48, 64)
    photo = add_photo(bpy, checks(48, 64))
    depth = Depth(values, "disparity")
    put(photo, "depth", depth)
    obj, camera = build(bpy, use_cut=False, refine=False, far=6.0, scale=2.0)
    bpy.context.view_layer.update()
    forward = -np.array(camera.matrix_world)[:3, 2]
    world = positions(obj.data) @ np.array(obj.matrix_world)[:3, :3].T
    np.testing.assert_allclose(world @ forward, 2 * depth.to_z(1, 6).ravel(), rtol=1e-5)


def test_depth_range_and_scale_place_the_ends_of_the_range_and_not_the_points(bpy: Any) -> None:
    """Of a map from 0.25 to 0.75: 1 / (0.75 · 1/5 + 0.25 · 1) = 2.5 at its far side, 1.25 at its near side."""
    photo = add_photo(bpy, checks(48, 64))
    put(photo, "depth", Depth(np.tile(np.linspace(0.25, 0.75, 64, dtype=np.float32), (48, 1)), "disparity"))
    obj, _ = build(bpy, use_cut=False, refine=False, far=5.0, scale=3.0)
    away = -positions(obj.data)[:, 2] * obj.scale[2]
    np.testing.assert_allclose([away.min(), away.max()], [3 * 1.25, 3 * 2.5], rtol=1e-5)


def test_texture_coordinates_are_pixel_centres(bpy: Any) -> None:
    photo = add_photo(bpy, checks(20, 30))
    put(photo, "depth", Depth(hills(20, 30), "disparity"))
    obj, _ = build(bpy, use_cut=False, refine=False)
    mesh = obj.data
    uvs = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers["UVMap"].data.foreach_get("uv", uvs)
    corner = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    expected = np.column_stack([(corner % 30 + 0.5) / 30, 1 - (corner // 30 + 0.5) / 20])
    np.testing.assert_allclose(uvs.reshape(-1, 2), expected, atol=1e-6)


def test_the_mesh_is_sound_and_faces_the_camera(bpy: Any) -> None:
    photo = add_photo(bpy, checks(64, 80))
    put(photo, "depth", Depth(hills(64, 80), "disparity"))
    for options in ({}, {"use_cut": False}, {"stride": 3}, {"cut": 0.2, "min_faces": 0}):
        obj, _ = build(bpy, **options)
        assert not obj.data.validate(verbose=True)
        assert all(polygon.normal.z > 0 for polygon in obj.data.polygons)


@pytest.mark.parametrize("budget", [5039, 5040, 1000, 57, 1])
def test_a_face_budget_is_kept_and_the_mesh_still_covers_the_photo(bpy: Any, budget: int) -> None:
    photo = add_photo(bpy, checks(64, 81))
    put(photo, "depth", Depth(hills(64, 81), "disparity"))
    obj, camera = build(bpy, use_cut=False, refine=False, max_faces=budget)
    assert budget / 5 <= len(obj.data.polygons) <= budget
    assert not obj.data.validate(verbose=True)
    seen = project(bpy, camera, obj)
    np.testing.assert_allclose([seen.min(0), seen.max(0)], [[0.5, 0.5], [80.5, 63.5]], atol=0.01)


def test_cuts_tear_the_surface_at_the_step_only(bpy: Any) -> None:
    photo = add_photo(bpy, checks(64, 80))
    values = hills(64, 80)
    put(photo, "depth", Depth(values, "disparity"))
    obj, _ = build(bpy, cut=0.5, min_faces=0, refine=False)
    z = Depth(values, "disparity").to_z()
    blocks = np.stack([z[:-1, :-1], z[1:, :-1], z[:-1, 1:], z[1:, 1:]])
    assert len(obj.data.polygons) == int((blocks.max(0) <= blocks.min(0) * 1.5).sum()) < 63 * 79


def test_masked_pixels_make_no_face(bpy: Any) -> None:
    valid = np.ones((40, 50), bool)
    valid[10:20, 5:30] = False
    photo = add_photo(bpy, checks(40, 50))
    put(photo, "depth", Depth(np.full((40, 50), 0.5, np.float32), "disparity", valid))
    obj, _ = build(bpy)
    assert len(obj.data.polygons) == 39 * 49 - 11 * 26


def test_the_least_certain_pixels_go(bpy: Any) -> None:
    photo = add_photo(bpy, checks(40, 50))
    put(photo, "depth", Depth(np.full((40, 50), 0.5, np.float32), "disparity"))
    std = np.zeros((40, 50), np.float32)
    std[:10] = 0.2
    put(photo, "uncertainty", Uncertainty(std, None, 8, "depth"))
    obj, _ = build(bpy, uncertainty_cut=30.0)
    assert len(obj.data.polygons) == 29 * 49
    attribute = obj.data.attributes["uncertainty"]
    assert (attribute.data_type, attribute.domain, len(attribute.data)) == ("FLOAT", "POINT", 30 * 50)


def test_point_attributes_hold_the_distance(bpy: Any) -> None:
    photo = add_photo(bpy, checks(24, 32))
    depth = Depth(hills(24, 32), "depth")
    put(photo, "depth", depth)
    obj, _ = build(bpy, use_cut=False, refine=False)
    found = np.empty(24 * 32, np.float32)
    obj.data.attributes["depth"].data.foreach_get("value", found)
    np.testing.assert_allclose(found, depth.to_z(1, 10).ravel(), rtol=1e-6)


def test_predicted_normals_shade_the_mesh(bpy: Any) -> None:
    photo = add_photo(bpy, checks(24, 32))
    put(photo, "depth", Depth(np.full((24, 32), 0.5, np.float32), "disparity"))
    tilted = np.zeros((24, 32, 3), np.float32)
    tilted[:] = np.array([0.6, 0.0, 0.8])  # OpenGL: to the right
    put(photo, "normal", Normals(tilted, "opengl"))
    obj, _ = build(bpy, use_cut=False, refine=False, normals=True)
    corners = np.array([list(normal.vector) for normal in obj.data.corner_normals])
    angle = np.degrees(np.arccos(np.clip(corners @ [0.6, 0.0, 0.8], -1, 1)))
    assert angle.max() <= 0.1


def test_normals_sharpen_the_surface(bpy: Any) -> None:
    """The depth is smooth; only the normals know of the ripples."""
    rows, columns = np.mgrid[:64, :64] / 64
    photo = add_photo(bpy, checks(64, 64))
    put(photo, "depth", Depth(np.full((64, 64), 0.5, np.float32), "disparity"))
    slope = 0.5 * np.cos(2 * np.pi * 8 * columns)
    put(photo, "normal", Normals.from_vectors(np.dstack([-slope, 0 * rows, np.ones_like(slope)]), "opengl"))
    plain, _ = build(bpy, refine=False)
    refined, _ = build(bpy, refine=True)
    assert np.ptp(positions(plain.data)[:, 2]) < 1e-5
    profile = positions(refined.data)[:, 2].reshape(64, 64)[20:44].mean(axis=0)
    rise = np.gradient(profile)[4:-4]
    assert np.corrcoef(rise, slope[0, 4:-4])[0, 1] > 0.95


def test_what_cannot_be_built_is_one_sentence_and_leaves_nothing(bpy: Any) -> None:
    photo = add_photo(bpy, checks(40, 50))
    before = {name: len(getattr(bpy.data, name)) for name in ("meshes", "objects", "cameras", "materials")}
    lonely = np.zeros((40, 50), bool)
    lonely[::2, ::2] = True
    for valid in (np.zeros((40, 50), bool), lonely):
        put(photo, "depth", Depth(hills(40, 50), "disparity", valid))
        with pytest.raises(RuntimeError, match="No surface is left: "):
            bpy.ops.lotus.scene_mesh()
    assert before == {name: len(getattr(bpy.data, name)) for name in before}


@pytest.mark.parametrize(("options", "warning", "faces"), [
    ({"normals": True}, "The mesh has no predicted normals, which need a normal map", 39 * 49),
    ({"uncertainty_cut": 10.0}, "No unsure pixels were cut, which needs an uncertainty map", 39 * 49),
    ({"cut": 0.001}, "Cuts would leave no surface, so there are none: raise the number beside Cut", 39 * 49),
    ({"min_faces": 10_000, "cut": 0.3}, "All pieces are smaller than Smallest island, so all", 39 * 48),
])  # fmt: skip
def test_options_of_another_photo_do_not_stop_this_one(
    bpy: Any, capfd: pytest.CaptureFixture[str], options: dict[str, Any], warning: str, faces: int
) -> None:
    """Blender remembers them, and an operator that fails shows no panel where they could be changed."""
    rows, columns = np.mgrid[:40, :50]
    photo = add_photo(bpy, checks(40, 50))
    values = (rows + columns) % 2 * 0.1 + 0.4 * (columns >= 25) + 0.3  # no neighbours alike, and two halves
    put(photo, "depth", Depth(values.astype(np.float32), "depth"))
    obj, _ = build(bpy, **({"refine": False, "use_cut": False} | {"use_cut": "cut" in options} | options))
    assert f"Warning: {warning}" in capfd.readouterr().out
    assert len(obj.data.polygons) == faces


def test_a_step_that_leaves_no_face_of_a_torn_surface_is_lowered(bpy: Any, capfd: pytest.CaptureFixture[str]) -> None:
    values = np.full((40, 50), 0.2, np.float32)
    values[::4] = 0.9  # every fourth row is far in front of the others
    photo = add_photo(bpy, checks(40, 50))
    put(photo, "depth", Depth(values, "disparity"))
    obj, _ = build(bpy, refine=False, min_faces=0, stride=16)
    assert len(obj.data.polygons) > 0
    assert "since a larger one leaves none" in capfd.readouterr().out


def test_a_large_photo_makes_two_million_faces_unless_more_are_asked_for(
    bpy: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = add_photo(bpy, np.zeros((1400, 1600, 3), np.uint8))
    put(photo, "depth", Depth(np.full((1400, 1600), 0.5, np.float32), "disparity"))
    obj, _ = build(bpy, refine=False, attributes=False)
    assert len(obj.data.polygons) == 700 * 800
    assert "Info: 560,000 faces, with a step of 2 for the face budget" in capfd.readouterr().out
    obj, _ = build(bpy, refine=False, attributes=False, max_faces=0)
    assert len(obj.data.polygons) == 1399 * 1599


@pytest.mark.parametrize("scale", [0.01, 1.0, 500.0])
def test_the_camera_sees_the_whole_scene_at_any_scale(bpy: Any, scale: float) -> None:
    photo = add_photo(bpy, checks(40, 50))
    put(photo, "depth", Depth(np.linspace(0, 1, 40 * 50, dtype=np.float32).reshape(40, 50), "disparity"))
    obj, camera = build(bpy, use_cut=False, refine=False, scale=scale, far=20.0)
    bpy.context.view_layer.update()
    away = (positions(obj.data) @ np.array(obj.matrix_world)[:3, :3].T) @ -np.array(camera.matrix_world)[:3, 2]
    assert camera.data.clip_start < away.min() < away.max() < camera.data.clip_end


def test_what_is_built_is_seen_in_local_view(bpy: Any) -> None:
    photo = add_photo(bpy, checks(24, 32))
    put(photo, "depth", Depth(hills(24, 32), "disparity"))
    bpy.ops.mesh.primitive_cube_add()
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        assert bpy.ops.view3d.localview() == {"FINISHED"}
        obj, camera = build(bpy)
        relief = bpy.ops.lotus.relief() and bpy.context.view_layer.objects.active
        assert area.spaces.active.local_view is not None
        assert all(thing.visible_get(viewport=area.spaces.active) for thing in (obj, camera, relief))


def test_without_a_photo_or_depth_the_button_is_disabled(bpy: Any) -> None:
    every = ("predict", "import_map", "material", "export_map", "scene_mesh", "relief", "normal_texture")
    assert not any(enabled(bpy, name) for name in every)
    photo = add_photo(bpy, checks(40, 50))
    assert [name for name in every if enabled(bpy, name)] == ["predict", "import_map", "material"]
    put(photo, "depth", Depth(hills(40, 50), "disparity"))
    assert [name for name in every if not enabled(bpy, name)] == ["normal_texture"]


def test_scripts_name_a_photo_that_the_panel_does_not_show(bpy: Any, tmp_path: Path) -> None:
    photo = add_photo(bpy, checks(40, 50), "shown nowhere")
    put(photo, "depth", Depth(hills(40, 50), "disparity"))
    put(photo, "normal", Normals.from_vectors(np.ones((40, 50, 3), np.float32)))
    bpy.context.scene.lotus.image = None
    file = str(tmp_path / "depth.exr")
    for operator, options in (
        ("scene_mesh", {}),
        ("relief", {}),
        ("material", {}),
        ("normal_texture", {}),
        ("export_map", {"filepath": file}),
        ("import_map", {"filepath": file, "space": "disparity"}),
    ):
        assert getattr(bpy.ops.lotus, operator)(image="shown nowhere", **options) == {"FINISHED"}, operator
        with pytest.raises(RuntimeError, match="There is no photo: choose one"):
            getattr(bpy.ops.lotus, operator)(**options)
    add_photo(bpy, checks(40, 50), "without maps")
    for operator, lack in (
        ("scene_mesh", "no depth map"),
        ("normal_texture", "no normal map"),
        ("export_map", "no map"),
    ):
        with pytest.raises(RuntimeError, match=f"without maps has {lack} yet"):
            getattr(bpy.ops.lotus, operator)()
    with pytest.raises(RuntimeError, match="There is no image named gone"):
        bpy.ops.lotus.relief(image="gone")


def test_the_field_of_view_comes_from_the_option_else_the_photo(bpy: Any) -> None:
    photo = add_photo(bpy, checks(64, 96))
    put(photo, "depth", Depth(hills(64, 96), "disparity"))
    _, camera = build(bpy, use_fov=True, fov=math.radians(70))
    assert math.degrees(camera.data.angle_x) == pytest.approx(70, abs=1e-3)
    bpy.data.objects.remove(camera)
    photo.lotus.focal_35mm = 50
    _, camera = build(bpy)
    assert camera.data.lens == pytest.approx(50, rel=1e-3)  # 3:2, as film
