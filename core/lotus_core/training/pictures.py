"""Contact sheets: rows of pictures a person can judge a run by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image


def save_contact_sheet(rows: Sequence[Sequence[torch.Tensor]], path: Path) -> None:
    """Write rows of 3×H×W pictures in [−1, 1] (equal sizes within a row) as one PNG; narrower rows are padded with black."""
    lines = [torch.cat(list(row), dim=-1) for row in rows]
    width = max(line.shape[-1] for line in lines)
    sheet = torch.cat([torch.nn.functional.pad(line, (0, width - line.shape[-1]), value=-1.0) for line in lines], dim=1)
    pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    Image.fromarray(pixels).save(partial, format="PNG")
    os.replace(partial, path)
