"""The two EXIF entries that matter here, read without Pillow, which Blender does not have."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405  # EXIF 2.32, tables 4 and 8
_XMP = 0x02BC  # XMP specification part 3, 1.1.4
_UNTURNED = (b"\x76\x2f\x31\x01", b"#?", b"BM")  # OpenEXR, Radiance HDR, BMP: formats that know no orientation
# How Pillow, which the backends read with, finds an orientation in XMP.
_TURNED_BY_XMP = re.compile(rb'tiff:Orientation(?:="|>)[2-8]')

Data = bytes | mmap
Block = tuple[str, Data]  # "exif", "xmp", or "unread" for what may hold either


class Exif(NamedTuple):
    """orientation: 1…8, 1 also where there is none, 0 where there may be one; focal_35mm: millimetres, 0: unknown."""

    orientation: int
    focal_35mm: float


_UNKNOWN = Exif(0, 0.0)


def read_exif(source: Path | bytes) -> Exif:
    """Read the entries of a JPEG, PNG, WebP or TIFF, or of its bytes; (0, 0) for other files and damaged data."""
    try:
        if isinstance(source, bytes):
            return _read(source)
        with source.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _read(data)
    except (OSError, struct.error, ValueError, IndexError):
        return _UNKNOWN


def _read(data: Data) -> Exif:
    if data[:2] in (b"II", b"MM"):
        return _of_blocks([("exif", data), *_xmp_of_tiff(data)])
    for start, blocks in ((b"\xff\xd8", _jpeg), (b"\x89PNG\r\n\x1a\n", _png), (b"RIFF", _webp)):
        if data[: len(start)] == start:
            return _of_blocks(blocks(data))
    return Exif(1, 0.0) if any(data[: len(start)] == start for start in _UNTURNED) else _UNKNOWN


def _of_blocks(blocks: Iterable[Block]) -> Exif:
    found, certain = Exif(1, 0.0), True
    for kind, block in blocks:
        if kind == "exif":
            found = _from_tiff(block)
        elif kind == "unread" or _TURNED_BY_XMP.search(block):
            certain = False
    return found if certain or found.orientation > 1 else found._replace(orientation=0)


def _jpeg(data: Data) -> Iterator[Block]:
    at = 2
    while data[at + 1] not in (0xDA, 0xD9):  # the scan, the end
        if data[at] != 0xFF:
            raise ValueError("no marker")
        if data[at + 1] == 0xFF:  # fills up
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1:
            block = data[at + 4 : at + 2 + length]
            yield ("exif", block[6:]) if block[:6] == b"Exif\0\0" else ("xmp", block)
        at += 2 + length


def _png(data: Data) -> Iterator[Block]:
    at = 8
    while data[at + 4 : at + 8] != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            yield "exif", data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, rest = data[at + 8 : at + 8 + length].partition(b"\0")
            if key.startswith(b"Raw profile type") or (key == b"XML:com.adobe.xmp" and rest[:1] != b"\0"):
                yield "unread", b""  # compressed, or in digits
            elif key == b"XML:com.adobe.xmp":
                yield "xmp", rest
        at += 12 + length


def _webp(data: Data) -> Iterator[Block]:
    if data[8:12] != b"WEBP":
        raise ValueError("another kind of RIFF")
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind in (b"EXIF", b"XMP "):
            block = data[at + 8 : at + 8 + length]
            yield ("exif", block.removeprefix(b"Exif\0\0")) if kind == b"EXIF" else ("xmp", block)
        at += 8 + length + length % 2


def _from_tiff(tiff: Data) -> Exif:
    main = _directory(tiff)
    orientation = _number(tiff, main.get(_ORIENTATION), 1)
    more = _directory(tiff, _number(tiff, main[_EXIF_IFD], 0)) if _EXIF_IFD in main else {}
    return Exif(orientation if 1 <= orientation <= 8 else 1, float(_number(tiff, more.get(_FOCAL_35MM), 0)))


def _xmp_of_tiff(tiff: Data) -> list[Block]:
    entry = _directory(tiff).get(_XMP)
    if entry is None:
        return []
    (at,) = struct.unpack_from(_order(tiff) + "I", tiff, entry.at)
    return [("xmp", tiff[at : at + entry.length])]


class _Entry(NamedTuple):
    """Of a TIFF directory. at: where its value is, or where it says that its value is."""

    kind: int
    length: int
    at: int


def _order(tiff: Data) -> str:
    """Of bytes, as `struct` writes it. Raises ValueError where it is no TIFF with addresses of 32 bits."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("no TIFF")
    return order


def _directory(tiff: Data, at: int | None = None) -> dict[int, _Entry]:
    """Tag → entry of the directory at an address, or of the first one."""
    order = _order(tiff)
    if at is None:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, at)
    found = {}
    for i in range(count):
        place = at + 2 + 12 * i
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, place)
        found[tag] = _Entry(kind, number, place + 8)
    return found


def _number(tiff: Data, entry: _Entry | None, default: int) -> int:
    """The value of an entry that is one number of 16 or 32 bits."""
    if entry is None or entry.length != 1 or entry.kind not in (3, 4):
        return default
    (value,) = struct.unpack_from(_order(tiff) + ("H" if entry.kind == 3 else "I"), tiff, entry.at)
    return int(value)
