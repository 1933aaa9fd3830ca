"""8- and 16-bit PNG, grey, RGB and (written only) RGBA, with text chunks.

Pillow has no 16-bit RGB mode; pypng writes no text and no filters (files a quarter larger), and reads filtered files
byte by byte in Python; OpenCV and imagecodecs would do it for 30–90 MB more to install. So writing is the lines below
(2048² RGB16 in under a second), and reading is Pillow's decoder, for RGB16 twice: for the high and for the low bytes.
Grey of 16 bits with alpha, of which Pillow keeps 8, has the layout of RGBA of 8 bits, so it is read as that.
"""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LotusError
from ..files import atomic_path

_GREY, _RGB, _RGBA = 0, 2, 6  # PNG colour types (PNG specification, 11.2.1)
_SUB = 1  # filter: difference to the pixel on the left (PNG specification, 9.2)
_LEVEL = 3  # zlib: 6 takes twice as long and saves less than 1 %


def write_png(path: str | os.PathLike[str], pixels: np.ndarray, text: dict[str, str] | None = None) -> None:
    """Write uint8 or uint16 pixels, H×W, H×W×3 or H×W×4, and Latin-1 text, atomically. Raises LotusError."""
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError(f"not a PNG image: {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    stride = pixels.dtype.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
    big_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">"))
    raw = big_endian.view(np.uint8).reshape(height, width * stride)
    rows = np.empty((height, 1 + raw.shape[1]), np.uint8)
    rows[:, 0] = _SUB
    rows[:, 1:] = raw
    rows[:, 1 + stride :] -= raw[:, :-stride]
    colour = _GREY if pixels.ndim == 2 else _RGBA if pixels.shape[2] == 4 else _RGB
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, 0))]
    chunks += [(b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in (text or {}).items()]
    chunks += [(b"IDAT", zlib.compress(rows.data, _LEVEL)), (b"IEND", b"")]
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def read_png(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, str]]:
    """Read pixels (uint8 or uint16, H×W or H×W×3; alpha is dropped) and text. Raises LotusError on anything else."""
    from PIL import Image

    path = Path(path)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            layout = [tile[3] for tile in image.tile]
            sixteen_bit_colour = layout in (["RGB;16B"], ["RGBA;16B"])
            text = {key: str(value) for key, value in getattr(image, "text", {}).items()}
            if image.mode == "P":
                return np.asarray(image.convert("RGB")), text
            pixels = _grey_of_grey_alpha(path) if layout == ["LA;16B"] else np.asarray(image)
        if sixteen_bit_colour:
            with Image.open(path, formats=["PNG"]) as image:
                # Pillow keeps the high byte of a sample; told that they are little-endian, it keeps the low one.
                # Rebuilt part by part, because before Pillow 11 a tile is a plain tuple without names.
                tiles: list[Any] = [(*tile[:3], str(tile[3]).replace("16B", "16L")) for tile in image.tile]
                image.tile = tiles
                pixels = pixels.astype(np.uint16) << 8 | np.asarray(image)
    except FileNotFoundError:
        raise LotusError(f"{path} does not exist; check the name.") from None
    except (Image.DecompressionBombError, MemoryError):
        raise LotusError(f"{path} has too many pixels to be read; scale it down.") from None
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        raise LotusError(f"{path} is not a readable PNG file ({error}); save it again or choose another.") from error
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.int32:  # Pillow < 11 opens 16-bit grey as 32-bit integers
        pixels = pixels.astype(np.uint16)
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
    return np.ascontiguousarray(pixels), text


def _grey_of_grey_alpha(path: Path) -> np.ndarray:
    """uint16 H×W of a PNG of colour type 4 with 16 bits: a sample's bytes as the channels of another type."""
    from PIL import Image

    data = bytearray(path.read_bytes())
    data[24:26] = 8, _RGBA  # IHDR's depth and type (PNG specification, 11.2.1), then its checksum
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        high, low = np.moveaxis(np.asarray(image), 2, 0)[:2]
    return high.astype(np.uint16) << 8 | low
