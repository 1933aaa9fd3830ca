"""Contact sheets: rows of pictures a person can judge a run by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from ..data.sample import to_bytes
from ..files import atomic_path


def save_contact_sheet(rows: Sequence[Sequence[torch.Tensor]], path: Path) -> None:
    """Write rows of 3×H×W pictures in [−1, 1] as one PNG. Sizes are equal within a row; short rows end in black."""
    lines = [torch.cat(list(row), dim=-1) for row in rows]
    width = max(line.shape[-1] for line in lines)
    sheet = torch.cat([torch.nn.functional.pad(line, (0, width - line.shape[-1]), value=-1.0) for line in lines], dim=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(to_bytes(sheet)).save(temporary)
