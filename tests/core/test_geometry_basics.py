"""Camera, grid mesh, export, preview: on scenes whose surfaces are known exactly."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera, Mesh, grid_mesh, render_preview, save_mesh
from lotus_core.geometry.grid import automatic_stride, cut_cells, grid_topology, strided
from lotus_core.geometry.raster import rasterize

from .scenes import ball_scene, surface_distance


def test_importing_geometry_is_light() -> None:
    heavy = ("torch", "PIL", "trimesh", "OpenEXR")
    code = f"import sys, lotus_core.geometry; print(any(name in sys.modules for name in {heavy}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (1001, 37), (2, 300), (1, 1)])
def test_points_project_back_to_their_pixels(width: int, height: int) -> None:
    camera = Camera.default(width, height)
    z = np.random.default_rng(0).uniform(0.5, 50, (height, width))
    pixels = camera.project(camera.unproject(z))
    y, x = np.mgrid[0:height, 0:width] + 0.5
    assert np.abs(pixels - np.stack([x, y], axis=-1)).max() <= 0.001


def test_axes_are_those_of_blender_and_gltf() -> None:
    points = Camera.from_fov(3, 3, 90).unproject(np.full((3, 3), 2.0))
    assert points[1, 1].tolist() == [0, 0, -2]
    assert points[1, 2][0] > 0
    assert points[0, 1][1] > 0
    assert Camera.from_fov(3, 3, 90).focal_px == pytest.approx(1.5)


def test_exif_uses_the_diagonal() -> None:
    assert Camera.from_exif(3000, 2000, 50).horizontal_fov_deg == pytest.approx(2 * math.degrees(math.atan(18 / 50)))
    assert Camera.from_exif(2000, 3000, 50).vertical_fov_deg == pytest.approx(2 * math.degrees(math.atan(18 / 50)))
    camera = Camera.from_exif(4000, 3000, 26)
    diagonal = 2 * math.degrees(math.atan(math.hypot(4000, 3000) / 2 / camera.focal_px))
    assert diagonal == pytest.approx(2 * math.degrees(math.atan(math.hypot(36, 24) / 2 / 26)))
    assert Camera.default(600, 900).vertical_fov_deg == pytest.approx(55)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Camera(0, 5, 1.0),
        lambda: Camera(5, 5, float("nan")),
        lambda: Camera.from_fov(5, 5, 0),
        lambda: Camera.from_exif(5, 5, 0),
        lambda: Camera.default(5, 5).unproject(np.ones((4, 5))),
    ],
)
def test_impossible_cameras(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LotusError):
        make()


def test_mesh_lies_on_the_true_surfaces_and_cuts_at_the_silhouette() -> None:
    scene = ball_scene(320, 240)
    mesh = grid_mesh(scene.z, scene.camera)
    size = np.ptp(mesh.vertices, axis=0).max()
    assert surface_distance(mesh.vertices).max() <= 1e-6 * size
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    assert surface_distance(middles).mean() <= 1e-3 * size
    z = -mesh.vertices[mesh.faces][..., 2]
    assert (z.max(axis=1) / z.min(axis=1)).max() <= 1.04 + 1e-6
    parts = scene.part.ravel()[mesh.attributes["pixel"]][mesh.faces]
    assert not ((parts == 2).any(axis=1) & (parts == 0).any(axis=1)).any()


def test_uvs_and_orientation() -> None:
    scene = ball_scene(64, 48)
    for quads in (True, False):
        mesh = grid_mesh(scene.z, scene.camera, quads=quads)
        assert mesh.uvs is not None
        image = mesh.uvs * [64, -48] + [0, 48]
        assert np.abs(image - scene.camera.project(mesh.vertices)).max() < 1e-4
        corners = mesh.vertices[mesh.triangles()]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((normal * corners.mean(axis=1)).sum(axis=1) < 0).all(), "every face looks at the camera"


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(1, 8), st.integers(0, 2**56 - 1))
def test_topology_equals_the_obvious_loop(rows: int, columns: int, bits: int) -> None:
    cells = (np.array([bits >> i & 1 for i in range(rows * columns)]).reshape(rows, columns)).astype(bool)
    if bits % 5 == 0:
        cells[:] = True
    topology = grid_topology(cells)
    width = columns + 1
    quads = [
        (r * width + c, (r + 1) * width + c, (r + 1) * width + c + 1, r * width + c + 1)
        for r, c in zip(*np.nonzero(cells), strict=True)
    ]
    assert topology.pixels[topology.faces].tolist() == [list(map(int, quad)) for quad in quads]
    assert topology.pixels.tolist() == sorted({int(p) for quad in quads for p in quad})
    wanted = {frozenset((int(q[i]), int(q[(i + 1) % 4]))) for q in quads for i in range(4)}
    found = [frozenset(map(int, topology.pixels[edge])) for edge in topology.edges]
    assert len(found) == len(set(found)) == len(wanted)
    assert set(found) == wanted
    for face, edges in zip(topology.faces, topology.corner_edges, strict=True):
        for i in range(4):
            assert {int(face[i]), int(face[(i + 1) % 4])} == {int(v) for v in topology.edges[edges[i]]}


def test_cut_ignores_pixels_without_depth() -> None:
    z = np.ones((4, 5))
    z[0, 0], z[3, 4], z[0, 4] = np.nan, np.inf, -1
    cells = cut_cells(z)
    assert cells.sum() == 12 - 3
    assert not cells[0, 0]
    assert cut_cells(np.ones((3, 3)), np.eye(3, dtype=bool)).sum() == 0


def test_stride_covers_the_photo_and_finds_thin_gaps() -> None:
    z = np.full((50, 61), 2.0)
    z[:, 30] = 5.0
    mesh = grid_mesh(z, Camera.default(61, 50), stride=4)
    pixels = Camera.default(61, 50).project(mesh.vertices)
    assert pixels.min(axis=0).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert pixels.max(axis=0).tolist() == pytest.approx([60.5, 49.5], abs=1e-4)
    columns = pixels[mesh.faces][..., 0]
    assert not ((columns.min(axis=1) < 29.5) & (columns.max(axis=1) > 30.6)).any()


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(4, 3_000_000))
def test_an_automatic_stride_is_the_smallest_that_keeps_to_the_limit(height: int, width: int, limit: int) -> None:
    def vertices(stride: int) -> int:
        return len(strided(height, stride)) * len(strided(width, stride))

    stride = automatic_stride(height, width, limit)
    assert vertices(stride) <= limit
    assert stride == 1 or vertices(stride - 1) > limit


def test_photos_of_two_megapixels_keep_every_pixel() -> None:
    sizes = [(1080, 1920), (1024, 2048), (1200, 1600), (3000, 4000), (8000, 10000)]
    assert [automatic_stride(*size) for size in sizes] == [1, 1, 1, 3, 7]


def test_small_islands_can_be_dropped() -> None:
    z = np.full((40, 40), 5.0)
    z[3:7, 3:7] = 2.0
    camera = Camera.default(40, 40)
    near = grid_mesh(z, camera).vertices[:, 2].max()
    assert near == -2
    assert grid_mesh(z, camera, min_faces=20).vertices[:, 2].max() == -5


@pytest.mark.parametrize(
    ("z", "options"),
    [
        (np.ones((1, 9)), {}),
        (np.full((5, 5), np.nan), {}),
        (np.zeros((5, 5)), {}),
        (np.ones((5, 5)), {"valid": np.zeros((5, 5), bool)}),
        (np.ones((5, 5)), {"cut": 0}),
        (np.ones((5, 5)), {"cut": float("nan")}),
        (np.ones((5, 5)), {"stride": 0}),
    ],
)
def test_nothing_to_mesh_is_said_clearly(z: np.ndarray, options: dict) -> None:
    with pytest.raises(LotusError):
        grid_mesh(z, Camera.default(z.shape[1], z.shape[0]), **options)


def test_what_left_nothing_is_named() -> None:
    z, camera = np.repeat([[2.0, 5.0]], 9, axis=0).repeat([5, 4], axis=1), Camera.default(9, 9)
    with pytest.raises(LotusError, match="every piece has fewer than 64 faces; lower that minimum"):
        grid_mesh(z, camera, min_faces=64)
    with pytest.raises(LotusError, match="take a smaller stride"):
        grid_mesh(z, camera, stride=8)


def textured(width: int = 48, height: int = 32) -> tuple[Mesh, np.ndarray, Camera]:
    scene = ball_scene(width, height)
    texture = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    mesh = grid_mesh(scene.z, scene.camera).with_normals()
    mesh.attributes["uncertainty"] = np.linspace(0, 1, len(mesh.vertices), dtype=np.float32)
    return mesh, texture, scene.camera


def test_glb_holds_photo_camera_normals_and_attributes(tmp_path: Path) -> None:
    mesh, texture, camera = textured()
    save_mesh(mesh, tmp_path / "a.glb", texture, camera)
    data = (tmp_path / "a.glb").read_bytes()
    tree = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    perspective = tree["cameras"][0]["perspective"]
    assert perspective["aspectRatio"] == pytest.approx(48 / 32)
    assert math.degrees(perspective["yfov"]) == pytest.approx(camera.vertical_fov_deg)
    assert tree["images"][0]["mimeType"] == "image/jpeg"
    assert "KHR_materials_unlit" in tree["materials"][0]["extensions"]
    assert set(tree["meshes"][0]["primitives"][0]["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "_uncertainty"}
    loaded = trimesh.load(tmp_path / "a.glb", process=False).geometry["mesh"]
    assert np.allclose(loaded.vertices, mesh.vertices)
    assert np.array_equal(loaded.faces, mesh.faces)
    assert np.allclose(loaded.visual.uv, mesh.uvs, atol=1e-6)
    assert np.abs(loaded.vertex_normals - mesh.normals).max() < 1e-5
    photo = np.asarray(loaded.visual.material.baseColorTexture, np.int16)
    assert np.abs(photo - texture).mean() < 30  # noise is JPEG's worst case


def test_ply_holds_colour_normals_uncertainty(tmp_path: Path) -> None:
    mesh, texture, _ = textured()
    save_mesh(mesh, tmp_path / "a.ply", texture)
    loaded = trimesh.load(tmp_path / "a.ply", process=False)
    assert np.allclose(loaded.vertices, mesh.vertices)
    # Vertices sit on pixel centres, so each has exactly the colour of its pixel.
    stored = loaded.metadata["_ply_raw"]["vertex"]["data"]
    colours = np.stack([stored["red"], stored["green"], stored["blue"]], axis=1)
    assert np.array_equal(colours.reshape(-1, 3), texture.reshape(-1, 3)[mesh.attributes["pixel"]])
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0].decode()
    for name in ("nx", "red", "s", "t", "uncertainty"):
        assert f" {name}\n" in header
    save_mesh(Mesh(mesh.vertices, np.zeros((0, 3)), mesh.uvs), tmp_path / "points.ply", texture)
    assert len(trimesh.load(tmp_path / "points.ply").vertices) == len(mesh.vertices)


def test_obj_comes_with_material_and_photo(tmp_path: Path) -> None:
    mesh, texture, _ = textured()
    save_mesh(mesh, tmp_path / "a.obj", texture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mtl", "a.obj", "a.texture.png"]
    assert "Kd 1.0" in (tmp_path / "a.mtl").read_text()
    loaded = trimesh.load(tmp_path / "a.obj", process=False)
    assert np.array_equal(np.asarray(loaded.visual.material.image.convert("RGB")), texture), "found through the MTL"
    assert np.allclose(loaded.vertices, mesh.vertices, atol=1e-5)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.texture.png")), texture)


def test_a_mesh_too_large_for_glb_is_refused_before_any_work(tmp_path: Path) -> None:
    faces = np.broadcast_to(np.array([0, 1, 2], np.int32), (2**32 // 12, 3))  # takes no memory
    with pytest.raises(LotusError, match=r"too large for a GLB file.*357,913,941 triangles.*\.ply"):
        save_mesh(Mesh(np.eye(3), faces), tmp_path / "a.glb")
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffix_and_missing_folder(tmp_path: Path) -> None:
    mesh, texture, camera = textured()
    with pytest.raises(LotusError, match=r"\.glb, \.ply, \.obj"):
        save_mesh(mesh, tmp_path / "a.fbx", texture, camera)
    with pytest.raises(LotusError, match="no folder"):
        save_mesh(mesh, tmp_path / "no" / "a.glb", texture, camera)
    assert list(tmp_path.iterdir()) == []


def test_rasterizer_finds_the_nearest_triangle_and_interpolates_in_perspective() -> None:
    scene = ball_scene(80, 60)
    mesh = grid_mesh(scene.z, scene.camera, cut=float("inf"))
    fine = Camera.from_fov(160, 120, 60)
    raster = rasterize(fine.project(mesh.vertices), -mesh.vertices[:, 2].astype(float), mesh.faces, 120, 160)
    assert raster.covered[2:-2, 2:-2].all()
    points = np.zeros((120, 160, 3))
    points[raster.covered] = raster.sample(mesh.faces, mesh.vertices.astype(float))
    y, x = np.mgrid[0:120, 0:160] + 0.5
    error = np.abs(fine.project(points) - np.stack([x, y], -1))[2:-2, 2:-2]
    assert error.max() < 0.01, "the point found at a pixel projects to that pixel"
    behind = Mesh(np.array([[-9, -9, -9], [9, -9, -9], [0, 9, -9]]), np.array([[0, 1, 2]]))
    both = np.concatenate([mesh.vertices, behind.vertices])
    faces = np.concatenate([behind.faces + len(mesh.vertices), mesh.faces])
    again = rasterize(fine.project(both), -both[:, 2].astype(float), faces, 120, 160)
    assert (again.face[2:-2, 2:-2] > 0).all(), "the triangle behind everything is not seen"


def test_preview_from_the_photos_place_is_the_photo() -> None:
    mesh, _, camera = textured(96, 64)
    y, x = np.mgrid[0:64, 0:96]
    texture = np.dstack([x * 2, y * 3, 255 - x - y]).astype(np.uint8)
    seen = render_preview(mesh, texture, camera, size=96, yaw_deg=0, pitch_deg=0)
    assert seen.shape == (64, 96, 3)
    moved = render_preview(mesh, texture, camera, size=96)
    assert np.abs(moved.astype(int) - seen).mean() > 2
    clay = render_preview(mesh, None, camera, size=96, shading="clay")
    assert np.ptp(clay) > 60
    assert render_preview(mesh, texture, None, size=64).shape == (48, 64, 3)
    with pytest.raises(LotusError, match="clay"):
        render_preview(mesh, None, camera)
