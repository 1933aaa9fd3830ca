"""Clips with transparent pixels: their range, flicker, smoothing, previews and videos go by what is there."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest

from lotus_core.batch.assembling import _smoother, assemble
from lotus_core.batch.clips import raw_path
from lotus_core.batch.items import Item
from lotus_core.batch.motion import Motion
from lotus_core.batch.reading import Stamp
from lotus_core.batch.settings import RangeKind, Settings
from lotus_core.batch.smoothing import Smoother
from lotus_core.batch.timing import Timing
from lotus_core.batch.video import read_frames
from lotus_core.cli import main
from lotus_core.maps import Depth, Uncertainty
from lotus_core.maps.depth import Space

HEIGHT, WIDTH, COUNT = 36, 64, 12
LEFT = 48  # columns of the background
SCENE = np.tile(np.linspace(0.3, 0.7, WIDTH - LEFT, dtype=np.float32), (HEIGHT, 1))


def still(height: int, width: int) -> Motion:
    return Motion(np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32))


def written(frames: Sequence[Depth], settings: Settings, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The files of a clip whose raw depth this is and whose picture stands still, and its facts."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for index, frame in enumerate(frames):
        frame.save(raw_path(raw, "depth", index))
        motion = still(*frame.values.shape)
        np.savez(raw / f"motion.{index:06d}.npz", flow=motion.flow, difference=motion.difference)
    item = Item("clip.####.png", "sequence", (), "clip", tuple(range(1, len(frames) + 1)))
    begins = [index == 0 for index in range(len(frames))]
    facts: dict[str, Any] = {"maps": {"depth": {}}}
    finished = assemble(item, Stamp.missing(), facts, begins, Timing(Fraction(24)), settings, raw, folder / "staging")
    return folder / "staging" / finished.staging, finished.facts


def jumping(matte: bool) -> list[Depth]:
    """Maps of one scene, each with a range of its own; before a transparent background of 75 % or cropped to it."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(COUNT):
        values = SCENE * rng.normal(1, 0.08) + np.float32(rng.normal(0, 0.05))
        values = np.pad(values.astype(np.float32), ((0, 0), (LEFT if matte else 0, 0)))
        frames.append(Depth(values, "disparity", values > 0 if matte else None))
    return frames


@pytest.mark.parametrize("kind", ["two-pass", "causal"])
def test_a_transparent_background_does_not_pin_the_range(kind: RangeKind, tmp_path: Path) -> None:
    settings = Settings(range=kind, smooth=0, format="exr", previews=False)
    _, cropped = written(jumping(matte=False), settings, tmp_path / "cropped")
    _, matted = written(jumping(matte=True), settings, tmp_path / "matted")
    assert cropped["flicker"]["written"] < 0.5 * cropped["flicker"]["raw"]
    for stage in ("raw", "written"):
        assert matted["flicker"][stage] == pytest.approx(cropped["flicker"][stage], rel=1e-4)
    assert np.allclose(matted["range"], cropped["range"], atol=1e-4)


@pytest.mark.parametrize("kind", ["two-pass", "causal"])
def test_a_frame_that_is_all_transparent_disturbs_no_other(kind: RangeKind, tmp_path: Path) -> None:
    values = np.pad(SCENE, ((0, 0), (LEFT, 0)))
    frames = [Depth(values, "disparity", values > 0) for _ in range(5)]
    frames[2] = Depth(values, "disparity", np.zeros(values.shape, bool))
    folder, facts = written(frames, Settings(range=kind, format="exr", previews=False), tmp_path)
    assert facts["range"] == [[1, 0]] * 5
    assert facts["flicker"] == {"raw": 0, "written": 0}
    for path, frame in zip(sorted(folder.rglob("*.exr")), frames, strict=True):
        found = Depth.load(path)
        assert np.array_equal(found.mask, frame.mask)
        assert np.abs(found.values - frame.values).max() < 1e-6


def test_smoothing_takes_nothing_from_pixels_that_were_transparent() -> None:
    first = np.full((HEIGHT, WIDTH), 0.1, np.float32)
    first[:, :20] = 0  # transparent
    moving = Motion(np.full((HEIGHT, WIDTH, 2), (0.5, 0), np.float32), np.zeros((HEIGHT, WIDTH), np.float32))
    smoother = Smoother(0.8)
    smoother.next(first, None, first > 0)
    now = np.full((HEIGHT, WIDTH), 0.15, np.float32)
    out = smoother.next(now, moving, None)
    assert np.array_equal(out[:, :20], now[:, :20])  # column 19 comes half from each side
    assert np.abs(out[:, 20:-1] - 0.11).max() < 0.006


@pytest.mark.parametrize(("unit", "noise"), [("depth", 0.02), ("degrees", 2.0)])
def test_uncertainty_of_a_still_picture_is_smoothed_in_either_unit(
    unit: Literal["depth", "degrees"], noise: float, tmp_path: Path
) -> None:
    draws = np.random.default_rng(0).standard_normal((6, HEIGHT, WIDTH)).astype(np.float32)
    none = np.zeros((HEIGHT, WIDTH, 2), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    raw = [np.abs(noise * (5 + draw)) for draw in draws]
    smoother = _smoother(Uncertainty(raw[0], None, 10, unit), 0.8)
    smoothed = [smoother.next(frame, Motion(*none)) for frame in raw]
    left = np.abs(np.diff(smoothed[2:], axis=0)).mean() / np.abs(np.diff(raw[2:], axis=0)).mean()
    assert left < 0.3


@pytest.mark.parametrize(("space", "far"), [("disparity", 0), ("depth", 65535)])
def test_transparent_pixels_are_far_in_videos_and_black_in_previews(space: Space, far: int, tmp_path: Path) -> None:
    values = np.pad(SCENE, ((0, 0), (LEFT, 0)))
    frames = [Depth(values, space, values > 0) for _ in range(3)]
    folder, _ = written(frames, Settings(video="ffv1"), tmp_path)
    with av.open(str(folder / "clip_depth.mkv")) as container:
        codes = np.stack([frame.to_ndarray(format="gray16le") for frame in container.decode(video=0)])
    assert (codes[:, :, :LEFT] == far).all()
    assert np.abs(codes[:, :, LEFT:].astype(np.float32) / 65535 - SCENE).max() < 1e-5
    with av.open(str(folder / "clip_depth_preview.mp4")) as container:
        colours = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert colours[:, :, : LEFT - 4].max() < 12  # H.264 is not lossless
    assert colours[:, :, LEFT + 4 :].max(axis=3).min() > 100


@pytest.mark.parametrize(
    ("codec", "form", "suffix", "deepest"), [("prores_ks", "yuva444p10le", "mov", 65535), ("png", "rgba", "mov", 255)]
)
def test_the_matte_of_a_video_counts(
    codec: str, form: str, suffix: str, deepest: int, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    clip = tmp_path / f"clip.{suffix}"
    picture = np.random.default_rng(2).integers(60, 200, (48, 64, 4), dtype=np.uint8)
    picture[..., 3] = 255
    cut = picture.copy()
    cut[:, :20, 3] = 0
    write_with_alpha(clip, [cut, picture], codec, form)
    first, second = (frame.pixels for frame in read_frames(clip))
    assert first.shape == (48, 64, 4)
    assert first[:, :20, 3].max() == 0
    assert first[:, 20:, 3].min() > 0.99 * deepest
    assert second.shape == (48, 64, 3)  # all of it is opaque
    out = tmp_path / "out"
    assert main(["batch", str(clip), str(out), "--model", checkpoints["depth"], "--format", "exr", "--quiet"]) == 0
    depths = [Depth.load(path) for path in sorted((out / "clip").glob("*_depth.*.exr"))]
    assert [depth.mask[:, :20].any() for depth in depths] == [False, True]
    assert all(depth.mask[:, 20:].all() for depth in depths)


def write_with_alpha(path: Path, frames: Sequence[np.ndarray], codec: str, form: str) -> None:
    """H×W×4 uint8 frames as a video that keeps their alpha."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = form
        if codec == "prores_ks":
            stream.options = {"profile": "4444", "alpha_bits": "16"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")))
        container.mux(stream.encode())
