"""Pictures for the docs: rows of small ones under one line of captions, and JPEGs small enough to keep."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lotus_core.files import atomic_path

_CAPTION, _GAP = 20, 4
_MOST = 150_000  # bytes of a picture in the repository
_BACKGROUND, _TEXT = (24, 25, 28), (225, 225, 228)


def save_sheet(
    captions: Sequence[str],
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    path: Path,
    width: int,
    names: Sequence[str] = (),
) -> None:
    """Write rows of uint8 H×W×3 pictures as one JPEG, each `width` pixels wide and a row as high as its first.

    names: of the rows, each written into a corner of its first picture.
    """
    heights = [round(row[0].shape[0] * width / row[0].shape[1]) for row in rows]
    size = (len(captions) * (width + _GAP) + _GAP, _CAPTION + sum(heights) + _GAP * (len(rows) + 1))
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, caption in enumerate(captions):
        draw.text((_GAP + column * (width + _GAP), _GAP), caption, _TEXT, font)
    top = _CAPTION + _GAP
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        for column, picture in enumerate(row):
            # Small maps keep their pixels; photos, which only shrink here, are filtered.
            way = Image.Resampling.NEAREST if picture.shape[1] <= width else Image.Resampling.LANCZOS
            sheet.paste(Image.fromarray(picture).resize((width, height), way), (_GAP + column * (width + _GAP), top))
        if names:
            corner = (_GAP + 4, top + height - 17)
            left, upper, right, lower = draw.textbbox(corner, names[number], font=font)
            draw.rectangle((left - 4, upper - 2, right + 4, lower + 3), fill=_BACKGROUND)
            draw.text(corner, names[number], _TEXT, font)
        top += height + _GAP
    save_small(sheet, path)


def grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """H×W of [0, 1], clipped to that, as grey pixels H×W×3."""
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)[..., None].repeat(3, axis=2)


def save_small(picture: Image.Image, path: Path) -> None:
    """Write a JPEG in the best quality, 84 at most, in which it takes less than 150 kB."""
    for quality in range(84, 40, -4):
        encoded = io.BytesIO()
        picture.convert("RGB").save(encoded, "JPEG", quality=quality, optimize=True)
        if encoded.tell() < _MOST:
            break
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getvalue())
