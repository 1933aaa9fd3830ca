"""Files to pictures, with what identifies the file they came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from .items import Item

if TYPE_CHECKING:
    from ..images import LoadedImage


@dataclass(frozen=True)
class Stamp:
    """When an item counts as unchanged: by the sizes and times of its files; by `sha256` where the times differ.

    bytes, mtime_ns: of all files together, and the newest. sha256: of the one file, or of those of all files in their
    order; of a shard for training, its item's `content`. frames: number, size and time of each frame of a sequence;
    empty for others, and where an older version made the stamp.
    """

    bytes: int
    mtime_ns: int
    sha256: str
    frames: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(cls, item: Item) -> Stamp:
        """Of all the bytes of its files. Raises LotusError for unreadable ones."""
        if item.content:
            return cls(0, 0, item.content)
        digest, found = hashlib.sha256(), []
        for file in item.files:
            found.append(_stat(file))
            try:
                with open(file, "rb") as stream:
                    content = hashlib.file_digest(stream, "sha256")
            except OSError as error:
                raise LotusError(f"{file} cannot be read: {error.strerror or error}.") from None
            digest.update(content.digest())
        sha256 = content.hexdigest() if len(found) == 1 else digest.hexdigest()
        return cls(_size(found), _newest(found), sha256, _frames(item, found))

    def still_of(self, item: Item) -> bool:
        """Whether it is as it was; reads its files only where their sizes are the same and their times are not."""
        if item.content:
            return self.sha256 == item.content
        try:
            found = [_stat(file) for file in item.files]
            if _size(found) != self.bytes:
                return False
            frames = _frames(item, found)
            if self.frames and [number for number, *_ in frames] != [number for number, *_ in self.frames]:
                return False
            if frames == self.frames if self.frames else _newest(found) == self.mtime_ns:
                return True
            return Stamp.of(item).sha256 == self.sha256
        except LotusError:
            return self.bytes < 0

    @classmethod
    def missing(cls) -> Stamp:
        """Of a file that is not there, or cannot be looked at."""
        return cls(-1, 0, "")

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any] = {"bytes": self.bytes, "mtime_ns": self.mtime_ns, "sha256": self.sha256}
        return {**table, "frames": self.frames} if self.frames else table

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Stamp:
        frames = tuple((number, size, time) for number, size, time in table.get("frames", ()))
        return cls(table["bytes"], table["mtime_ns"], table["sha256"], frames)


def stamp(item: Item) -> Stamp:
    """`Stamp.of`, or `Stamp.missing` where that fails."""
    try:
        return Stamp.of(item)
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


def _size(found: Sequence[os.stat_result]) -> int:
    return sum(one.st_size for one in found)


def _newest(found: Sequence[os.stat_result]) -> int:
    return max(one.st_mtime_ns for one in found)


def _frames(item: Item, found: Sequence[os.stat_result]) -> tuple[tuple[int, int, int], ...]:
    if item.kind != "sequence":
        return ()
    return tuple((number, one.st_size, one.st_mtime_ns) for number, one in zip(item.numbers, found, strict=True))


def _stat(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except OSError as error:
        raise LotusError(f"{file} cannot be read: {error.strerror or error}.") from None
