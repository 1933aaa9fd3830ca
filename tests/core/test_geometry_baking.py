"""Tangent-space maps, curvature, occlusion."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera, Mesh, baking, decimate, grid_mesh
from lotus_core.geometry.baking import ambient_occlusion, curvature_map, shading_frame, tangent_map, vertex_tangents
from lotus_core.maps import Normals

from .scenes import ball_scene


def bumps(height: int, width: int) -> Normals:
    y, x = np.mgrid[0:height, 0:width]
    return Normals.from_vectors(np.dstack([np.sin(x / 3), np.cos(y / 4), np.full(x.shape, 2.5)]), "opengl")


def test_on_a_flat_plane_the_map_is_the_normal_map() -> None:
    camera = Camera.default(48, 36)
    plane = grid_mesh(np.full((36, 48), 3.0), camera)
    for convention in ("lotus", "opengl"):
        found = tangent_map(plane, bumps(36, 48).to(convention), camera)  # type: ignore[arg-type]
        assert found.convention == "opengl"
        inner = found.angle_to(bumps(36, 48))[1:-1, 1:-1]
        assert inner.max() < 0.01
    flipped = found.to("directx").values
    assert np.allclose(flipped * [1, -1, 1], found.values)


def test_a_mesh_that_has_all_the_relief_gets_an_empty_map() -> None:
    scene = ball_scene(160, 120)
    mesh = grid_mesh(scene.z, scene.camera).with_normals()
    own = np.zeros((120, 160, 3), np.float32)
    own.reshape(-1, 3)[mesh.attributes["pixel"]] = mesh.normals
    found = tangent_map(mesh, Normals(own, "opengl"), scene.camera)
    assert np.degrees(np.arccos(found.values[..., 2].clip(-1, 1))).mean() < 0.01


def test_the_map_gives_a_light_mesh_the_shading_of_the_photo() -> None:
    scene = ball_scene(320, 240)
    light = decimate(grid_mesh(scene.z, scene.camera), 6000, scene.camera).with_normals()
    wanted = Normals.from_vectors(scene.normals + 0.3 * bumps(240, 320).values * [1, 1, 0], "opengl")
    frame = shading_frame(light, scene.camera)
    shaded = Normals(frame.apply(tangent_map(light, wanted, scene.camera).values), "opengl")
    plain = Normals(frame.apply(np.tile(np.float32([0, 0, 1]), (240, 320, 1))), "opengl")
    inside = frame.covered & (scene.normals @ [0, 0, 1] > 0.15)
    assert shaded.angle_to(wanted)[inside].mean() < 0.1
    assert plain.angle_to(wanted)[inside].mean() > 5
    # The full camera-space map on top of the relief would count the relief twice.
    twice = Normals(frame.apply(wanted.values), "opengl")
    assert twice.angle_to(wanted)[inside & (scene.part == 2)].mean() > 10


def test_a_large_map_is_baked_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera.default(1600, 1000)
    z = np.tile(np.linspace(2, 3, 1600), (1000, 1))
    mesh, wanted = grid_mesh(z, camera, stride=40).with_normals(), bumps(1000, 1600)
    tracemalloc.start()
    found = tangent_map(mesh, wanted, camera)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * camera.width * camera.height, "bytes; all at once takes some 300 for each pixel"
    monkeypatch.setattr(baking, "_BAKED_AT_ONCE", 2**40)
    assert np.abs(found.values - tangent_map(mesh, wanted, camera).values).max() < 1e-5, "no seams between the bands"


def test_tangents_follow_u_at_a_right_angle_to_the_normal() -> None:
    scene = ball_scene(80, 60)
    mesh = grid_mesh(scene.z, scene.camera).with_normals()
    found = vertex_tangents(mesh)
    assert found[:, 3].tolist() == [1.0] * len(mesh.vertices)
    assert np.linalg.norm(found[:, :3], axis=1) == pytest.approx(1, abs=1e-5)
    assert mesh.normals is not None
    assert np.abs((found[:, :3] * mesh.normals).sum(axis=1)).max() < 1e-5
    assert (found[:, 0] > 0).mean() > 0.99, "u grows to the right"


def test_maps_without_a_surface_are_refused_or_neutral() -> None:
    camera = Camera.default(20, 10)
    with pytest.raises(LotusError, match="UVs"):
        tangent_map(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), bumps(10, 20), camera)
    z = np.full((10, 20), 2.0)
    z[:, :10] = np.nan
    found = tangent_map(grid_mesh(z, camera), bumps(10, 20), camera)
    assert np.array_equal(found.values[:, :9], np.tile(np.float32([0, 0, 1]), (10, 9, 1)))
    unknown = tangent_map(grid_mesh(np.full((10, 20), 2.0), camera), Normals(np.zeros((10, 20, 3))), camera)
    assert np.array_equal(unknown.values, np.tile(np.float32([0, 0, 1]), (10, 20, 1)))


def test_curvature_and_occlusion_see_ridges_and_corners() -> None:
    scene = ball_scene(160, 120)
    curvature = curvature_map(Normals(scene.normals, "opengl"))
    assert curvature[70, 84] > 0.05, "the ball bulges"
    corner = np.abs(np.diff(scene.part, axis=0)).argmax(axis=0)[5]
    assert curvature[corner, 5] < -0.1, "the floor meets the wall in a groove"
    assert abs(curvature[10, 10]) < 1e-6
    cut_out = scene.part == 2
    ball = curvature_map(Normals(scene.normals * cut_out[..., None], "opengl"))
    assert ball[cut_out].min() > 0, "the ball alone bulges up to its rim"
    assert not ball[~cut_out].any()
    open_sky = ambient_occlusion(scene.z, Normals(scene.normals, "opengl"), scene.camera, radius_px=20)
    assert open_sky[10, 10] > 0.98
    assert open_sky[corner + 2, 5] < open_sky[110, 5] - 0.03
    assert ((open_sky >= 0) & (open_sky <= 1)).all()
