"""OpenEXR files through the library of that name, each pixel at its place in the picture.

A file holds the pixels of its data window; the picture is its display window (OpenEXR technical introduction). They
differ where empty borders were cropped away, as compositors do, and where a render reaches beyond the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    channels: names of all channels in the file, also of those that `planes` lacks.
    """

    planes: dict[str, np.ndarray]
    words: dict[str, str]
    covered: np.ndarray | None
    channels: tuple[str, ...] = ()


Choice = Callable[[Sequence[str]], Iterable[str]]
"""Names of a part's channels → those to read; none: look in the next part."""


def read_openexr(path: Path, choose: Choice = tuple) -> Picture:
    """What `choose` wants of the first part that has it: everything of the first one unless told otherwise.

    Raises LotusError where the file is missing, damaged, or far larger than a picture.
    """
    import OpenEXR

    if not path.is_file():
        raise LotusError(f"There is no file {path}.")
    try:
        with _utf8_name(path) as name:
            with OpenEXR.File(name, header_only=True) as file:
                for part in file.parts:
                    _check_size(part.header, path)
            with OpenEXR.File(name, separate_channels=True) as file:
                return _read_part(file.parts, choose)
    except LotusError:
        raise
    except MemoryError:
        raise LotusError(f"{path} does not fit into memory: scale it down, or leave channels out.") from None
    except Exception:  # the library raises RuntimeError, ValueError, TypeError and others on damaged files
        raise LotusError(f"{path} is not a readable EXR file; save it again or choose another.") from None


def _read_part(parts: Sequence[Any], choose: Choice) -> Picture:
    every = tuple(name for part in parts for name in part.channels)
    for part in parts:
        data, display = _window(part.header["dataWindow"]), _window(part.header["displayWindow"])
        whole = [name for name, channel in part.channels.items() if channel.pixels.shape == data.shape]
        planes = {name: np.array(part.channels[name].pixels, np.float32) for name in choose(whole)}
        if planes:
            words = {key: value for key, value in part.header.items() if isinstance(value, str)}
            covered = None if data == display else _place(planes, data, display)
            return Picture(planes, words, covered, every)
    return Picture({}, {}, None, every)


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


def _check_size(header: Mapping[str, Any], path: Path) -> None:
    from ..images import MAX_PIXELS  # not at the top: it needs Pillow, and the other maps do not

    for window in (_window(header["displayWindow"]), _window(header["dataWindow"])):
        height, width = window.shape
        if height * width > MAX_PIXELS:
            size = f"{width:,}×{height:,}"
            raise LotusError(f"{path} is {size} pixels, but at most {MAX_PIXELS:,} are supported: scale it down.")


def _place(planes: dict[str, np.ndarray], data: _Window, display: _Window) -> np.ndarray | None:
    """Bring the planes from the data window to the display window; returns Picture.covered."""
    down, across = (
        _overlap(data.top - display.top, data.shape[0], display.shape[0]),
        _overlap(data.left - display.left, data.shape[1], display.shape[1]),
    )
    target, source = (down[0], across[0]), (down[1], across[1])

    def placed(plane: np.ndarray) -> np.ndarray:
        canvas = np.zeros(display.shape, plane.dtype)
        canvas[target] = plane[source]
        return canvas

    for name in planes:
        planes[name] = placed(planes[name])
    covered = placed(np.ones(data.shape, bool))
    return None if covered.all() else covered


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
