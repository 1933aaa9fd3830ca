"""`lotus mesh`: the names and sizes of what it writes, and that no input is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lotus_core.cli import main
from lotus_core.cli.predictors import Predictors
from lotus_core.maps import Depth

WIDTH, HEIGHT = 48, 32


@pytest.fixture
def flat_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models answer with a slope."""
    slope = np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    monkeypatch.setattr(Predictors, "predict", lambda *_: {"depth": Depth(slope, "disparity")})


def write_photo(path: Path) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG", compress_level=1)  # the same pixels written again differ
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["obj", "glb", "ply"])
def test_a_mesh_beside_its_photo_leaves_the_photo_alone(
    tmp_path: Path, checkpoints: dict[str, str], flat_depth: None, suffix: str
) -> None:
    photo, target = tmp_path / "photo.png", tmp_path / f"photo.{suffix}"
    content = write_photo(photo)
    argv = ["mesh", str(photo), "-o", str(target), "--model", checkpoints["depth"], "--quiet", "--preview"]
    assert main([*argv, "--cut", "100", "--maps", "opengl"]) == 0
    assert photo.read_bytes() == content
    mesh = trimesh.load_mesh(target, process=False)
    assert len(mesh.faces) == 2 * (WIDTH - 1) * (HEIGHT - 1)
    if suffix == "obj":
        with Image.open(photo) as true:
            assert np.array_equal(np.asarray(mesh.visual.material.image.convert("RGB")), np.asarray(true))


@pytest.mark.parametrize(
    ("photo", "target", "options"),
    [
        ("a.texture.png", "a.obj", []),
        ("a.mtl", "a.obj", []),
        ("a.ply", "a.ply", []),
        ("a.preview.png", "a.glb", ["--preview"]),
        ("a.distance.exr", "a.glb", ["--maps", "opengl"]),
        ("a.normal.png", "a.glb", ["--maps", "opengl"]),
        ("a.tangent.png", "a.glb", ["--maps", "directx"]),
        ("a.scene.json", "a.glb", []),
    ],
)
def test_an_input_that_would_be_overwritten_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    photo: str,
    target: str,
    options: list[str],
) -> None:
    content = write_photo(tmp_path / photo)
    monkeypatch.setattr(Predictors, "predict", lambda *_: pytest.fail("the refusal comes before any prediction"))
    (tmp_path / "b").mkdir()
    other_way_to_say_it = tmp_path / "b" / ".." / target
    assert main(["mesh", str(tmp_path / photo), "-o", str(other_way_to_say_it), *options]) == 2
    said = capfd.readouterr().err
    assert photo in said
    assert "one of the inputs; choose another place" in said
    assert said.count("\n") == 1
    assert (tmp_path / photo).read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {photo, "b"}


def test_a_folder_in_the_way_leaves_no_half_of_the_files(
    tmp_path: Path, checkpoints: dict[str, str], flat_depth: None, capfd: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "photo.png")
    (tmp_path / "out" / "a.scene.json").mkdir(parents=True)
    argv = ["mesh", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out" / "a.glb"), "--cut", "100", "--quiet"]
    assert main([*argv, "--model", checkpoints["depth"]]) == 2
    assert "a.scene.json: it is a folder; rename it" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.scene.json"]


def test_poses_are_not_overwritten_by_the_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    poses = tmp_path / "house.scene.json"
    poses.write_text("{}", encoding="utf-8")
    assert main(["mesh", "a.jpg", "b.jpg", "--poses", str(poses), "-o", str(tmp_path / "house.ply")]) == 2
    assert f"Cannot write {poses}: it is one of the inputs" in capfd.readouterr().err
    assert poses.read_text(encoding="utf-8") == "{}"


def test_a_large_photo_makes_a_mesh_of_two_million_vertices_at_most(
    tmp_path: Path, checkpoints: dict[str, str], flat_depth: None, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (2100, 1400), (200, 100, 50)).save(photo)

    def vertices(*options: str) -> int:
        argv = ["mesh", str(photo), "-o", str(tmp_path / "scene.ply"), "--model", checkpoints["depth"], "--no-refine"]
        assert main([*argv, "--mode", "points", *options]) == 0
        return len(trimesh.load(tmp_path / "scene.ply", process=False).vertices)

    def recorded() -> int:
        return int(json.loads((tmp_path / "scene.scene.json").read_text(encoding="utf-8"))["options"]["stride"])

    assert vertices() == 1050 * 700
    assert recorded() == 2
    assert "one vertex for 2 × 2 pixels (--stride 1: on every pixel)" in capfd.readouterr().err
    assert vertices("--stride", "1") == 2100 * 1400
    assert recorded() == 1
    assert "one vertex for" not in capfd.readouterr().err
