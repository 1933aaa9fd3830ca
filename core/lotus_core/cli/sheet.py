"""One picture that shows all results of a photo side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_path

if TYPE_CHECKING:
    import numpy as np

COLUMNS = 3
GAP = 12  # pixels between panels and around them
CAPTION = 26  # pixels under a panel
BACKGROUND, TEXT = (24, 25, 28), (225, 225, 228)


def save_contact_sheet(panels: Sequence[tuple[str, np.ndarray]], path: Path, width: int = 480) -> None:
    """Write captioned panels as a PNG, COLUMNS in a row, each `width` pixels wide.

    panels: (caption, uint8 H×W×3), all of one aspect ratio.
    """
    from PIL import Image, ImageDraw, ImageFont

    height = round(panels[0][1].shape[0] * width / panels[0][1].shape[1])
    rows = -(-len(panels) // COLUMNS)
    size = (COLUMNS * (width + GAP) + GAP, rows * (height + CAPTION + GAP) + GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for index, (caption, picture) in enumerate(panels):
        row, column = divmod(index, COLUMNS)
        left, top = GAP + column * (width + GAP), GAP + row * (height + CAPTION + GAP)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS), (left, top))
        draw.text((left, top + height + 5), caption, TEXT, font)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG", optimize=True)
