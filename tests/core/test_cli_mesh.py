"""`lotus mesh`: every option that shapes the surface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from lotus_core.cli import main
from lotus_core.cli.predictors import Predictors
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.storage import read_map

from .scenes import Scene, ball_scene

WIDTH, HEIGHT = 96, 64
BOTH = ["--model", "lotus-tiny-depth-g", "--model", "lotus-tiny-normal-g"]


@pytest.fixture
def known_maps(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The made scene, whose maps the models answer with instead of a guess; the right third is uncertain."""
    scene = ball_scene(WIDTH, HEIGHT, 60)
    disparity = 1 / scene.z
    values = (disparity - disparity.min()) / np.ptp(disparity)
    depth = Depth(values.astype(np.float32), "disparity")
    std = np.zeros((HEIGHT, WIDTH), np.float32)
    std[:, 64:] = 0.5
    maps = {
        "depth": depth,
        "normal": Normals(scene.normals.astype(np.float32), "opengl"),
        "uncertainty": Uncertainty(std, depth, 10, "depth"),
    }
    monkeypatch.setattr(Predictors, "predict", lambda self, *_: {name: maps[name] for name in self.maps})
    return scene


def built(folder: Path, photo: str, model: str, *options: str, name: str = "scene.ply") -> tuple[Any, dict[str, Any]]:
    """The mesh and the record that the command writes."""
    target = folder / "out" / name
    assert main(["mesh", photo, "-o", str(target), "--model", model, "--quiet", *options]) == 0
    record = json.loads(target.with_name(f"{target.stem}.scene.json").read_text(encoding="utf-8"))
    return trimesh.load(target, process=False), record


def test_far_is_found_from_the_normals(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    _, record = built(tmp_path, photo, checkpoints["depth"], "--far", "auto", "--fov", "60")
    assert record["far"] == pytest.approx(known_maps.z.max() / known_maps.z.min(), rel=0.1)
    assert record["models"].keys() == {"depth", "normal"}


def test_maps_that_contradict_each_other_still_make_a_mesh_and_say_so(
    tmp_path: Path,
    photo: str,
    checkpoints: dict[str, str],
    known_maps: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    random = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3))
    depth = Depth(((1 / known_maps.z - 0.1) / 1.0).clip(0, 1).astype(np.float32), "disparity")
    nonsense = {"depth": depth, "normal": Normals.from_vectors(random + np.array([0, 0, 1]), "opengl")}
    monkeypatch.setattr(Predictors, "predict", lambda *_: nonsense)
    target = tmp_path / "scene.ply"
    argv = ["mesh", photo, "-o", str(target), "--model", checkpoints["depth"], "--far", "auto", "--no-refine"]
    assert main(argv) == 0
    said = capfd.readouterr()
    assert "do not agree on a camera" in said.err
    assert "from default" in said.out, "the field of view is not that of the normals"
    record = json.loads((tmp_path / "scene.scene.json").read_text(encoding="utf-8"))
    assert record["far"] == 10
    assert "do not agree" in record["calibration"]["failed"]


def test_holes_are_filled(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[40:44, 10:14] = False  # 16 pixels of the floor
    mask[50:60, 30:50] = False
    values = ((1 / known_maps.z - 0.1) / 1.0).clip(0, 1).astype(np.float32)
    monkeypatch.setattr(Predictors, "predict", lambda *_: {"depth": Depth(values, "disparity", mask)})

    def points(*options: str) -> int:
        return len(built(tmp_path, photo, checkpoints["depth"], "--mode", "points", *options)[0].vertices)

    assert points() == WIDTH * HEIGHT - 16 - 200
    assert points("--fill-holes", "16") == WIDTH * HEIGHT - 200
    assert points("--fill-holes", "200") == WIDTH * HEIGHT


def test_a_known_length_makes_metres(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    z, camera = known_maps.z, known_maps.camera
    points = camera.unproject(z)
    metres = float(np.linalg.norm(points[50, 20] - points[10, 70]))
    far = str(z.max() / z.min())
    known = ["--known", "20.5", "50.5", "70.5", "10.5", str(metres)]
    mesh, record = built(
        tmp_path, photo, checkpoints["depth"], "--far", far, "--fov", "60", *known, "--no-refine", "--mode", "points"
    )
    assert -mesh.vertices[:, 2] == pytest.approx(z.ravel(), rel=1e-3)
    assert record["scale"] == pytest.approx(z.min(), rel=1e-3)
    assert "metres" in record["conventions"]["distance"]


def test_stride_sky_and_uncertainty_remove_pixels(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    def points(*options: str) -> int:
        return len(built(tmp_path, photo, checkpoints["depth"], "--mode", "points", *options)[0].vertices)

    disparity = 1 / known_maps.z
    nearness = (disparity - disparity.min()) / np.ptp(disparity)
    assert points() == WIDTH * HEIGHT
    assert points("--stride", "4") <= (WIDTH // 4 + 1) * (HEIGHT // 4 + 1)
    assert points("--sky", "0.01") == np.count_nonzero(nearness.astype(np.float32) >= 0.01)
    assert points("--max-std", "0.2") == 64 * HEIGHT
    assert points("--smooth", "3") == WIDTH * HEIGHT


def test_bilateral_fusion_puts_the_normals_in(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    def faces(*options: str) -> np.ndarray:
        mesh, record = built(tmp_path, photo, checkpoints["depth"], "--mode", "points", *options)
        assert ("normal" in record["models"]) == bool(options)
        return np.asarray(mesh.vertices)

    plain, fused = faces(), faces("--fusion", "bilateral")
    assert plain.shape == fused.shape
    assert 1e-4 < np.abs(fused[:, 2] / plain[:, 2] - 1).mean() < 0.2


def test_a_relief_of_normals_alone(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5 - np.array([HEIGHT / 2, WIDTH / 2])[:, None, None]
    inside = np.hypot(x, y) < 28
    dome = np.where(inside[..., None], np.dstack([x, -y, np.sqrt(np.maximum(30**2 - x**2 - y**2, 1))]), [0, 0, 1])
    normals = Normals.from_vectors(dome, "opengl")
    monkeypatch.setattr(Predictors, "predict", lambda self, *_: dict.fromkeys(self.maps, normals))
    argv = ["--mode", "relief", "--shape", "normals", "--width", "96", "--height", "10", "--base", "2"]
    mesh, record = built(tmp_path, photo, checkpoints["normal"], *argv)
    assert record["models"].keys() == {"normal"}
    assert mesh.is_watertight
    front = mesh.vertices[mesh.vertices[:, 2] > -1]
    middle = front[np.hypot(front[:, 0], front[:, 1]) < 3]
    assert middle[:, 2].min() > 9.5, "the middle of a dome is its highest point"
    outside = front[np.hypot(front[:, 0], front[:, 1]) > 31]
    assert np.ptp(outside[:, 2]) < 0.5


def test_a_shape_from_normals_is_cut_by_the_uncertainty_of_depth(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    argv = ["--shape", "normals", "--cut", "100", "--max-std", "0.2"]
    mesh, record = built(tmp_path, photo, checkpoints["normal"], *argv)
    assert record["models"].keys() == {"depth", "normal", "uncertainty"}
    assert record["models"]["uncertainty"] == record["models"]["depth"]
    assert 0.6 * WIDTH * HEIGHT < len(mesh.vertices) <= 64 * HEIGHT


def test_maps_of_the_surface_are_written_beside_it(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    far = str(known_maps.z.max() / known_maps.z.min())
    argv = ["--far", far, "--fov", "60", "--fusion", "poisson", "--target-faces", "500", "--sky", "0.02"]
    built(tmp_path, photo, checkpoints["depth"], *argv, "--maps", "directx")
    read = {path.name.split(".")[1]: read_map(path).values for path in (tmp_path / "out").glob("*.exr")}
    assert read.keys() == {"distance", "curvature", "occlusion"}
    for name in ("normal", "tangent"):
        normals = Normals.load(tmp_path / "out" / f"scene.{name}.png")
        assert normals.convention == "directx"
        read[name] = normals.values
    assert all(values.shape[:2] == (HEIGHT, WIDTH) and np.isfinite(values).all() for values in read.values())
    there = read["distance"] > 0
    assert 0.3 < there.mean() < 1, "the sky has no distance"
    true = known_maps.z / known_maps.z.min()
    assert np.median(np.abs(read["distance"] / true - 1)[there]) < 0.01
    assert np.abs(read["normal"] - known_maps.normals * [1, -1, 1])[there].max() < 1e-4
    assert read["occlusion"].min() >= 0
    assert read["occlusion"].max() == 1
    assert np.ptp(read["curvature"]) > 0.05


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--shape", "normals", "--sky", "0.1"], "--sky has no meaning with --shape normals"),
        (["--fusion", "bilateral", "--no-refine"], "--fusion is how --refine works"),
        (["--mode", "relief", "--maps", "opengl"], "--maps has no meaning in --mode relief"),
        (["--mode", "relief", *BOTH], "A relief is made of the depth: leave out the normal model"),
    ],
)
def test_options_that_exclude_each_other(
    tmp_path: Path, photo: str, capfd: pytest.CaptureFixture[str], argv: list[str], sentence: str
) -> None:
    assert main(["mesh", photo, "-o", str(tmp_path / "scene.glb"), *argv]) == 2
    assert sentence in capfd.readouterr().err
    assert not list(tmp_path.glob("scene*"))


def test_small_islands_are_kept_on_demand(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    def faces(least: str) -> int:
        return len(built(tmp_path, photo, checkpoints["depth"], "--no-refine", "--min-faces", least)[0].faces)

    assert faces("3000") < faces("0")


def test_uncertainty_goes_into_the_file(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene
) -> None:
    built(tmp_path, photo, checkpoints["depth"], "--uncertainty")
    assert b"property float uncertainty" in (tmp_path / "out" / "scene.ply").read_bytes()[:1000]


def test_quads_of_an_obj(tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene) -> None:
    argv = ["--quads", "--cut", "100", "--no-refine"]
    mesh, _ = built(tmp_path, photo, checkpoints["depth"], *argv, name="scene.obj")
    lines = (tmp_path / "out" / "scene.obj").read_text(encoding="utf-8").splitlines()
    assert [len(line.split()) for line in lines if line.startswith("f ")] == [5] * (WIDTH - 1) * (HEIGHT - 1)
    assert len(mesh.faces) == 2 * (WIDTH - 1) * (HEIGHT - 1)
    assert (mesh.face_normals * mesh.triangles_center).sum(axis=1).max() < 0, "faces look at the camera"
    # The UV of a vertex is where the camera sees it.
    x, z = mesh.vertices[:, 0], mesh.vertices[:, 2]
    assert mesh.visual.uv[:, 0] == pytest.approx(x / -z * 0.5 / np.tan(np.radians(55 / 2)) + 0.5, abs=1e-4)


def test_relief_of_a_given_size(tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene) -> None:
    size = ["--mode", "relief", "--width", "96", "--height", "7"]
    mesh, _ = built(tmp_path, photo, checkpoints["depth"], *size)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([95, 63, 7], abs=1e-3)


def test_the_last_line_counts_what_the_file_holds(
    tmp_path: Path,
    photo: str,
    checkpoints: dict[str, str],
    known_maps: Scene,
    capfd: pytest.CaptureFixture[str],
) -> None:
    argv = ["mesh", photo, "-o", str(tmp_path / "a.ply"), "--model", checkpoints["depth"], "--no-refine"]
    assert main([*argv, "--mode", "points"]) == 0
    assert f"a.ply: {WIDTH * HEIGHT:,} points, field of view" in capfd.readouterr().out
    assert main([*argv, "--cut", "100"]) == 0
    said = capfd.readouterr().out
    assert f"{WIDTH * HEIGHT:,} vertices, {2 * (WIDTH - 1) * (HEIGHT - 1):,} triangles" in said


@pytest.mark.parametrize("mode", ["perspective", "points", "relief"])
def test_preview(tmp_path: Path, photo: str, checkpoints: dict[str, str], known_maps: Scene, mode: str) -> None:
    built(tmp_path, photo, checkpoints["depth"], "--preview", "--mode", mode)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scene.ply", "scene.scene.json", "scene.preview.png"}
    with Image.open(tmp_path / "out" / "scene.preview.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert max(pixels.shape) == 1024
    assert (np.ptp(pixels, axis=2) > 40).mean() > 0.2, "the photo's colours, not the grey behind"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a.jpg", "--mode", "relief", "--no-refine"], "--refine has no meaning in --mode relief"),
        (["a.jpg", "b.jpg"], "--poses"),
        (["a.jpg", "--voxels", "64"], "--poses"),
        (["a.jpg", "--poses", "p", "--fov", "50"], "--fov has no meaning with --poses"),
        (["a.jpg", "--poses", "p", "--uncertainty"], "--uncertainty has no meaning with --poses: leave it out"),
        (["a.jpg", "--poses", "p", "--mode", "relief"], "one photo"),
        (["a.jpg", "--poses", "none.json"], "none.json does not exist"),
        (["a.jpg", "--quads"], ".obj"),
        (["a.jpg", "--far", "never"], "--far"),
        (["a.jpg", "--known", "1", "2", "3", "4"], "--known"),
        (["a.jpg", "--mode", "points", "--min-faces", "3"], "--min-faces has no meaning"),
        (["a.jpg", "--width", "50"], "--mode relief"),
        (["a.jpg", "--mode", "relief", "--smooth", "5"], "--mode perspective"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["mesh", *options, "-o", str(tmp_path / "new" / "scene.glb")]) == 2
    stderr = capfd.readouterr().err
    assert said in stderr
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
