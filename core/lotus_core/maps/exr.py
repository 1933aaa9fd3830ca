"""Writing OpenEXR files with numpy alone: Blender's own Python has no OpenEXR, and a server's maps pass through it.

32-bit floats, one part, scan lines in blocks of 16, ZIP (OpenEXR file layout, "Header" and "Scan line blocks";
ImfZip.cpp for the order of the bytes). Everywhere else the library of the same name reads and writes.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..files import atomic_path

_LINES = 16  # of one block, fixed by ZIP
_ZIP, _FLOAT = 3, 2
_LEVEL = 4  # zlib, OpenEXR's own default
_THREADS = 4  # zlib lets the others run


def write_exr(path: str | os.PathLike[str], planes: Mapping[str, np.ndarray], words: Mapping[str, str]) -> None:
    """Write channels (name → float32 H×W, all of one size) and text attributes, atomically. Raises LotusError."""
    names = sorted(planes)  # the order that the format asks for
    stacked = np.stack([np.asarray(planes[name], "<f4") for name in names], axis=1)  # H×C×W
    height, _, width = stacked.shape
    starts = range(0, height, _LINES)
    with ThreadPoolExecutor(_THREADS) as threads:
        blocks = list(threads.map(lambda start: _deflate(stacked[start : start + _LINES]), starts))
    header = _header(names, width, height, words)
    offset = len(header) + 8 * len(blocks)
    with atomic_path(path) as temporary, Path(temporary).open("wb") as file:
        file.write(header)
        for block in blocks:
            file.write(struct.pack("<Q", offset))
            offset += 8 + len(block)
        for start, block in zip(starts, blocks, strict=True):
            file.write(struct.pack("<ii", start, len(block)) + block)


def _deflate(lines: np.ndarray) -> bytes:
    raw = np.ascontiguousarray(lines).view(np.uint8).ravel()
    halves = np.concatenate([raw[0::2], raw[1::2]])
    halves[1:] = halves[1:] - halves[:-1] + np.uint8(128)
    packed = zlib.compress(halves.data, _LEVEL)
    return packed if len(packed) < raw.size else raw.tobytes()


def _header(names: list[str], width: int, height: int, words: Mapping[str, str]) -> bytes:
    channels = b"".join(name.encode() + struct.pack("<xiB3xii", _FLOAT, 0, 1, 1) for name in names) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    entries = [
        ("channels", "chlist", channels),
        ("compression", "compression", bytes([_ZIP])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
        *((key, "string", text.encode("utf-8")) for key, text in words.items()),
    ]
    body = b"".join(
        key.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(data)) + data
        for key, kind, data in entries
    )
    return struct.pack("<II", 20000630, 2) + body + b"\0"
