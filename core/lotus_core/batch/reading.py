"""Files to pictures, with what identifies the file they came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LotusError

if TYPE_CHECKING:
    from ..images import LoadedImage


@dataclass(frozen=True)
class Stamp:
    """When a file counts as unchanged: its size and time of change; `sha256` where those differ."""

    bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, files: Sequence[str]) -> Stamp:
        """Of all the bytes of one file, or of several in their order. Raises LotusError for unreadable ones."""
        digest, size, newest = hashlib.sha256(), 0, 0
        for file in files:
            found = _stat(file)
            size, newest = size + found.st_size, max(newest, found.st_mtime_ns)
            try:
                with open(file, "rb") as stream:
                    content = hashlib.file_digest(stream, "sha256")
            except OSError as error:
                raise LotusError(f"{file} cannot be read: {error.strerror or error}.") from None
            digest.update(content.digest())
        return cls(size, newest, content.hexdigest() if len(files) == 1 else digest.hexdigest())

    def still_of(self, files: Sequence[str]) -> bool:
        """Whether the files are as they were; reads them only where their size is the same and their time is not."""
        try:
            found = [_stat(file) for file in files]
            if sum(f.st_size for f in found) != self.bytes:
                return False
            if max(f.st_mtime_ns for f in found) == self.mtime_ns:
                return True
            return Stamp.of(files).sha256 == self.sha256
        except LotusError:
            return self.bytes < 0

    @classmethod
    def missing(cls) -> Stamp:
        """Of a file that is not there, or cannot be looked at."""
        return cls(-1, 0, "")

    def to_json(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "mtime_ns": self.mtime_ns, "sha256": self.sha256}


def stamp(files: Sequence[str]) -> Stamp:
    """`Stamp.of`, or `Stamp.missing` where that fails."""
    try:
        return Stamp.of(files)
    except LotusError:
        return Stamp.missing()


def load_picture(file: str, exposure: float | None) -> tuple[LoadedImage, dict[str, Any]]:
    """A still as the network wants it, and what to record about it: its size, and for plates the exposure in stops.

    exposure: stops for scene-linear pictures, None for automatic. Raises LotusError.
    """
    from ..images import load_image

    image = load_image(file, exposure=exposure)
    height, width = image.rgb.shape[:2]
    facts = {"width": width, "height": height}
    return image, facts if image.exposure is None else {**facts, "exposure_stops": image.exposure}


def _stat(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except OSError as error:
        raise LotusError(f"{file} cannot be read: {error.strerror or error}.") from None
