"""`lotus mesh --poses`: several photos with known poses make one mesh or cloud."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lotus_core.cli import main
from lotus_core.cli.predictors import Predictors
from lotus_core.geometry.poses import PosedImage

from .exr import write_exr
from .scenes import Scene, chamfer, posed, predicted


@pytest.fixture
def views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[PosedImage, Scene]]:
    """Three photos with their poses in poses.json; the models answer as a network would, at half the size."""
    scenes = posed(3, sparse=150)
    for number, (image, _) in enumerate(scenes):
        Image.new("RGB", (400, 300), (200, 100, 50)).save(tmp_path / image.name)
        assert image.name == f"{number}.jpg"
    answers = iter([predicted(scene, i).resize((75, 100)) for i, (_, scene) in enumerate(scenes)])
    monkeypatch.setattr(Predictors, "predict", lambda *_: {"depth": next(answers)})
    write_poses(tmp_path / "poses.json", scenes, points=True)
    return scenes


def write_poses(path: Path, scenes: list[tuple[PosedImage, Scene]], *, points: bool) -> None:
    rows = [
        {
            "image": image.name,
            **image.camera.to_dict(),
            "camera_to_world": image.camera_to_world.tolist(),
            "points": image.points.tolist() if points else [],
        }
        for image, _ in reversed(scenes)
    ]
    path.write_text(json.dumps({"views": rows}), encoding="utf-8")


def fuse(folder: Path, checkpoint: str, target: str, *options: str) -> int:
    photos = [str(folder / f"{i}.jpg") for i in range(3)]
    poses = ["--poses", str(folder / "poses.json")]
    return main(["mesh", *photos, *poses, "-o", str(folder / "out" / target), "--model", checkpoint, *options])


def test_several_photos_make_one_mesh(
    tmp_path: Path,
    checkpoints: dict[str, str],
    views: list[tuple[PosedImage, Scene]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert fuse(tmp_path, checkpoints["depth"], "scene.ply", "--voxels", "96", "--preview") == 0
    assert "3 photos aligned to sparse points" in capfd.readouterr().out
    mesh = trimesh.load(tmp_path / "out" / "scene.ply", process=False)
    assert chamfer(np.asarray(mesh.vertices), views) < 0.015
    assert np.abs(np.median(mesh.visual.vertex_colors[:, :3], axis=0) - [200, 100, 50]).max() <= 3
    record = json.loads((tmp_path / "out" / "scene.scene.json").read_text(encoding="utf-8"))
    assert [view["image"] for view in record["views"]] == ["0.jpg", "1.jpg", "2.jpg"]
    with Image.open(tmp_path / "out" / "scene.preview.png") as picture:
        shown = np.abs(np.asarray(picture).astype(int) - [200, 100, 50]).max(axis=2) < 12
    assert shown.mean() > 0.4


def test_several_renders_share_one_exposure(
    tmp_path: Path, checkpoints: dict[str, str], views: list[tuple[PosedImage, Scene]]
) -> None:
    """Beside a JPEG, and under the stems of the JPEGs that have poses."""
    photos = ["0.jpg", "1.exr", "2.exr"]
    for name, light in zip(photos[1:], (0.1, 0.4), strict=True):
        plane = np.full((300, 400), light, np.float32)
        write_exr(tmp_path / name, dict.fromkeys("RGB", plane))
    argv = ["mesh", *(str(tmp_path / name) for name in photos), "--poses", str(tmp_path / "poses.json")]
    options = ["--model", checkpoints["depth"], "--mode", "points", "--quiet"]
    assert main([*argv, "-o", str(tmp_path / "out" / "scene.ply"), *options]) == 0
    record = json.loads((tmp_path / "out" / "scene.scene.json").read_text(encoding="utf-8"))
    assert record["exposure_stops"] == round(float(np.log2(0.18 / 0.2)), 2)
    blue = trimesh.load(tmp_path / "out" / "scene.ply").visual.vertex_colors[:, 2]
    # The photo's is 50; sRGB of 0.09 and of 0.36 are 85 and 162.
    assert all((np.abs(blue.astype(int) - level) <= 2).mean() > 0.1 for level in (50, 85, 162))


def test_several_photos_without_sparse_points_make_one_cloud(
    tmp_path: Path, checkpoints: dict[str, str], views: list[tuple[PosedImage, Scene]]
) -> None:
    write_poses(tmp_path / "poses.json", views, points=False)
    assert fuse(tmp_path, checkpoints["depth"], "scene.glb", "--mode", "points", "--quiet") == 0
    scene = trimesh.load_scene(tmp_path / "out" / "scene.glb")
    (cloud,) = scene.geometry.values()
    assert chamfer(np.asarray(cloud.vertices), views) < 0.02
    assert scene.camera_transform == pytest.approx(views[0][0].camera_to_world, abs=1e-5)


@pytest.mark.parametrize(
    ("photos", "said"),
    [
        (["0.jpg", "other.jpg"], "no pose for other.jpg"),
        (["0.jpg", "sub/0.jpg"], "given twice"),
        (["0.jpg", "tall/1.jpg"], "1.jpg is 300×400 and its pose is for 200×150"),
    ],
)
def test_photos_that_do_not_fit_their_poses(
    tmp_path: Path,
    checkpoints: dict[str, str],
    views: list[tuple[PosedImage, Scene]],
    capfd: pytest.CaptureFixture[str],
    photos: list[str],
    said: str,
) -> None:
    (tmp_path / "tall").mkdir()
    Image.new("RGB", (300, 400)).save(tmp_path / "tall" / "1.jpg")
    argv = [str(tmp_path / name) for name in photos]
    argv += ["--poses", str(tmp_path / "poses.json"), "--model", checkpoints["depth"]]
    assert main(["mesh", *argv, "-o", str(tmp_path / "new" / "scene.ply")]) == 2
    assert said in capfd.readouterr().err
    assert not (tmp_path / "new").exists()
