"""Several views of one made scene: poses, alignment, fusion, against exact surfaces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera
from lotus_core.geometry.parallax import align_to_each_other
from lotus_core.geometry.poses import PosedImage, read_colmap, read_poses_json
from lotus_core.geometry.view_fusion import fuse_to_mesh, fuse_to_points
from lotus_core.geometry.views import View, align_to_points
from lotus_core.maps import Depth

from .scenes import Scene, chamfer, posed, predicted


@pytest.mark.parametrize("count", [2, 5])
def test_views_aligned_to_sparse_points_make_one_surface(count: int) -> None:
    scenes = posed(count, sparse=150)
    photo = np.full((150, 200, 3), (200, 100, 50), np.uint8)
    views = [align_to_points(image, predicted(scene, i), photo) for i, (image, scene) in enumerate(scenes)]
    for view, (_, scene) in zip(views, scenes, strict=True):
        assert np.median(np.abs(view.z / scene.z - 1)) < 0.015
    mesh = fuse_to_mesh(views, resolution=128)
    assert chamfer(mesh.vertices, scenes) < 0.01
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    toward = np.array([0, 0.3, 0]) - corners.mean(axis=1)
    assert ((normal * toward).sum(axis=1) > 0).mean() > 0.9, "faces look at the cameras"
    assert np.median(mesh.attributes["color"], axis=0).tolist() == [200, 100, 50]
    cloud = fuse_to_points(views, tolerance=0.04)
    assert chamfer(cloud.vertices, scenes) < 0.01
    assert cloud.faces.shape == (0, 3)


@pytest.mark.parametrize("count", [2, 5])
def test_views_find_their_scale_from_each_other(count: int) -> None:
    scenes = posed(count)
    depths = [predicted(scene, i) for i, (_, scene) in enumerate(scenes)]
    views = align_to_each_other([image for image, _ in scenes], depths)
    for view, (_, scene) in zip(views, scenes, strict=True):
        assert np.median(np.abs(view.z / scene.z - 1)) < 0.025
    assert chamfer(fuse_to_points(views, tolerance=0.04).vertices, scenes) < 0.01


def test_views_in_depth_instead_of_disparity_find_their_scale_too() -> None:
    scenes = posed(3)
    depths = []
    for _, scene in scenes:
        low, high = scene.z.min(), scene.z.max()
        depths.append(Depth(((scene.z - low) / (high - low)).astype(np.float32), "depth"))
    views = align_to_each_other([image for image, _ in scenes], depths)
    for view, (_, scene) in zip(views, scenes, strict=True):
        assert np.median(np.abs(view.z / scene.z - 1)) < 0.04


def test_views_that_cannot_be_aligned_to_each_other() -> None:
    image, scene = posed(1)[0]
    depth = predicted(scene, 0)
    with pytest.raises(LotusError, match="from one place"):
        align_to_each_other([image, image], [depth, depth])
    away = image.camera_to_world @ np.diag([-1.0, 1, -1, 1])
    away[:3, 3] += 0.5
    behind = PosedImage("behind.jpg", image.camera, away, image.points)
    with pytest.raises(LotusError, match="No other photo shows what 0"):
        align_to_each_other([image, behind], [depth, depth])


def write_colmap(folder: Path, scenes: list[tuple[PosedImage, Scene]], model: str = "PINHOLE") -> np.ndarray:
    """A COLMAP text model of the views with 60 points of the ball; returns the points."""
    random = np.random.default_rng(0)
    points = random.normal(size=(60, 3))
    points = np.array([0.3, -0.2, -4.0]) + 0.8 * points / np.linalg.norm(points, axis=1, keepdims=True)
    camera = scenes[0][1].camera
    numbers = {"PINHOLE": "{f} {f} {x} {y}", "SIMPLE_PINHOLE": "{f} {x} {y}", "SIMPLE_RADIAL": "{f} {x} {y} 0.1"}[model]
    text = numbers.format(f=camera.focal_px, x=camera.width / 2, y=camera.height / 2)
    (folder / "cameras.txt").write_text(f"# cameras\n1 {model} {camera.width} {camera.height} {text}\n")
    rows = [f"{i} {' '.join(map(str, point))} 10 20 30 0.5 1 0" for i, point in enumerate(points)]
    (folder / "points3D.txt").write_text("# points\n" + "\n".join(rows) + "\n")
    lines = ["# images"]
    for number, (image, _) in enumerate(scenes):
        turn = np.diag([1.0, -1, -1]) @ image.camera_to_world[:3, :3].T
        shift = -turn @ image.camera_to_world[:3, 3]
        w = np.sqrt(max(0, 1 + np.trace(turn))) / 2
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 4
        if w > 1e-3:
            quaternion = [w, *(axis / w)]
        else:  # half a turn: the axis is the largest column of (R + 1) / 2
            column = ((turn + np.eye(3)) / 2)[:, np.diag(turn).argmax()]
            quaternion = [0, *(column / np.linalg.norm(column))]
        values = " ".join(map(str, [*quaternion, *shift]))
        local = (points - image.camera_to_world[:3, 3]) @ image.camera_to_world[:3, :3]
        pixels = image.camera.project(local)
        seen = " ".join(f"{x} {y} {i}" for i, (x, y) in enumerate(pixels)) + " 5 5 -1"
        lines += [f"{number} {values} 1 {image.name}", seen]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    return points


def test_colmap_text_is_read_in_our_axes(tmp_path: Path) -> None:
    scenes = posed(3)
    points = write_colmap(tmp_path, scenes)
    images = read_colmap(tmp_path)
    assert [image.name for image in images] == ["0.jpg", "1.jpg", "2.jpg"]
    for image, (wanted, _) in zip(images, scenes, strict=True):
        assert np.allclose(image.camera_to_world, wanted.camera_to_world, atol=1e-6)
        assert image.camera.focal_px == pytest.approx(wanted.camera.focal_px)
        local = (points - wanted.camera_to_world[:3, 3]) @ wanted.camera_to_world[:3, :3]
        assert np.allclose(image.points[:, 2], -local[:, 2], atol=1e-6)


def test_colmap_models_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    with pytest.raises(LotusError, match="export the COLMAP model as text"):
        read_colmap(tmp_path)
    write_colmap(tmp_path, posed(1), "SIMPLE_RADIAL")
    with pytest.raises(LotusError, match="image_undistorter"):
        read_colmap(tmp_path)
    write_colmap(tmp_path, posed(1))
    (tmp_path / "images.txt").write_text("1 nonsense\n\n")
    with pytest.raises(LotusError, match="damaged"):
        read_colmap(tmp_path)


@pytest.mark.parametrize(
    ("name", "pattern", "instead"),
    [
        ("cameras.txt", r" 200 ", " nan "),
        ("cameras.txt", r" 200 ", " inf "),
        ("points3D.txt", r"(?m)^0 .*$", "0 1.5"),  # cut off
        ("points3D.txt", r"(?m)^0 \S+", "0 nan"),
        ("images.txt", r"(?m)^\S+ (\S+ 0\b)", r"x \1"),
        ("images.txt", r"(?m)^0 \S+ \S+ \S+ \S+", "0 0 0 0 0"),  # no rotation
    ],
)
def test_damage_in_a_colmap_model_is_one_sentence(tmp_path: Path, name: str, pattern: str, instead: str) -> None:
    write_colmap(tmp_path, posed(1))
    whole = (tmp_path / name).read_text()
    damaged = re.sub(pattern, instead, whole, count=1)
    assert damaged != whole
    (tmp_path / name).write_text(damaged)
    with pytest.raises(LotusError, match=rf"{name} is damaged .*; export the model as text again"):
        read_colmap(tmp_path)


def test_json_poses(tmp_path: Path) -> None:
    image, _ = posed(1)[0]
    view = {"image": "a.jpg", **image.camera.to_dict(), "camera_to_world": image.camera_to_world.tolist()}
    path = tmp_path / "poses.json"
    path.write_text(json.dumps({"views": [view]}))
    (found,) = read_poses_json(path)
    assert found.camera == image.camera
    assert np.allclose(found.camera_to_world, image.camera_to_world)
    spoiled: list[dict[str, Any]] = [
        {"camera_to_world": (2 * np.eye(4)).tolist()},
        {"points": [[1, 2, float("nan")]]},
        {"width": float("inf")},
    ]
    views = [json.dumps({"views": [{**view, **each}]}) for each in spoiled]
    for text in ("{}", "[", "[" * 100_000, json.dumps({"views": []}), *views):
        path.write_text(text)
        with pytest.raises(LotusError):
            read_poses_json(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda pose: pose @ np.diag([1.0, 1, -1, 1]), "mirrors: convert it to right-handed axes"),
        (lambda pose: pose.T, "row 0 0 0 1: write its rows, not its columns"),
        (lambda pose: pose * np.nan, "no rotation and translation"),
    ],
)
def test_poses_of_other_programs_are_not_taken_for_ours(
    tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    image, _ = posed(1)[0]
    pose = image.camera_to_world.copy()
    pose[:3, 3] = [1, 2, 3]
    view = {"image": "a.jpg", **image.camera.to_dict(), "camera_to_world": spoil(pose).tolist()}
    (tmp_path / "poses.json").write_text(json.dumps({"views": [view]}))
    with pytest.raises(LotusError, match=rf"camera_to_world of a\.jpg .*{said}"):
        read_poses_json(tmp_path / "poses.json")


def test_impossible_views() -> None:
    image, scene = posed(1)[0]
    depth = predicted(scene, 0)
    with pytest.raises(LotusError, match="sparse points"):
        align_to_points(image, depth)
    with pytest.raises(LotusError, match="two or more"):
        align_to_each_other([image], [depth])
    with pytest.raises(LotusError, match="no views"):
        fuse_to_mesh([])
    blind = View(image, scene.z, np.zeros(scene.z.shape, bool))
    with pytest.raises(LotusError, match="no views"):
        fuse_to_mesh([blind])
    with pytest.raises(LotusError, match="No point"):
        fuse_to_points([blind])
    assert Camera.default(3, 3).width == 3
