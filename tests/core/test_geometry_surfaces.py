"""Relief, point cloud, decimation, holes, and the small triangles along silhouettes."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera, Mesh, check_printable, decimate, grid_mesh, point_cloud, relief_mesh, save_mesh
from lotus_core.geometry.decimate import border_vertices
from lotus_core.geometry.grid import fill_holes

from .scenes import ball_scene, surface_distance


def test_a_relief_with_a_base_is_a_printable_solid() -> None:
    y, x = np.mgrid[0:40, 0:60]
    height = 0.5 + 0.5 * np.sin(x / 9) * np.cos(y / 7)
    mesh = relief_mesh(height, width_mm=60, relief_mm=5, base_mm=2)
    report = check_printable(mesh)
    assert report.ok
    assert report.pieces == 1
    size = np.ptp(mesh.vertices, axis=0)
    assert size[:2] == pytest.approx([59, 39])
    assert mesh.vertices[:, 2].min() == -2
    assert report.volume == pytest.approx(59 * 39 * (2 + 5 * height.mean()), rel=0.02)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume == pytest.approx(report.volume)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 7), st.integers(2, 7), st.integers(0, 2**49 - 1), st.integers(1, 3))
def test_any_cut_out_relief_is_printable(height: int, width: int, bits: int, stride: int) -> None:
    valid = np.array([bits >> i & 1 for i in range(height * width)], bool).reshape(height, width)
    heights = np.linspace(0, 1, height * width).reshape(height, width)
    with contextlib.suppress(LotusError):  # nothing is left of some masks
        assert check_printable(relief_mesh(heights, base_mm=1, valid=valid, stride=stride)).ok


def test_broken_solids_are_recognised() -> None:
    mesh = relief_mesh(np.zeros((3, 3)), base_mm=1)
    assert check_printable(mesh).ok
    assert not check_printable(replace(mesh, faces=mesh.faces[1:])).closed
    assert not check_printable(replace(mesh, faces=mesh.faces[:, ::-1])).outward
    assert not check_printable(relief_mesh(np.zeros((3, 3)))).ok


@pytest.mark.parametrize(
    ("height", "options"),
    [
        (np.zeros((1, 5)), {}),
        (np.full((4, 4), np.nan), {}),
        (np.zeros((4, 4)), {"valid": np.zeros((4, 4), bool)}),
        (np.zeros((4, 4)), {"width_mm": 0}),
        (np.zeros((4, 4)), {"base_mm": -1}),
    ],
)
def test_impossible_reliefs(height: np.ndarray, options: dict) -> None:
    with pytest.raises(LotusError):
        relief_mesh(height, **options)


def test_point_cloud_has_the_photos_colours_and_lies_on_the_scene(tmp_path: Path) -> None:
    scene = ball_scene(40, 30)
    photo = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    cloud = point_cloud(scene.z, scene.camera, scene.part != 0, photo=photo, normals=scene.normals, stride=2)
    assert cloud.faces.shape == (0, 3)
    assert surface_distance(cloud.vertices).max() < 1e-5
    assert np.array_equal(cloud.attributes["color"], photo.reshape(-1, 3)[cloud.attributes["pixel"]])
    assert len(cloud.vertices) == (scene.part[::2, ::2] != 0).sum()
    for suffix in (".ply", ".glb"):
        save_mesh(cloud, tmp_path / f"cloud{suffix}")
        assert (tmp_path / f"cloud{suffix}").stat().st_size > 15 * len(cloud.vertices)
    data = (tmp_path / "cloud.glb").read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    (primitive,) = tree["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert primitive["attributes"].keys() == {"POSITION", "COLOR_0", "NORMAL"}
    assert tree["accessors"][primitive["attributes"]["POSITION"]]["count"] == len(cloud.vertices)
    header = (tmp_path / "cloud.ply").read_bytes().split(b"end_header")[0].decode()
    assert " nx\n" in header
    assert " red\n" in header
    with pytest.raises(LotusError, match="No point is left"):
        point_cloud(np.zeros((30, 40)), scene.camera)


def test_points_without_a_normal_face_the_camera() -> None:
    camera = Camera.default(6, 4)
    normals = np.tile(np.float32([0.6, 0, 0.8]), (4, 6, 1))
    normals[1, 2] = 0  # unknown, as in a filled hole
    found = point_cloud(np.full((4, 6), 2.0), camera, normals=normals).normals
    assert found is not None
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert found[1 * 6 + 2].tolist() == [0, 0, 1]
    assert normals[1, 2].tolist() == [0, 0, 0], "the map itself stays"


def test_decimation_keeps_the_surface_the_silhouette_and_the_uvs() -> None:
    scene = ball_scene(320, 240)
    mesh = grid_mesh(scene.z, scene.camera).with_normals()
    small = decimate(mesh, 12_000, scene.camera)
    assert len(small.faces) <= 12_000
    size = np.ptp(mesh.vertices, axis=0).max()
    assert surface_distance(small.vertices).max() < 2e-3 * size
    assert small.uvs is not None
    pixels = scene.camera.project(small.vertices)
    assert np.abs(small.uvs * [320, -240] + [0, 240] - pixels).max() < 0.01
    before = scene.camera.project(mesh.vertices[border_vertices(mesh.faces, len(mesh.vertices))])
    after = scene.camera.project(small.vertices[border_vertices(small.faces, len(small.vertices))])
    assert trimesh.proximity.cKDTree(after).query(before)[0].max() <= 1
    a, b = small.vertices[small.faces[:, 0]].astype(float), small.vertices[small.faces[:, 1]].astype(float)
    halfway = (scene.camera.project(a) + scene.camera.project(b)) / 2
    slip = np.linalg.norm(scene.camera.project((a + b) / 2) - halfway, axis=1)
    assert np.quantile(slip, 0.99) < 0.5, "the photo does not swim inside large faces"
    assert small.normals is not None
    assert np.allclose(np.linalg.norm(small.normals, axis=1), 1, atol=1e-5)
    assert decimate(small, 1_000_000, scene.camera) is small


def test_decimation_does_not_depend_on_the_unit() -> None:
    scene = ball_scene(160, 120)
    for unit in (1e-3, 1.0, 1e4):
        small = decimate(grid_mesh(scene.z * unit, scene.camera), 3000, scene.camera)
        assert surface_distance(small.vertices / unit).max() < 0.03


def test_decimated_relief_stays_printable_with_its_picture() -> None:
    y, x = np.mgrid[0:60, 0:80]
    mesh = relief_mesh(np.sin(x / 10) ** 2 * np.sin(y / 8) ** 2, width_mm=80, base_mm=3)
    small = decimate(mesh, 3000)
    assert check_printable(small).closed
    assert small.uvs is not None
    wanted = np.column_stack([small.vertices[:, 0] / 80 + 0.5, small.vertices[:, 1] / 60 + 0.5])
    assert np.abs(small.uvs - wanted).max() < 1e-3


def test_impossible_decimation() -> None:
    scene = ball_scene(20, 20)
    mesh = grid_mesh(scene.z, scene.camera)
    with pytest.raises(LotusError, match="at least 4"):
        decimate(mesh, 2)
    with pytest.raises(LotusError, match="no faces"):
        decimate(Mesh(mesh.vertices, np.zeros((0, 3))), 100)
    with pytest.raises(LotusError, match="behind its camera"):
        decimate(Mesh(-mesh.vertices, mesh.faces), 100, scene.camera)


def test_half_cells_smooth_the_silhouette_without_crossing_it() -> None:
    scene = ball_scene(160, 120)
    smooth, steps = grid_mesh(scene.z, scene.camera), grid_mesh(scene.z, scene.camera, quads=True)
    assert len(steps.triangles()) < len(smooth.faces) < 1.05 * len(steps.triangles())
    z = -smooth.vertices[smooth.faces][..., 2]
    assert (z.max(axis=1) / z.min(axis=1)).max() <= 1.04 + 1e-6
    corners = smooth.vertices[smooth.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * corners.mean(axis=1)).sum(axis=1) < 0).all()


def test_holes_are_closed_smoothly_and_only_small_ones() -> None:
    z = np.tile(np.linspace(2, 3, 40), (30, 1))
    valid = np.ones(z.shape, bool)
    valid[10:14, 10:14] = False
    valid[2:12, 25:38] = False
    valid[20:, :5] = False
    filled, mask = fill_holes(np.where(valid, z, np.nan), valid, max_pixels=30)
    assert mask[10:14, 10:14].all()
    assert not mask[5, 30]
    assert not mask[25, 2]
    assert np.abs(filled[10:14, 10:14] / z[10:14, 10:14] - 1).max() < 5e-3
    assert np.array_equal(filled[valid], z.astype(np.float32)[valid])
    camera = Camera.default(40, 30)
    assert len(grid_mesh(filled, camera, mask).vertices) == mask.sum()
