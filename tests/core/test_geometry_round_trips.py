"""Whatever mesh is written, another reader finds the same mesh; whatever camera, its points find their pixels again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import OpenEXR
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.geometry import Camera, Mesh, Surface, grid_mesh, point_cloud, save_mesh
from lotus_core.geometry.surface_maps import map_paths, save_surface_maps
from lotus_core.maps import Normals
from lotus_core.maps.png import read_png
from lotus_core.maps.storage import read_map

from .scenes import ball_scene

SEEDS = st.integers(0, 2**32 - 1)


def torn_surface(seed: int, rows: int, columns: int) -> tuple[Mesh, Camera, np.ndarray]:
    """A grid with holes and steps, and its photo."""
    random = np.random.default_rng(seed)
    camera = Camera.from_fov(columns, rows, float(random.uniform(5, 120)))
    z = random.choice([1.0, 3.0], (rows, columns), p=[0.8, 0.2]) * random.uniform(1, 1.02, (rows, columns))
    z *= 10.0 ** random.integers(-3, 4)
    valid = random.random((rows, columns)) > 0.1
    valid[:2, :2], z[:2, :2] = True, z[0, 0]
    mesh = grid_mesh(z, camera, valid).with_normals()
    mesh.attributes["uncertainty"] = random.random(len(mesh.vertices)).astype(np.float32)
    return mesh, camera, random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 9), st.integers(2, 9), st.sampled_from(["glb", "ply", "obj"]))
def test_files_hold_the_mesh_that_was_written(seed: int, rows: int, columns: int, suffix: str) -> None:
    mesh, camera, photo = torn_surface(seed, rows, columns)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"mesh.{suffix}"
        save_mesh(mesh, path, photo, camera)
        found = trimesh.load(path, process=False, force="mesh" if suffix != "glb" else None)
        if suffix == "glb":
            (found,) = found.geometry.values()
    corners, wanted = found.vertices[found.faces], mesh.vertices[mesh.triangles()]
    size = np.abs(wanted).max()
    if suffix == "obj":  # its reader orders vertices by their first use, and numbers have eight decimals
        assert np.abs(corners - wanted).max() <= 1e-6 * size + 1e-8
    else:
        assert np.array_equal(found.faces, mesh.triangles())
        assert np.abs(found.vertices - mesh.vertices).max() <= 1e-6 * size
        normals = found.vertex_normals
        if suffix == "ply":  # read, and then computed anew by other weights
            raw = found.metadata["_ply_raw"]["vertex"]["data"]
            normals = np.column_stack([raw[name].ravel() for name in ("nx", "ny", "nz")])
            assert np.array_equal(raw["uncertainty"].ravel(), mesh.attributes["uncertainty"])
        assert np.abs(normals - mesh.normals).max() < 1e-5
    if suffix != "ply":
        assert np.abs(found.visual.uv[found.faces] - mesh.uvs[mesh.triangles()]).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 400), st.integers(1, 400), st.floats(1, 170))
def test_points_find_their_pixels_again(seed: int, width: int, height: int, fov: float) -> None:
    camera = Camera.from_fov(width, height, fov)
    random = np.random.default_rng(seed)
    z = random.uniform(0.1, 10) * random.uniform(1, 100, (height, width))
    cloud = point_cloud(z, camera)
    row, column = np.divmod(cloud.attributes["pixel"], width)
    assert np.abs(camera.project(cloud.vertices) - np.stack([column, row], 1) - 0.5).max() < 0.01
    assert Camera.from_dict(camera.to_dict()) == camera


def test_maps_of_a_surface_are_read_by_openexr(tmp_path: Path) -> None:
    y, x = np.mgrid[0:40, 0:60]
    z = (3 + 0.5 * np.hypot(x - 30, y - 20) / 30).astype(np.float32)
    valid = x > 4
    save_surface_maps(Surface(z, valid, Camera.default(60, 40), 4.0, 1.0), tmp_path, "a")
    with OpenEXR.File(str(tmp_path / "a.distance.exr")) as file:
        assert np.array_equal(file.channels()["Y"].pixels, np.where(valid, z, 0))
    with OpenEXR.File(str(tmp_path / "a.curvature.exr")) as file:
        curvature = file.channels()["Y"].pixels
    assert curvature[20, 30] < -0.05 or curvature[20, 30] > 0.05, "the tip of the cone bends"
    assert np.abs(curvature).max() <= 1


def test_what_was_cut_out_casts_no_shadow_on_what_is_left(tmp_path: Path) -> None:
    scene = ball_scene(160, 120)
    ball = scene.part == 2
    save_surface_maps(Surface(scene.z.astype(np.float32), ball, scene.camera, 10.0, 1.0), tmp_path, "ball")
    occlusion, curvature = (read_map(tmp_path / f"ball.{name}.exr").values for name in ("occlusion", "curvature"))
    assert occlusion[ball].min() > 0.95, "nothing stands in the way of a ball alone, up to its rim"
    assert curvature[ball].min() >= 0
    assert np.median(curvature[ball]) > 0.1
    assert np.all(occlusion[~ball] == 1)
    assert not curvature[~ball].any()


def test_normal_maps_of_a_surface_are_textures(tmp_path: Path) -> None:
    """A wall seen straight on and a tangent map that leaves it as it is: the well-known light blue."""
    flat = Surface(np.full((40, 60), 3, np.float32), np.ones((40, 60), bool), Camera.default(60, 40), 4.0, 1.0)
    tilted = Normals(np.tile(np.float32([0, 0.6, 0.8]), (40, 60, 1)), "opengl")
    for convention, green in (("opengl", 0.8), ("directx", 0.2)):
        save_surface_maps(flat, tmp_path, "flat", None, tilted, convention)
        codes, _ = read_png(tmp_path / "flat.normal.png")
        assert codes.dtype == np.uint16
        assert np.abs(codes / 65535 - [0.5, 0.5, 1]).max() < 1e-5
        codes, _ = read_png(tmp_path / "flat.tangent.png")
        assert np.abs(codes / 65535 - [0.5, green, 0.9]).max() < 1e-5
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in map_paths(tmp_path, "flat").values()}
