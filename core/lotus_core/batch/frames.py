"""The frames of a clip, read ahead, each with its motion since the frame before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LotusError
from ..files import atomic_path
from ..plates import common_exposure, plates_of
from .blame import no_fault_of_the_item
from .items import Item
from .motion import Motion, find_motion, small_grey
from .pipeline import Limits
from .settings import Settings
from .video import read_frames

if TYPE_CHECKING:
    from ..images import LoadedImage


@dataclass(frozen=True)
class ClipFrame:
    """Frame `index` (from 0). image: None where the frame was not wanted. motion: None for the first frame. time: when
    it is shown, in seconds, None where that is not known, as in an image sequence."""

    index: int
    image: LoadedImage | None
    motion: Motion | None
    time: Fraction | None


@dataclass(frozen=True)
class _Picture:
    image: LoadedImage
    grey: np.ndarray
    time: Fraction | None


def clip_exposure(item: Item, settings: Settings) -> float | None:
    """The one exposure, in stops, of all frames; None where they are display-referred. Raises LotusError."""
    if item.kind == "video":
        return None
    if settings.exposure is None:
        return common_exposure(item.files)
    return settings.exposure if plates_of(item.files) else None


def clip_frames(
    item: Item,
    exposure: float | None,
    folder: Path,
    wanted: Callable[[int], bool],
    limits: Limits,
) -> Iterator[ClipFrame]:
    """All frames in order. Their motion is kept in `folder`, and taken from there where it is known already.

    wanted: of which frames the picture is needed; the others are read only where the next one's motion needs them.
    Raises LotusError for damaged frames.
    """
    is_video = item.kind == "video"
    threads = ThreadPoolExecutor(limits.threads, "frames")
    # The frames of a video come out in order only: one thread decodes them.
    readers = ThreadPoolExecutor(1, "video") if is_video else threads
    stream = read_frames(Path(item.files[0])) if is_video else None
    ahead: deque[tuple[int, Future[_Picture | None], Future[Motion] | None]] = deque()
    last: Future[_Picture | None] | None = None
    size = _Size(item.files[0])

    def read(index: int, needed: bool) -> _Picture | None:
        if stream is not None:
            frame = next(stream, None)
            return None if frame is None else _picture(frame.pixels, index, size, frame.time)
        return _picture(item.files[index], index, size, exposure=exposure) if needed else None

    def motion(index: int, now: Future[_Picture | None], before: Future[_Picture | None]) -> Motion:
        path = _motion_path(folder, index)
        if path.is_file():
            return load_motion(folder, index)
        later, earlier = now.result(), before.result()
        if later is None or earlier is None:
            raise EOFError  # the video has ended
        found = find_motion(later.grey, earlier.grey)
        _save_motion(path, found)
        return found

    def needed(index: int) -> bool:
        ours = wanted(index) or not _motion_path(folder, index).is_file()
        return ours or not _motion_path(folder, index + 1).is_file()

    try:
        index = 0
        while True:
            while (is_video or index < len(item.files)) and (
                not ahead or (len(ahead) < 2 * limits.threads and (len(ahead) + 1) * size.bytes <= limits.bytes // 2)
            ):
                now = readers.submit(read, index, needed(index))
                # Submitted after the pictures it waits for, so these are in work before it takes a thread.
                ahead.append((index, now, threads.submit(motion, index, now, last) if last is not None else None))
                last, index = now, index + 1
            if not ahead:
                return
            number, picture, moved = ahead.popleft()
            found = picture.result()
            if found is None and is_video:
                return
            motion_since = moved.result() if moved else None
            yield ClipFrame(number, found.image if found else None, motion_since, found.time if found else None)
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        readers.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Size:
    """Of a clip's pictures in memory; all must be alike."""

    name: str
    shape: tuple[int, ...] | None = None

    @property
    def bytes(self) -> int:
        return 0 if self.shape is None else 4 * int(np.prod(self.shape))

    def check(self, shape: tuple[int, ...], index: int) -> None:
        if self.shape is None:
            self.shape = shape
        if shape != self.shape:
            sizes = f"{shape[1]}×{shape[0]}, not {self.shape[1]}×{self.shape[0]}"
            raise LotusError(f"Frame {index + 1} of {self.name} is {sizes} like the frames before: bring them to one.")


def _picture(
    source: Any, index: int, size: _Size, time: Fraction | None = None, exposure: float | None = None
) -> _Picture:
    from ..images import load_image

    image = load_image(source, exposure=exposure)
    size.check(image.rgb.shape, index)
    return _Picture(image, small_grey(image.rgb), time)


def _motion_path(folder: Path, index: int) -> Path:
    return folder / f"motion.{index:06d}.npz"


def load_motion(folder: Path, index: int) -> Motion:
    """The motion of a frame that `clip_frames` has kept."""
    with np.load(_motion_path(folder, index)) as arrays:
        return Motion(arrays["flow"].astype(np.float32), arrays["difference"].astype(np.float32))


def _save_motion(path: Path, motion: Motion) -> None:
    with no_fault_of_the_item(), atomic_path(path) as temporary:
        np.savez(temporary, flow=motion.flow.astype(np.float16), difference=motion.difference.astype(np.float16))
