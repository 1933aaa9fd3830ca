"""Videos in and out, through PyAV (FFmpeg)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LotusError
from .timing import CLOCK, Timing

BT601, BT709 = 5, 1  # FFmpeg's numbers of colour matrices (AVColorSpace)
_UNSPECIFIED = 2
# FFmpeg's names of containers that state their length, and are not cut at will as streams are.
_STATE_LENGTH = ("mov", "matroska", "avi")
_SLACK_FRAMES = 2  # what a file may lack of the time it promises
_HD_HEIGHT = 720  # from here on a video that does not say its colour matrix is taken to be BT.709, as players do
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_WITHOUT, _WITH_ALPHA = ("rgb24", "rgb48le"), ("rgba", "rgba64le")  # up to 8 bits, more


@dataclass(frozen=True)
class Codec:
    """How maps become a video. grey, colour: pixel formats of one- and three-channel maps; bits of their values."""

    name: str
    suffix: str
    grey: str
    colour: str
    bits: int
    options: Mapping[str, str]
    encoded: str | None = None  # the pixel format that the encoder takes, where it is another


CODECS = {
    "ffv1": Codec("ffv1", ".mkv", "gray16le", "gbrp16le", 16, {"level": "3", "slices": "4", "slicecrc": "1"}),
    "x265": Codec("libx265", ".mp4", "gray10le", "gbrp10le", 10, {"x265-params": "lossless=1:log-level=none"}),
    "prores": Codec("prores_ks", ".mov", "gray16le", "rgb48le", 16, {"profile": "4444"}, encoded="yuv444p10le"),
}
PREVIEW = Codec("libx264", ".mp4", "rgb24", "rgb24", 8, {"crf": "18", "preset": "fast"}, encoded="yuv420p")


def require_av() -> Any:
    """PyAV. Raises LotusError where it is not installed."""
    try:
        import av
    except ImportError:
        raise LotusError("Videos and Radiance HDR need PyAV: pip install av.") from None
    return av


@contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """A file opened for reading. Raises LotusError for what is missing, damaged or without pictures."""
    av = require_av()
    if not path.is_file():
        raise LotusError(f"There is no file {path}.")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError, OSError):
        raise LotusError(f"{path} is damaged or no video that can be read: export or copy it again.") from None
    with container:
        if not container.streams.video:
            raise LotusError(f"{path} has no pictures in it: it may be sound only.")
        yield container


@dataclass(frozen=True)
class VideoFacts:
    """frames: as the file says, 0 where it does not. rate: frames per second, in the mean."""

    frames: int
    rate: Fraction


def probe(path: Path) -> VideoFacts:
    """What a video's header says. Raises LotusError."""
    with open_container(path) as container:
        stream = container.streams.video[0]
        return VideoFacts(int(stream.frames or 0), _rate(stream))


@dataclass(frozen=True)
class VideoFrame:
    """pixels: upright, H×W×3 RGB, or H×W×4 with alpha where some of it is transparent; uint8, or uint16 for more than 8
    bits. time: in seconds, None where the file does not say when the frame is shown."""

    pixels: np.ndarray
    time: Fraction | None


def read_frames(path: Path) -> Iterator[VideoFrame]:
    """The frames in order. Raises LotusError."""
    av = require_av()
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        number, end, cut = 0, Fraction(0), False
        try:
            for packet in container.demux(stream):
                if packet.size:
                    end, cut = max(end, _end(packet)), packet.is_corrupt
                for frame in packet.decode():
                    number += 1
                    yield VideoFrame(_pixels(frame), None if frame.pts is None else frame.pts * frame.time_base)
        except (av.FFmpegError, ValueError) as error:
            raise LotusError(f"{path} is damaged after frame {number} ({error}): export or copy it again.") from None
        if number == 0:
            raise LotusError(f"{path} holds no frames: export or copy it again.")
        if container.format.name.startswith(_STATE_LENGTH):
            promised = _promised_end(container, stream)
            if cut or (promised is not None and end + _SLACK_FRAMES / _rate(stream) < promised):
                rest = "" if promised is None else f", of {float(promised):.4g} seconds"
                raise LotusError(f"{path} breaks off after frame {number}{rest}: copy or export it again.")


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 24)


def _end(packet: Any) -> Fraction:
    """When what a packet holds is over, in seconds."""
    shown = packet.pts if packet.pts is not None else packet.dts
    return Fraction(0) if shown is None else Fraction(shown + (packet.duration or 0)) * packet.time_base


def _promised_end(container: Any, stream: Any) -> Fraction | None:
    """When the pictures should be over, in seconds, by what the file says of them; None where it does not.

    FFmpeg ends without a word where a file was cut off. The duration of the container is that of its longest stream.
    """
    start = Fraction(stream.start_time or 0) * stream.time_base
    if stream.duration is not None:
        return start + Fraction(stream.duration) * stream.time_base
    stated = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if stated:
        hours, minutes, seconds = map(Fraction, stated.groups())
        return 3600 * hours + 60 * minutes + seconds
    if container.duration is not None and len(container.streams) == 1:
        return Fraction(container.duration, 1_000_000)
    return None


def _pixels(frame: Any) -> np.ndarray:
    components = frame.format.components
    deep = any(component.bits > 8 for component in components)
    alpha_bits = next((component.bits for component in components if component.is_alpha), 0)
    wanted = _WITH_ALPHA if alpha_bits else _WITHOUT
    arguments: dict[str, Any] = {"format": wanted[deep]}
    if not frame.format.is_rgb and frame.colorspace == _UNSPECIFIED:
        arguments["src_colorspace"] = BT709 if frame.height >= _HD_HEIGHT else BT601
    pixels: np.ndarray = frame.reformat(**arguments).to_ndarray()
    if alpha_bits and (pixels[..., 3] >> (16 - alpha_bits if deep else 0) == 2**alpha_bits - 1).all():
        pixels = pixels[..., :3]  # FFmpeg widens 12 bits to 16 by shifting, so what is opaque is not full scale
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # phones film upright by a turn in the header
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


class VideoWriter:
    """Writes one map's frames, values in [0, 1], float H×W or H×W×3 (uint8 RGB for PREVIEW); a context manager.

    They are shown as `timing` says (in Matroska to the millisecond). The same frames give the same bytes, of H.264
    nearly always (x264 was seen to differ on a loaded machine). Raises LotusError where this build of FFmpeg lacks
    the encoder.
    """

    def __init__(self, path: Path, codec: Codec, timing: Timing, words: Mapping[str, str]) -> None:
        self._path, self._codec, self._timing, self._words = path, codec, timing, words
        self._written = 0
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, values: np.ndarray) -> None:
        av = require_av()
        pixels = values if values.dtype == np.uint8 else _coded(values, self._codec.bits)
        if self._codec.encoded == "yuv420p":  # which has a colour for each 2×2 pixels
            pixels = pixels[: max(2, pixels.shape[0] // 2 * 2), : max(2, pixels.shape[1] // 2 * 2)]
        if self._container is None:
            self._open(pixels)
        form = self._codec.grey if pixels.ndim == 2 else self._codec.colour
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=form)
        frame.color_range = _FULL_RANGE
        if self._codec.encoded:
            frame = frame.reformat(format=self._codec.encoded, dst_colorspace=BT709, dst_color_range=1)
        if self._timing.ticks is not None:
            frame.pts, frame.time_base = self._timing.ticks[self._written], Fraction(1, CLOCK)
        self._written += 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _open(self, pixels: np.ndarray) -> None:
        av = require_av()
        codec = self._codec
        try:
            self._container = av.open(str(self._path), "w", options={"fflags": "+bitexact"})
            self._stream = self._container.add_stream(codec.name, rate=self._timing.rate, options=dict(codec.options))
        except (av.FFmpegError, ValueError) as error:
            raise LotusError(
                f"This build of FFmpeg cannot write {codec.name} ({error}): choose another --video."
            ) from None
        self._container.metadata.update(self._words)
        if self._timing.ticks is not None:
            self._stream.codec_context.time_base = Fraction(1, CLOCK)
            # With frames out of order, MP4 adds up the wrong steps and says that the video ends before its last frames.
            self._stream.codec_context.max_b_frames = 0
        self._stream.height, self._stream.width = pixels.shape[:2]
        self._stream.pix_fmt = codec.encoded or (codec.grey if pixels.ndim == 2 else codec.colour)
        self._stream.codec_context.color_range = 1 if codec.encoded else _FULL_RANGE
        self._stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT: no version numbers in the stream
        if codec.encoded:
            self._stream.codec_context.colorspace = BT709

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._container is None:
            return
        if kind is None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()


def _coded(values: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * np.float64(2**bits - 1)).astype(np.uint16)
