"""Reading clips: all frames, or one sentence that says where they end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lotus_core.batch.video import read_frames
from lotus_core.errors import LotusError

CLIPS = [
    ("mp4", "libx264"),
    ("mov", "mpeg4"),
    ("mkv", "libx264"),
    ("mkv", "ffv1"),
    ("webm", "libvpx"),
    ("avi", "mpeg4"),
]


def write_clip(path: Path, codec: str, times: list[int], sound: float = 0.0) -> None:
    """Noise shown at `times` (in 24ths of a second), and so many seconds of silence beside it."""
    rng = np.random.default_rng(0)
    options = (
        {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    )  # the index first: without it a cut file cannot be opened
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=24)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 24)
        audio = container.add_stream("mp3", rate=44100) if sound else None
        for time in times:
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
            frame.pts, frame.time_base = time, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            for number in range(int(sound * 44100 / 1152)):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
                silence.pts, silence.sample_rate = 1152 * number, 44100
                container.mux(audio.encode(silence))
            container.mux(audio.encode(None))


@pytest.mark.parametrize(("suffix", "codec"), CLIPS)
def test_a_clip_that_was_cut_off_is_not_taken_for_a_shorter_one(tmp_path: Path, suffix: str, codec: str) -> None:
    """FFmpeg reads half a file without a word: a copy that broke off would give half of the maps, and count as done."""
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    write_clip(whole, codec, list(range(24)))
    assert sum(1 for _ in read_frames(whole)) == 24
    for share in (0.4, 0.7, 0.85):
        cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        with pytest.raises(LotusError, match=r"breaks off after frame \d+|is damaged") as raised:
            list(read_frames(cut))
        assert str(cut) in str(raised.value)


@pytest.mark.parametrize(("suffix", "codec"), CLIPS)
@pytest.mark.parametrize("times", [[0, 3, 4, 30, 31, 90], [20, 21, 22]], ids=["uneven", "late"])
def test_uneven_and_late_frames_are_whole_clips(tmp_path: Path, suffix: str, codec: str, times: list[int]) -> None:
    path = tmp_path / f"a.{suffix}"
    write_clip(path, codec, times)
    assert sum(1 for _ in read_frames(path)) == len(times)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_sound_that_goes_on_is_no_missing_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_clip(path, "mpeg4", list(range(12)), sound=3)
    assert sum(1 for _ in read_frames(path)) == 12
