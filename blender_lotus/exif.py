"""The two EXIF entries that matter here, read without Pillow, which Blender does not have."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405  # EXIF 2.32, tables 4 and 8


class Exif(NamedTuple):
    """orientation: 1…8, 1 where unknown; focal_35mm: millimetres, 0 where unknown."""

    orientation: int
    focal_35mm: float


def read_exif(path: Path) -> Exif:
    """Read a JPEG file's entries; (1, 0) for other files and damaged data."""
    try:
        with path.open("rb") as file:
            data = file.read(1 << 18)
        return _from_jpeg(data)
    except (OSError, struct.error, ValueError, IndexError):
        return Exif(1, 0.0)


def _from_jpeg(data: bytes) -> Exif:
    if data[:2] != b"\xff\xd8":
        return Exif(1, 0.0)
    at = 2
    while data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return _from_tiff(data[at + 10 : at + 2 + length])
        at += 2 + length
    return Exif(1, 0.0)


def _from_tiff(tiff: bytes) -> Exif:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return Exif(1, 0.0)
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    main = _short_entries(tiff, order, first)
    orientation = main.get(_ORIENTATION, 1)
    focal = _short_entries(tiff, order, main[_EXIF_IFD]).get(_FOCAL_35MM, 0) if _EXIF_IFD in main else 0
    return Exif(orientation if 1 <= orientation <= 8 else 1, float(focal))


def _short_entries(tiff: bytes, order: str, at: int) -> dict[int, int]:
    """Entries of one directory that are single numbers of 16 or 32 bits."""
    (count,) = struct.unpack_from(order + "H", tiff, at)
    out = {}
    for i in range(count):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, at + 2 + 12 * i)
        if number == 1 and kind in (3, 4):
            (out[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, at + 2 + 12 * i + 8)
    return out
