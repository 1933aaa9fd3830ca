"""Between ComfyUI's IMAGE and MASK tensors and the core's arrays."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.model_management as mm
import numpy as np
import torch

from lotus_core.errors import LotusError
from lotus_core.images import MAX_ASPECT, MIN_EDGE

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


@dataclass(frozen=True)
class Frames:
    """An IMAGE batch, B×H×W×C. Pictures too small or too thin for the core are extended by repeating their edge."""

    images: torch.Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[3] not in CHANNELS:
            shape = "×".join(map(str, self.images.shape))
            raise LotusError(
                f"The image is {shape}, but batch×height×width×1, 3 or 4 is needed: check what is connected."
            )
        if 0 in self.images.shape:
            raise LotusError("The image batch is empty (no frames): connect a node that outputs at least one.")

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return int(self.images.shape[1]), int(self.images.shape[2])

    def array(self, number: int) -> np.ndarray:
        """Frame `number` for the core: float32 H'×W'×C in [0, 1], at least as large as `size`; see `crop`.

        Values outside [0, 1], which sharpening and resizing nodes leave, are clipped as ComfyUI's own savers do.
        """
        frame = self.images[number].detach().float().cpu().numpy().clip(0, 1)
        height, width = self.size
        below, right = _extended(height, width) - height, _extended(width, height) - width
        if below or right:
            frame = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge")
        return frame

    def crop(self, values: np.ndarray) -> np.ndarray:
        """A map of `array`'s size at the frame's own size."""
        height, width = self.size
        return values[:height, :width]


def _extended(edge: int, other: int) -> int:
    longest = max(edge, other, MIN_EDGE)
    return max(edge, MIN_EDGE, -(-longest // MAX_ASPECT))


def to_comfy(values: torch.Tensor) -> torch.Tensor:
    """IMAGE or MASK on the device and in the precision that this ComfyUI keeps intermediate results in."""
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32  # since 0.4
    return values.to(device=mm.intermediate_device(), dtype=dtype)
