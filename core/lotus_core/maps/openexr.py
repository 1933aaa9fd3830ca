"""OpenEXR files through the library of that name, each pixel at its place in the picture.

A file holds the pixels of its data window; the picture is its display window (OpenEXR technical introduction). They
differ where empty borders were cropped away, as compositors do, and where a render reaches beyond the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import LotusError
from ..files import atomic_path


@dataclass(frozen=True)
class Picture:
    """What fills a display window.

    planes: channel name → float32 H×W, 0 where the file has no pixels. Sub-sampled channels are left out.
    words: the text attributes. covered: bool H×W, where the file has pixels; None where it has them everywhere.
    """

    planes: dict[str, np.ndarray]
    words: dict[str, str]
    covered: np.ndarray | None


def read_openexr(path: Path) -> Picture:
    """The first part of a file. Raises LotusError where it is missing, damaged, or far larger than a picture."""
    import OpenEXR

    if not path.is_file():
        raise LotusError(f"There is no file {path}.")
    try:
        with _utf8_name(path) as name, OpenEXR.File(name, separate_channels=True) as file:
            header = file.header()
            words = {key: value for key, value in header.items() if isinstance(value, str)}
            planes = {key: np.array(channel.pixels, np.float32) for key, channel in file.channels().items()}
            data, display = _window(header["dataWindow"]), _window(header["displayWindow"])
    except Exception:  # the library raises RuntimeError, ValueError, TypeError and others on damaged files
        raise LotusError(f"{path} is not a readable EXR file; save it again or choose another.") from None
    planes = {key: plane for key, plane in planes.items() if plane.shape == data.shape}
    if data == display:
        return Picture(planes, words, None)
    return _placed(planes, words, data, display, path)


def write_openexr(path: Path, planes: Mapping[str, np.ndarray], words: Mapping[str, str]) -> None:
    """Write channels (name → float32 H×W, all of one size), which fill the display window, and text attributes.

    Atomic, ZIP. Raises LotusError where it cannot be written.
    """
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **words}
    channels = {key: np.ascontiguousarray(plane) for key, plane in planes.items()}
    with atomic_path(path) as temporary:
        try:
            with _utf8_name(temporary) as name, OpenEXR.File(header, channels) as file:
                file.write(name)
        except RuntimeError as error:  # what the library raises for a full disk or a forbidden folder
            raise OSError(str(error)) from error


@dataclass(frozen=True)
class _Window:
    """Corner and size of a rectangle of pixels."""

    top: int
    left: int
    shape: tuple[int, int]


def _window(corners: Any) -> _Window:
    (left, top), (right, bottom) = (tuple(map(int, corner)) for corner in corners)  # inclusive
    return _Window(top, left, (bottom - top + 1, right - left + 1))


def _placed(
    planes: dict[str, np.ndarray], words: dict[str, str], data: _Window, display: _Window, path: Path
) -> Picture:
    from ..images import MAX_PIXELS  # not at the top: it needs Pillow, and the other maps do not

    if display.shape[0] * display.shape[1] > MAX_PIXELS:
        size = f"{display.shape[1]:,}×{display.shape[0]:,}"
        raise LotusError(f"{path} is {size} pixels, but at most {MAX_PIXELS:,} are supported: scale it down.")
    down, across = (
        _overlap(data.top - display.top, data.shape[0], display.shape[0]),
        _overlap(data.left - display.left, data.shape[1], display.shape[1]),
    )
    target, source = (down[0], across[0]), (down[1], across[1])

    def placed(plane: np.ndarray) -> np.ndarray:
        canvas = np.zeros(display.shape, plane.dtype)
        canvas[target] = plane[source]
        return canvas

    covered = placed(np.ones(data.shape, bool))
    return Picture({key: placed(plane) for key, plane in planes.items()}, words, None if covered.all() else covered)


def _overlap(start: int, length: int, room: int) -> tuple[slice, slice]:
    """Where a stretch that begins at `start` lies in [0, room), and which part of it that is."""
    first, last = min(max(start, 0), room), max(min(start + length, room), 0)
    return slice(first, max(first, last)), slice(first - start, max(first, last) - start)


@contextmanager
def _utf8_name(path: Path) -> Iterator[str]:
    """A name of the file that is valid UTF-8, which the library insists on: its own, or for the moment a link to it."""
    if _is_utf8(str(path)):
        yield str(path)
        return
    with TemporaryDirectory() as folder:
        link = Path(folder, "link.exr")
        link.symlink_to(path.absolute())
        yield str(link)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
