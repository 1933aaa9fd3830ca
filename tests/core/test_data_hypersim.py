"""The Hypersim loader on a made scene, a tilted plane and a sphere, written in the real layout."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from lotus_core.data.fingerprint import content_fingerprint
from lotus_core.data.hypersim import Hypersim
from lotus_core.errors import LotusError

WIDTH, HEIGHT = 256, 192
FOCAL = 886.81 * WIDTH / 1024
PLANE_NORMAL = np.array([0.4, 0.5, 0.76]) / np.linalg.norm(
    [0.4, 0.5, 0.76]
)  # x right, y up, z backward: toward the camera
PLANE_DISTANCE = 2.0
SPHERE_CENTRE, SPHERE_RADIUS = np.array([-0.3, 0.2, -1.6]), 0.5


def made_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the camera's centre, depth along the axis, and normals in normal_cam's axes, by ray casting."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ray = np.stack([(x + 0.5 - WIDTH / 2) / FOCAL, -(y + 0.5 - HEIGHT / 2) / FOCAL, -np.ones(x.shape)], axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)  # unit: the ray's parameter is the distance
    distance = -PLANE_DISTANCE / (ray @ PLANE_NORMAL)
    normals = np.broadcast_to(PLANE_NORMAL, ray.shape).copy()
    along = ray @ SPHERE_CENTRE
    root = along**2 - SPHERE_CENTRE @ SPHERE_CENTRE + SPHERE_RADIUS**2
    hit = along - np.sqrt(np.maximum(root, 0))
    on_sphere = (root > 0) & (hit < distance)
    distance[on_sphere] = hit[on_sphere]
    points = ray * distance[..., None]
    normals[on_sphere] = ((points - SPHERE_CENTRE) / SPHERE_RADIUS)[on_sphere]
    return distance, -points[..., 2], normals


def write_frame(
    root: Path, scene: str, frame: int, distance: np.ndarray, normals: np.ndarray, dtype: str = "float32"
) -> None:
    images = root / scene / "images"
    preview, geometry = images / "scene_cam_00_final_preview", images / "scene_cam_00_geometry_hdf5"
    preview.mkdir(parents=True, exist_ok=True)
    geometry.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 255, WIDTH).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (HEIGHT, WIDTH, 3))
    Image.fromarray(picture).save(preview / f"frame.{frame:04d}.tonemap.jpg", quality=95)
    for kind, values in (("depth_meters", distance), ("normal_cam", normals)):
        with h5py.File(geometry / f"frame.{frame:04d}.{kind}.hdf5", "w") as file:
            file.create_dataset("dataset", data=values.astype(dtype), compression="gzip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    distance, _, normals = made_scene()
    for scene, frame in (("ai_001_001", 0), ("ai_001_001", 7), ("ai_002_003", 0)):
        write_frame(tmp_path, scene, frame, distance, normals)
    return tmp_path


def test_depth_and_normals_of_the_made_scene(folder: Path) -> None:
    _, depth, normals = made_scene()
    dataset = Hypersim(folder, height=HEIGHT, width=WIDTH)
    assert len(dataset) == 3
    sample = dataset[1]
    assert sample.valid.all()
    assert not sample.sky.any()
    np.testing.assert_allclose(sample.depth.numpy(), depth, rtol=1e-4)
    expected = normals * [-1, 1, 1]  # x right → x left
    assert np.abs(sample.normals.permute(1, 2, 0).numpy() - expected).max() < 1e-3
    assert sample.focal_px == pytest.approx(FOCAL)
    assert str(sample.image.dtype) == "torch.float32"
    assert sample.image.shape == (3, HEIGHT, WIDTH)
    assert sample.image[0, 0, 0] < -0.97
    assert sample.image[0, 0, -1] > 0.97


def test_half_precision_as_shipped_costs_no_more_than_its_rounding(tmp_path: Path) -> None:
    distance, depth, normals = made_scene()
    write_frame(tmp_path, "ai_001_001", 0, distance, normals, "float16")
    sample = Hypersim(tmp_path, height=HEIGHT, width=WIDTH)[0]
    np.testing.assert_allclose(sample.depth.numpy(), depth, rtol=2**-11)
    assert np.abs(np.linalg.norm(sample.normals.numpy(), axis=0) - 1).max() < 1e-6


def test_normals_turned_away_are_turned_toward_the_camera(tmp_path: Path) -> None:
    distance, _, normals = made_scene()
    turned = normals.copy()
    turned[:, ::3] *= -1
    write_frame(tmp_path, "ai_001_001", 0, distance, turned)
    found = Hypersim(tmp_path, height=HEIGHT, width=WIDTH)[0].normals.permute(1, 2, 0).numpy()
    assert np.abs(found - normals * [-1, 1, 1]).max() < 1e-3


def test_missing_values_are_invalid_not_sky(tmp_path: Path) -> None:
    distance, _, normals = made_scene()
    distance[:10], distance[20, 5] = np.nan, np.inf
    normals[30:40, :8] = 0.0
    normals[50, 9] = np.nan
    write_frame(tmp_path, "ai_001_001", 0, distance, normals)
    sample = Hypersim(tmp_path, height=HEIGHT, width=WIDTH)[0]
    expected = np.ones((HEIGHT, WIDTH), dtype=bool)
    expected[:10] = expected[20, 5] = expected[30:40, :8] = expected[50, 9] = False
    assert np.array_equal(sample.valid.numpy(), expected)
    assert not sample.sky.any()
    assert (sample.normals.numpy()[:, ~expected] == 0).all()
    assert np.isfinite(sample.depth.numpy()).all()


def test_resizing_takes_depth_and_normals_of_the_pixel_under_each_centre(folder: Path) -> None:
    _, depth, normals = made_scene()
    sample = Hypersim(folder, height=HEIGHT * 3 // 4, width=WIDTH * 3 // 4)[0]
    rows = np.floor((np.arange(HEIGHT * 3 // 4) + 0.5) * 4 / 3).astype(int)
    columns = np.floor((np.arange(WIDTH * 3 // 4) + 0.5) * 4 / 3).astype(int)
    np.testing.assert_allclose(sample.depth.numpy(), depth[np.ix_(rows, columns)], rtol=1e-4)
    expected = normals[np.ix_(rows, columns)] * [-1, 1, 1]
    assert np.abs(sample.normals.permute(1, 2, 0).numpy() - expected).max() < 1e-3
    assert sample.focal_px == pytest.approx(FOCAL * 3 / 4)
    step = np.diff(sample.image[0, 50].numpy())  # antialiased: the ramp stays a ramp
    assert step.min() > -0.03
    assert step.max() < 0.06


def test_frames_without_all_files_are_counted_named_and_refused_when_strict(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = folder / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0007.normal_cam.hdf5"
    gone.unlink()
    picture = folder / "ai_002_003/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
    picture.unlink()
    with caplog.at_level(logging.WARNING):
        dataset = Hypersim(folder)
    assert (len(dataset), dataset.report.left_out) == (1, 2)
    assert set(dataset.report.missing) == {gone, picture}
    assert "2 left out" in caplog.text
    assert gone.name in caplog.text
    with pytest.raises(LotusError, match="2 left out because files are missing"):
        Hypersim(folder, strict=True)


def write_split(folder: Path) -> Path:
    table = folder / "metadata_images_split_scene_v1.csv"
    header = ["scene_name", "camera_name", "frame_id", "included_in_public_release", "exclude_reason"]
    rows = [
        ["ai_001_001", "cam_00", 0, True, "", "train"],
        ["ai_001_001", "cam_00", 7, False, "mesh error", "train"],
        ["ai_002_003", "cam_00", 0, True, "", "val"],
    ]
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([[*header, "split_partition_name"], *rows])
    return table


def test_the_official_split_table_chooses_released_frames_of_one_split(folder: Path) -> None:
    table = write_split(folder)
    chosen = Hypersim(folder, split_csv=table).frames
    assert [(p[0].parts[-4], p[0].name) for p in chosen] == [("ai_001_001", "frame.0000.tonemap.jpg")]
    assert Hypersim(folder, split="val", split_csv=table).frames[0][0].parts[-4] == "ai_002_003"
    with pytest.raises(LotusError, match='no frames of the split "test": it has train, val'):
        Hypersim(folder, split="test", split_csv=table)


def test_a_plain_list_chooses_frames(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("ai_002_003/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg\n\n")
    assert len(Hypersim(folder, frames=listed)) == 1
    listed.write_text("ai_009_009/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg\n")
    with pytest.raises(LotusError, match="nothing to read"):
        Hypersim(folder, frames=listed)


def test_bad_input_is_named(folder: Path) -> None:
    with pytest.raises(LotusError, match="no Hypersim folder"):
        Hypersim(folder / "nowhere")
    with pytest.raises(LotusError, match="4:3"):
        Hypersim(folder, height=352, width=1216)
    with pytest.raises(LotusError, match="not both"):
        Hypersim(folder, split_csv="a.csv", frames="b.txt")
    with pytest.raises(LotusError, match=r"Cannot read the list file .*no\.txt"):
        Hypersim(folder, frames=folder / "no.txt")
    wrong = folder / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(LotusError, match="column scene_name is missing"):
        Hypersim(folder, split_csv=wrong)
    dataset = Hypersim(folder)
    dataset.frames[0][1].write_bytes(b"not hdf5")
    with pytest.raises(LotusError, match=r'Cannot read "dataset" from .*frame\.0000\.depth_meters\.hdf5'):
        dataset[0]
    dataset.frames[1][0].write_bytes(dataset.frames[1][0].read_bytes()[:300])
    with pytest.raises(LotusError, match=r"Cannot read the picture .*frame\.0007\.tonemap\.jpg"):
        dataset[1]


def test_a_data_set_is_told_by_its_content_and_not_by_its_place(folder: Path, tmp_path: Path) -> None:
    def fingerprint(root: Path) -> str:
        return content_fingerprint(Hypersim(root, height=HEIGHT, width=WIDTH))

    known = fingerprint(folder)
    for name in ("moved", "deeper", "renamed"):
        for scene in ("ai_001_001", "ai_002_003"):
            shutil.copytree(folder / scene, tmp_path / "copies" / name / scene)
    assert fingerprint(tmp_path / "copies" / "moved") == known
    distance, _, normals = made_scene()
    write_frame(tmp_path / "copies" / "deeper", "ai_001_001", 7, distance + 0.001, normals)
    (tmp_path / "copies" / "renamed" / "ai_001_001").rename(tmp_path / "copies" / "renamed" / "ai_001_002")
    assert len({known, fingerprint(tmp_path / "copies" / "deeper"), fingerprint(tmp_path / "copies" / "renamed")}) == 3
