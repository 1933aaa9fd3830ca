"""The pictures on the nodes' help pages, made of what the example workflows gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lotus_core import Depth
from tests.comfyui.server.install import ROOT

FOLDER = ROOT / "comfyui_lotus" / "web" / "docs" / "pictures"
HEIGHT, GAP, QUALITY = 214, 6, 85
CONTRAST_WINDOW = 40  # pixels a side of what is enlarged to show bands


def depth(photo: Image.Image, near_white: Image.Image) -> None:
    """The photo, and both choices of `near`."""
    _row("depth", photo, near_white, _inverted(near_white, "RGB"))


def normals(lotus: Image.Image) -> None:
    """The three conventions: they differ in signs, so in inverted channels."""
    _row("normals", lotus, _inverted(lotus, "R"), _inverted(lotus, "RG"))


def uncertainty(photo: Image.Image, grey: Image.Image, mask: Image.Image) -> None:
    _row("uncertainty", photo, grey, mask)


def mesh(view: Image.Image) -> None:
    _row("mesh", view.resize((view.width * 2 * HEIGHT // view.height, 2 * HEIGHT), Image.Resampling.LANCZOS))


def banding(file: Path) -> None:
    """The smoothest part of a saved 16-bit map with its contrast raised: as 8 bits would have kept it, and as it is."""
    values = Depth.load(file).values
    size = CONTRAST_WINDOW
    corners = [(y, x) for y in range(0, values.shape[0] - size, 16) for x in range(0, values.shape[1] - size, 16)]
    y, x = min(corners, key=lambda corner: np.ptp(values[corner[0] : corner[0] + size, corner[1] : corner[1] + size]))
    part = values[y : y + size, x : x + size]
    shown = [(kept - part.min()) / np.ptp(part) for kept in (np.rint(part * 255) / 255, part)]
    pictures = [Image.fromarray(np.rint(grey.clip(0, 1) * 255).astype(np.uint8)) for grey in shown]
    _row("banding", *(p.resize((HEIGHT, HEIGHT), Image.Resampling.NEAREST).convert("RGB") for p in pictures))


def _row(name: str, *pictures: Image.Image) -> None:
    height = max(picture.height for picture in pictures) if len(pictures) == 1 else HEIGHT
    sized = [p.resize((p.width * height // p.height, height), Image.Resampling.LANCZOS) for p in pictures]
    width = sum(p.width for p in sized) + GAP * (len(sized) - 1)
    row = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in sized:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    row.save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)


def _inverted(picture: Image.Image, channels: str) -> Image.Image:
    bands = zip("RGB", picture.split(), strict=True)
    return Image.merge("RGB", [b.point(lambda v: 255 - v) if name in channels else b for name, b in bands])
