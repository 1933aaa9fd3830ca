"""Reading the files of published data sets: every failure is one sentence that names the file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import LotusError

log = logging.getLogger(__name__)

_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises at files that are no pictures, are damaged, or too large."""


@dataclass(frozen=True)
class FrameReport:
    """How many frames of a data set can be used, and which files keep the others from it."""

    name: str
    usable: int
    left_out: int
    missing: tuple[Path, ...]

    def __str__(self) -> str:
        sentence = f"{self.name}: {self.usable} frame{'' if self.usable == 1 else 's'}"
        if self.left_out:
            sentence += f", {self.left_out} left out because files are missing: {listed(self.missing)}"
        return sentence

    def warn(self) -> None:
        """Log it where frames are left out."""
        if self.left_out:
            log.warning("%s.", self)


def listed(things: Sequence[object], most: int = 20) -> str:
    """The first `most` with commas between, and how many more there are."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(str(thing) for thing in things[:most]) + more


def keep_complete(
    name: str, frames: Sequence[tuple[Path, ...]], strict: bool, page: str = "docs/datasets.md", way: str = ""
) -> tuple[list[tuple[Path, ...]], FrameReport]:
    """The frames (tuples of paths) whose files all exist, and the report on the rest.

    page: of the documentation, which has the layout. way: how to allow missing files, for the error.

    Raises:
        LotusError: no frame is complete; or, with `strict`, any is not.
    """
    complete, missing = [], []
    for frame in frames:
        absent = [path for path in frame if not path.is_file()]
        missing += absent
        if not absent:
            complete.append(frame)
    report = FrameReport(name, len(complete), len(frames) - len(complete), tuple(missing))
    if not complete:
        raise LotusError(f"{report}: there is nothing to read; check the folder against {page}.")
    if report.left_out and strict:
        raise LotusError(f"{report}; download them, or allow missing files{way}.")
    return complete, report


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 list file, stripped.

    Raises:
        LotusError: the file cannot be read, or has no line.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LotusError(f"Cannot read the list file {path}: {_reason(error)}.") from error
    lines = [line for line in lines if line]
    if not lines:
        raise LotusError(f"The list file {path} is empty: it needs one line per frame.")
    return lines


def read_rgb(path: Path) -> Image.Image:
    """An 8-bit picture as RGB. Raises LotusError where it cannot be decoded."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except _UNREADABLE as error:
        raise LotusError(f"Cannot read the picture {path}: {_reason(error)}.") from error


def read_uint16(path: Path) -> NDArray[np.uint16]:
    """A single-channel 16-bit PNG as uint16 H×W. Raises LotusError where it is anything else."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except _UNREADABLE as error:
        raise LotusError(f"Cannot read the depth map {path}: {_reason(error)}.") from error
    if values.ndim != 2 or values.dtype not in (np.uint16, np.int32):
        raise LotusError(f"{path} is no 16-bit depth map: it holds {values.dtype} values of shape {values.shape}.")
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise LotusError(f"{path} is no 16-bit depth map: its values go from {values.min()} to {values.max()}.")
    return values.astype(np.uint16)


def read_hdf5(path: Path, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """The array called "dataset" of a Hypersim HDF5 file as float32.

    shape: what it must have, None for any length.

    Raises:
        LotusError: the file is damaged, lacks the array, the shape differs, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise LotusError("Reading HDF5 needs h5py: pip install h5py.") from error
    try:
        with h5py.File(path, "r") as file:
            values = np.asarray(file["dataset"], dtype=np.float32)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise LotusError(f'Cannot read "dataset" from {path}: {_reason(error)}.') from error
    if values.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, values.shape, strict=True)):
        expected = "×".join("any" if n is None else str(n) for n in shape)
        raise LotusError(f"{path} holds an array of shape {values.shape}, but {expected} is expected.")
    return values


def sample_nearest(values: NDArray, height: int, width: int) -> NDArray:
    """H×W[×C] resampled to height×width: the input pixel that contains each output pixel's centre."""
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.intp)
    return values[np.ix_(rows, columns)]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".") or type(error).__name__
