"""The Virtual KITTI 2 loader on a made street, a road, a wall and a ball, written in the real layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lotus_core.data.vkitti import VirtualKitti
from lotus_core.errors import LotusError

WIDTH, HEIGHT, FOCAL = 1242, 375, 725.0087
TOP, LEFT = HEIGHT - 352, (WIDTH - 1216) // 2
WALL = np.array([-0.98, 0.0, -0.2]) / np.linalg.norm([0.98, 0.2])  # OpenCV axes: to the right of the camera
BALL_CENTRE, BALL_RADIUS = np.array([-3.0, 0.4, 9.0]), 1.2


def made_street() -> tuple[np.ndarray, np.ndarray]:
    """Depth (inf on the sky) and normals in the model's convention."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ray = np.stack([(x + 0.5 - WIDTH / 2) / FOCAL, (y + 0.5 - HEIGHT / 2) / FOCAL, np.ones(x.shape)], axis=-1)
    depth, normals = np.full(x.shape, np.inf), np.zeros(ray.shape)
    for normal, distance in ((np.array([0, -1.0, 0]), 1.6), (WALL, 6.0)):
        facing = ray @ normal
        hit = np.where(facing < 0, -distance / np.where(facing < 0, facing, -1), np.inf)
        nearer = hit < depth
        depth[nearer], normals[nearer] = hit[nearer], -normal
    a, b = (ray**2).sum(-1), ray @ BALL_CENTRE
    root = b**2 - a * (BALL_CENTRE @ BALL_CENTRE - BALL_RADIUS**2)
    hit = (b - np.sqrt(np.maximum(root, 0))) / a
    on_ball = (root > 0) & (hit < depth)
    depth[on_ball] = hit[on_ball]
    normals[on_ball] = -((ray * hit[..., None] - BALL_CENTRE) / BALL_RADIUS)[on_ball]
    return depth, normals


def write_frame(root: Path, scene: str, variation: str, frame: int, camera: int = 0) -> tuple[Path, Path]:
    depth, _ = made_street()
    centimetres = np.where(depth < 655, np.round(np.where(depth < 655, depth, 0) * 100), 65535).astype(np.uint16)
    frames = root / scene / variation / "frames"
    rgb = frames / "rgb" / f"Camera_{camera}" / f"rgb_{frame:05d}.jpg"
    png = frames / "depth" / f"Camera_{camera}" / f"depth_{frame:05d}.png"
    for path in (rgb, png):
        path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[TOP:, LEFT : LEFT + 1216] = 255
    Image.fromarray(picture).save(rgb, quality=95)
    Image.fromarray(centimetres).save(png)
    return rgb, png


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vkitti")
    write_frame(root, "Scene02", "clone", 0)
    write_frame(root, "Scene02", "fog", 0)
    write_frame(root, "Scene02", "fog", 1)
    return root


def load(root: Path, **options: object) -> VirtualKitti:
    return VirtualKitti(root, **{"scenes": ["Scene02"], "cameras": [0], **options})  # type: ignore[arg-type]


def test_depth_sky_and_crop(street: Path) -> None:
    dataset = load(street)
    assert len(dataset) == 3
    sample = dataset[0]
    truth = made_street()[0][TOP:, LEFT : LEFT + 1216]
    assert sample.depth.shape == (352, 1216)
    assert sample.image.min() > 0.95  # the crop is exactly the white part
    near = truth < 79.9
    assert sample.valid.numpy()[near].all()
    assert np.abs(sample.depth.numpy()[near] - truth[near]).max() <= 0.005 + 1e-5
    assert np.array_equal(sample.sky.numpy()[truth > 80.1], np.ones((truth > 80.1).sum(), dtype=bool))
    assert np.isposinf(sample.depth.numpy()[sample.sky.numpy()]).all()
    assert not (sample.valid & sample.sky).any()
    assert (sample.normals[:, sample.sky] == 0).all()
    assert sample.focal_px == FOCAL


def test_normals_point_as_the_made_surfaces_do(street: Path) -> None:
    sample = load(street)[1]
    depth, normals = (a[TOP:, LEFT : LEFT + 1216] for a in made_street())
    found, valid = sample.normals.permute(1, 2, 0).numpy(), sample.valid.numpy()
    cosine = np.clip((found * normals).sum(-1), -1, 1)[valid & (depth < 79)]
    error = np.degrees(np.arccos(cosine))
    assert np.median(error) < 0.5
    assert error.mean() < 1.5
    assert np.mean(error < 11.25) > 0.98
    road = valid & (depth < 12) & (normals[..., 1] == 1)
    assert found[road].mean(axis=0) == pytest.approx([0, 1, 0], abs=0.02)
    wall = valid & (depth < 30) & (normals[..., 0] > 0.9)
    assert found[wall].mean(axis=0) == pytest.approx(-WALL, abs=0.02)  # to our right, so it faces left: x > 0


def test_the_principal_point_stays_where_it_was_before_the_crop(street: Path) -> None:
    """The crop cuts 23 rows off the top only; normals computed as if it were centred would tip the road by 0.9°."""
    sample = load(street)[0]
    road = sample.normals[:, 340, 560:660].mean(dim=1).numpy()
    assert np.degrees(np.arctan2(road[2], road[1])) == pytest.approx(0, abs=0.2)


def test_variations_cameras_and_missing_files(street: Path, tmp_path: Path) -> None:
    assert len(load(street, variations=["fog"])) == 2
    write_frame(tmp_path, "Scene02", "clone", 0, camera=0)
    write_frame(tmp_path, "Scene02", "clone", 0, camera=1)
    rgb, _ = write_frame(tmp_path, "Scene02", "clone", 1)
    rgb.unlink()
    dataset = load(tmp_path, cameras=[0, 1])
    assert (len(dataset), dataset.report.missing) == (2, (rgb,))
    with pytest.raises(LotusError, match="1 left out because files are missing"):
        load(tmp_path, strict=True)
    with pytest.raises(LotusError, match="fog/frames/depth/Camera_1; download"):
        load(street, variations=["clone", "fog"], cameras=[0, 1], strict=True)


def test_bad_input_is_named(street: Path, tmp_path: Path) -> None:
    with pytest.raises(LotusError, match="no Scene06"):
        load(street, scenes=["Scene06"])
    with pytest.raises(LotusError, match="nothing to read"):
        load(street, variations=["snow"])
    with pytest.raises(LotusError, match="smaller than the crop"):
        load(street, height=400)[0]
    _, png = write_frame(tmp_path, "Scene02", "clone", 0)
    Image.new("RGB", (WIDTH, HEIGHT)).save(png)
    with pytest.raises(LotusError, match="no 16-bit depth map"):
        load(tmp_path)[0]
    png.write_bytes(b"")
    with pytest.raises(LotusError, match=r"Cannot read the depth map .*depth_00000\.png"):
        load(tmp_path)[0]
