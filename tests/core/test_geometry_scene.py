"""From maps to files in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import trimesh

from lotus_core.errors import Cancelled, LotusError
from lotus_core.geometry import Camera, SceneOptions, build_scene, build_surface, check_printable, read_sidecar
from lotus_core.geometry.baking import detail_between
from lotus_core.geometry.fusion import smooth_depth
from lotus_core.maps import Depth, Normals, Uncertainty

from .scenes import ball_scene, edges

WIDTH, HEIGHT = 160, 120
TRUTH = ball_scene(WIDTH, HEIGHT)
FAR = float(TRUTH.z.max() / TRUTH.z.min())
PHOTO = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def maps() -> tuple[Depth, Normals, Uncertainty]:
    near, far = TRUTH.z.min(), TRUTH.z.max()
    depth = Depth(((1 / TRUTH.z - 1 / far) / (1 / near - 1 / far)).clip(0, 1), "disparity")
    std = np.where(TRUTH.part == 2, 0.05, 0.01).astype(np.float32)
    return depth, Normals(TRUTH.normals, "opengl").to("lotus"), Uncertainty(std, depth, 10, "depth")


def test_the_defaults_make_a_scene_that_opens(tmp_path: Path) -> None:
    depth, normals, uncertainty = maps()
    scene = build_scene(depth, PHOTO, normals, uncertainty, SceneOptions(fov_deg=60, far=FAR))
    mesh = scene.mesh
    truth = TRUTH.camera.unproject(TRUTH.z / TRUTH.z.min()).reshape(-1, 3)[mesh.attributes["pixel"]]
    assert np.median(np.linalg.norm(mesh.vertices - truth, axis=1)) < 0.01
    assert np.allclose(mesh.attributes["uncertainty"], uncertainty.std.ravel()[mesh.attributes["pixel"]])
    for suffix in (".glb", ".ply", ".obj"):
        paths = scene.save(tmp_path / f"room{suffix}", model="test")
        assert [path.name for path in paths] == [f"room{suffix}", "room.scene.json"]
        assert trimesh.load(paths[0]) is not None
    record = read_sidecar(tmp_path / "room.scene.json")
    assert record["camera"] == scene.camera
    assert record["model"] == "test"
    assert record["options"]["far"] == FAR


def test_the_record_says_where_the_mesh_begins_and_ends() -> None:
    """A map that does not reach both ends of its range makes a mesh that does not reach 1 and `far`."""
    across = np.linspace(0, 1, WIDTH, dtype=np.float32)
    depth = Depth(np.tile(0.3 + 0.3 * across, (HEIGHT, 1)), "disparity")
    scene = build_scene(depth, PHOTO, options=SceneOptions(far=10, refine=False))
    assert scene.record["far"] == 10
    assert scene.record["nearest"] == pytest.approx(1 / (0.1 + 0.6 * 0.9), rel=1e-6)
    assert scene.record["farthest"] == pytest.approx(1 / (0.1 + 0.3 * 0.9), rel=1e-6)
    assert "1 where the depth map is at its near end, 10 where" in scene.record["conventions"]["distance"]
    half = build_scene(depth, PHOTO, options=SceneOptions(far=10, refine=False, mode="points", sky=0.5))
    assert half.record["farthest"] == pytest.approx(1 / (0.1 + 0.5 * 0.9), rel=0.01), "what was cut away is not counted"
    metres = build_scene(depth, PHOTO, options=SceneOptions(refine=False, known_length=(10, 60, 150, 60, 7.0)))
    assert metres.record["nearest"] == pytest.approx(metres.record["scale"] / 0.64, rel=1e-6)
    assert metres.record["conventions"]["distance"].endswith("metres")
    normals = build_scene(depth, PHOTO, maps()[1], options=SceneOptions(shape="normals", cut=100))
    assert normals.record["nearest"] == pytest.approx(1, rel=1e-6)
    assert normals.record["farthest"] == pytest.approx(normals.record["far"], rel=1e-6)
    assert "the nearest point at 1" in normals.record["conventions"]["distance"]


@pytest.mark.parametrize("mode", ["perspective", "relief"])
def test_a_shape_from_normals_leaves_out_what_is_transparent(mode: Literal["perspective", "relief"]) -> None:
    """Which the stand-in for depth does not know."""
    flat = Depth(np.ones((HEIGHT, WIDTH), np.float32), "disparity")
    vectors = maps()[1].values.copy()
    vectors[:, : WIDTH // 2] = 0
    scene = build_scene(
        flat, PHOTO, Normals(vectors, "lotus"), options=SceneOptions(shape="normals", mode=mode, cut=100)
    )
    columns = scene.mesh.attributes["pixel"] % WIDTH
    assert columns.min() == WIDTH // 2
    assert len(columns) > 0.4 * WIDTH * HEIGHT


def test_clay_shows_the_shape_without_the_photos_colours() -> None:
    scene = build_scene(maps()[0], PHOTO, options=SceneOptions(fov_deg=60, far=FAR))
    photo, clay = (np.ptp(scene.preview(80, shading).astype(int), axis=2) for shading in ("photo", "clay"))
    assert photo.max() > 150
    assert clay.max() < 40
    points = build_scene(maps()[0], PHOTO, options=SceneOptions(mode="points", stride=4))
    with pytest.raises(LotusError, match="no faces"):
        points.preview(80, "clay")


def test_every_mode_and_option() -> None:
    depth, normals, uncertainty = maps()
    light = build_scene(depth, PHOTO, normals, None, SceneOptions(fov_deg=60, far=FAR, target_faces=4000))
    assert len(light.mesh.faces) <= 4000
    assert light.normal_map is not None
    points = build_scene(depth, PHOTO, normals, uncertainty, SceneOptions(mode="points", stride=3))
    assert len(points.mesh.faces) == 0
    assert "color" in points.mesh.attributes
    solid = build_scene(depth, PHOTO, options=SceneOptions(mode="relief", base_mm=2, width_mm=80))
    assert check_printable(solid.mesh).ok
    assert solid.camera is None
    whole = build_scene(depth, PHOTO)
    no_sky = build_scene(depth, PHOTO, options=SceneOptions(sky=0.05))
    assert len(no_sky.mesh.vertices) < len(whole.mesh.vertices)
    sure = build_scene(depth, PHOTO, None, uncertainty, SceneOptions(max_std=0.02))
    assert not (TRUTH.part.ravel()[sure.mesh.attributes["pixel"]] == 2).any()
    found = build_scene(depth, PHOTO, normals, options=SceneOptions(far=None))
    assert found.camera is not None
    assert found.camera.horizontal_fov_deg == pytest.approx(60, abs=4)
    assert found.record["far"] == pytest.approx(FAR, rel=0.1)
    quads = build_scene(depth, PHOTO, options=SceneOptions(quads=True))
    assert quads.mesh.faces.shape[1] == 4


@pytest.mark.parametrize("mode", ["perspective", "points", "relief"])
def test_a_large_photo_gets_a_stride(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    depth, normals, uncertainty = maps()
    normals = coarse(normals)
    plain = build_scene(depth, PHOTO, normals, uncertainty, SceneOptions(mode=mode, min_faces=0))  # type: ignore[arg-type]
    assert plain.record["options"]["stride"] == 1
    monkeypatch.setattr("lotus_core.geometry.scene.MOST_VERTICES", 1000)  # 33 × 25 are fewer, 41 × 31 are more
    large = build_scene(depth, PHOTO, normals, uncertainty, SceneOptions(mode=mode, min_faces=0))  # type: ignore[arg-type]
    assert large.record["options"]["stride"] == 5
    assert 400 < len(large.mesh.vertices) <= 33 * 25
    assert large.normal_map is None, "the mesh shows what the network saw"
    for stride, same in ((1, plain), (5, large)):
        asked = build_scene(depth, PHOTO, normals, uncertainty, SceneOptions(mode=mode, min_faces=0, stride=stride))  # type: ignore[arg-type]
        assert np.array_equal(asked.mesh.vertices, same.mesh.vertices)
        assert np.array_equal(asked.mesh.faces, same.mesh.faces)
        assert (asked.normal_map is not None) == (stride > 1 and mode == "perspective")
    if mode != "points":
        many = build_scene(depth, PHOTO, options=SceneOptions(mode=mode, min_faces=0, target_faces=8000))  # type: ignore[arg-type]
        assert many.options.stride == 2
        assert 6000 < len(many.mesh.faces) <= 8000, "as many as were asked for"


def test_a_large_photo_keeps_normals_that_are_finer_than_its_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, normals, _ = maps()
    monkeypatch.setattr("lotus_core.geometry.scene.MOST_VERTICES", 1000)
    assert detail_between(coarse(normals), 5) < 1.5 < 8 < detail_between(rough(normals), 5)
    assert build_scene(depth, PHOTO, coarse(normals)).normal_map is None
    found = build_scene(depth, PHOTO, rough(normals)).normal_map
    assert found is not None
    tilt = np.degrees(np.arccos(np.clip(found.values[..., 2], -1, 1)))
    assert np.median(tilt) > 5, "the roughness is in the map"


def coarse(normals: Normals) -> Normals:
    """As of a network that saw fewer pixels than the photo has."""
    return normals.resize((HEIGHT // 8, WIDTH // 8)).resize((HEIGHT, WIDTH))


def rough(normals: Normals) -> Normals:
    """As of a wall of bricks: every other pixel leans by 20 degrees or so to one side."""
    values = normals.values.copy()
    values[(np.indices(values.shape[:2]).sum(0) // 2) % 2 == 0] += (0.35, 0, 0)
    return Normals(values / np.linalg.norm(values, axis=2, keepdims=True), normals.convention)


def test_maps_of_another_size_are_resized_to_the_photo() -> None:
    depth, normals, uncertainty = maps()
    scene = build_scene(depth.resize((60, 80)), PHOTO, normals.resize((90, 120)), uncertainty.resize((30, 40)))
    assert scene.camera == Camera.default(WIDTH, HEIGHT)
    assert scene.z is not None
    assert scene.z.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("values", [np.zeros((HEIGHT, WIDTH)), np.full((HEIGHT, WIDTH), 0.5), np.ones((HEIGHT, WIDTH))])
def test_constant_depth_is_a_flat_wall(values: np.ndarray) -> None:
    _, _, uncertainty = maps()
    zero = Normals(np.zeros((HEIGHT, WIDTH, 3)))
    scene = build_scene(Depth(values, "disparity"), PHOTO, zero, uncertainty, SceneOptions(smooth_px=2))
    assert np.ptp(scene.mesh.vertices[:, 2]) < 1e-4 * scene.mesh.vertices[:, 2].min() * -1
    assert len(scene.mesh.vertices) == HEIGHT * WIDTH


def test_impossible_scenes() -> None:
    depth, _, uncertainty = maps()
    nothing = Depth(depth.values, "disparity", np.zeros(depth.values.shape, bool))
    cases = [
        (nothing, PHOTO, None, SceneOptions()),
        (depth, PHOTO.astype(np.float32), None, SceneOptions()),
        (depth, PHOTO, None, SceneOptions(max_std=0.1)),
        (depth, PHOTO, None, SceneOptions(far=None)),
        (depth, PHOTO, None, SceneOptions(far=0.5)),
        (depth, PHOTO, Uncertainty(uncertainty.std, None, 3, "degrees"), SceneOptions()),
        (Depth(np.zeros((1, 50)), "depth"), PHOTO[:1, :50], None, SceneOptions()),
    ]
    for one, photo, std, options in cases:
        with pytest.raises(LotusError):
            build_scene(one, photo, None, std, options)


def test_a_relief_is_as_high_as_it_was_asked_for() -> None:
    across = np.linspace(0.2, 0.7, WIDTH, dtype=np.float32)  # as maps of photos, which rarely reach 0 and 1
    depth = Depth(np.tile(across, (HEIGHT, 1)), "disparity")
    for options in ({}, {"base_mm": 2.0}, {"sky": 0.5}):
        heights = build_scene(depth, PHOTO, options=SceneOptions(mode="relief", relief_mm=7, **options)).mesh.vertices
        front = heights[heights[:, 2] > -1, 2]
        assert [front.min(), front.max()] == pytest.approx([0, 7], abs=1e-5)


def test_an_infinite_cut_leaves_a_record_that_every_program_reads(tmp_path: Path) -> None:
    depth, _, _ = maps()
    scene = build_scene(depth, PHOTO, options=SceneOptions(cut=float("inf"), refine=False))
    assert len(scene.mesh.vertices) == HEIGHT * WIDTH
    scene.save(tmp_path / "a.ply")
    text = (tmp_path / "a.scene.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["options"]["cut"] is None


def test_sidecars_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.scene.json"
    with pytest.raises(LotusError, match="does not exist"):
        read_sidecar(path)
    deep = "[" * 100_000  # beyond what Python reads
    for text, message in (("{", "a readable JSON"), (deep, "a readable JSON"), ("[]", "not the JSON of a Lotus scene")):
        path.write_text(text)
        with pytest.raises(LotusError, match=message):
            read_sidecar(path)
    path.write_text(json.dumps({"format": "lotus-scene", "camera": {"width": 3}}))
    with pytest.raises(LotusError, match="focal_px"):
        read_sidecar(path)


def test_smoothing_follows_the_uncertainty_and_keeps_edges_and_planes() -> None:
    noise = np.where(TRUTH.part == 2, 0.01, 0.0) * np.random.default_rng(0).normal(size=TRUTH.z.shape)
    std = np.where(TRUTH.part == 2, 0.05, 0.001)
    smooth = smooth_depth(TRUTH.z * (1 + noise), std, reach_px=0.03)
    ball = TRUTH.part == 2
    before, after = np.abs(noise[ball]).mean(), np.abs(smooth / TRUTH.z - 1)[ball].mean()
    assert after < 0.7 * before
    assert np.abs(smooth / TRUTH.z - 1)[~ball].max() < 1e-3


def test_bilateral_fusion_of_maps_that_disagree_makes_no_steps() -> None:
    scene = ball_scene(320, 240)
    disparity = 1 / scene.z
    depth = Depth(((disparity - disparity.min()) / np.ptp(disparity)).astype(np.float32), "disparity")
    angle = np.radians(15)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    normals = Normals.from_vectors(scene.normals @ tilt.T, "opengl")

    away = ~edges(scene, 6)[1:-1]

    def roughness(fusion: str) -> float:
        options = SceneOptions(far=float(scene.z.max() / scene.z.min()), fov_deg=60, fusion=fusion)  # type: ignore[arg-type]
        z = build_surface(depth, normals, None, options).z
        return float(np.abs(np.diff(np.log(z), 2, axis=0))[away].mean())

    assert roughness("bilateral") < 2 * roughness("poisson"), "25 times as much with steps"
    with pytest.raises(LotusError, match="fusion is one of poisson, bilateral"):
        roughness("magic")


@pytest.mark.parametrize("mode", ["perspective", "relief"])
def test_every_stage_is_told_and_can_be_the_last(mode: Literal["perspective", "relief"]) -> None:
    depth, normals, _ = maps()
    options = SceneOptions(mode=mode, far=FAR, target_faces=500)
    told: list[tuple[float, str]] = []
    build_scene(depth, PHOTO, normals, None, options, lambda fraction, text: told.append((fraction, text)))
    stages = ["surface", "mesh", "fewer faces", *(["normal map"] if mode == "perspective" else [])]
    assert [text for _, text in told[:-1]] == stages
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] == 1
    reached: list[str] = []

    def tell(_: float, text: str) -> None:
        reached.append(text)

    for last in range(len(stages)):
        reached.clear()
        polls = iter([False] * last + [True])
        with pytest.raises(Cancelled):
            build_scene(depth, PHOTO, normals, None, options, tell, polls.__next__)
        assert reached == stages[:last]
