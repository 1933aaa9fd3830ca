"""When frames are shown: videos of maps stay in step with their source."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lotus_core.batch.timing import Timing, exact_rate
from lotus_core.cli import main

from .batches import manifest

PAUSES = (0, 40, 80, 1000, 1040, 2500)  # milliseconds: a screen recording, which has frames where something happens


def write_video(path: Path, times: tuple[int, ...], rate: int = 25) -> None:
    """A Matroska video of a ball that moves; the first frame is shown after half a second."""
    y, x = np.mgrid[0:48, 0:64]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for index, time in enumerate(times):
            ball = (x - 20 - index) ** 2 + (y - 24) ** 2 < 200
            rgb = np.dstack([x * 3, y * 4, np.where(ball, 220, 40)]).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = 500 + time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def shown(path: Path) -> tuple[list[float], float]:
    """Milliseconds since the first frame at which each is shown, and how long the file says it is."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [1000 * (frame.time or 0.0) for frame in container.decode(stream)]
        return [time - times[0] for time in times], (container.duration or 0) / 1000


@pytest.mark.parametrize(("codec", "suffix"), [("ffv1", "mkv"), ("x265", "mp4"), ("prores", "mov")])
def test_maps_of_a_video_without_a_constant_rate_stay_in_step(
    codec: str, suffix: str, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    write_video(tmp_path / "clip.mkv", PAUSES)
    out = tmp_path / "out"
    options = ["--video", codec, "--model", checkpoints["depth"], "--threads", "1", "--quiet"]
    assert main(["batch", str(tmp_path / "clip.mkv"), str(out), *options]) == 0
    assert manifest(out)["items"]["clip.mkv"]["times"] == [time / 1000 for time in PAUSES]
    for name in (f"clip_depth.{suffix}", "clip_depth_preview.mp4"):
        times, length = shown(out / name)
        assert times == pytest.approx(PAUSES, abs=0.5)
        assert length >= PAUSES[-1]


def test_a_constant_rate_is_kept_as_such(checkpoints: dict[str, str], tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", (0, 33, 67, 100, 133, 167), 30)  # as Matroska rounds it
    out = tmp_path / "out"
    options = ["--video", "x265", "--model", checkpoints["depth"], "--threads", "1", "--quiet"]
    assert main(["batch", str(tmp_path / "clip.mkv"), str(out), *options]) == 0
    facts = manifest(out)["items"]["clip.mkv"]
    assert (facts["fps"], "times" in facts) == ("30", False)
    for name in ("clip_depth.mp4", "clip_depth_preview.mp4"):
        times, _ = shown(out / name)
        assert times == pytest.approx([index * 1000 / 30 for index in range(6)], abs=1e-3)


def test_times_that_say_nothing_leave_the_rate() -> None:
    rate = Fraction(25)
    assert Timing.of(rate, [None, None, None]).ticks is None
    assert Timing.of(rate, [Fraction(0), None, Fraction(1)]).ticks is None
    assert Timing.of(rate, [Fraction(0), Fraction(5), Fraction(1)]).ticks is None
    assert Timing.of(rate, []).ticks is None
    same = Timing.of(rate, [Fraction(3), Fraction(3), Fraction(4)])  # two frames at once: a millisecond apart
    assert same.seconds == [0, 0.001, 1]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        *((float(whole), Fraction(whole)) for whole in (1, 2, 5, 12, 24, 25, 30, 60, 1000)),
        (12.5, Fraction(25, 2)),
        (0.5, Fraction(1, 2)),
    ],
)
def test_decimal_rates_are_those_of_broadcasting(written: float, meant: Fraction) -> None:
    assert exact_rate(written) == meant


def test_a_sequence_at_23_976_is_written_at_exactly_that(checkpoints: dict[str, str], tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (64, 48), (90, 60 * number, 30)).save(tmp_path / f"shot.{number:04d}.png")
    out = tmp_path / "out"
    options = ["--fps", "23.976", "--video", "prores", "--no-previews", "--model", checkpoints["depth"], "--quiet"]
    assert main(["batch", str(tmp_path / "shot.####.png"), str(out), *options]) == 0
    with av.open(str(out / "shot_depth.mov")) as container:
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)
