"""The text inside PNG and EXR files, without Pillow and OpenEXR, which Blender's Python lacks."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_LONGEST = 1 << 24  # bytes of one text; the mask of a 16-megapixel map takes less than a tenth of it


def read_words(path: Path) -> dict[str, str]:
    """Key → text of a .png (tEXt chunks) or .exr (string attributes) file; nothing of any other or damaged one.

    Sources: PNG specification, 5.3 and 11.3.4.3; OpenEXR file layout, "Header".
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start == b"\x89PNG\r\n\x1a\n":
                return _png(file)
            if start[:4] == b"\x76\x2f\x31\x01":
                return _exr(file)
    except (OSError, struct.error, UnicodeDecodeError):
        pass
    return {}


def _png(file: BinaryIO) -> dict[str, str]:
    words: dict[str, str] = {}
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind == b"tEXt" and length <= _LONGEST:
            key, _, text = file.read(length).partition(b"\0")
            words[key.decode("latin-1")] = text.decode("latin-1")
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
    return words


def _exr(file: BinaryIO) -> dict[str, str]:
    words: dict[str, str] = {}
    while name := _name(file):
        kind = _name(file)
        (length,) = struct.unpack("<i", file.read(4))
        if kind == "string" and 0 <= length <= _LONGEST:
            words[name] = file.read(length).decode("utf-8")
        else:
            file.seek(max(length, 0), 1)
    return words


def _name(file: BinaryIO) -> str:
    """A name that a zero byte ends, of at most 255 bytes; "" ends the header."""
    name = b""
    while (byte := file.read(1)) not in (b"", b"\0") and len(name) < 256:
        name += byte
    return name.decode("utf-8")
