"""Between a photo's pixels and the network's: resize, pad, crop, resize back; pixel (i, j) stays pixel (i, j)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from .errors import LotusError

MIN_RESOLUTION = 32  # longest edge in pixels; below it nothing is left of the scene
MAX_NETWORK_PIXELS = 9_000_000  # a 4K frame, 4096×2160, padded: more does not fit into the memory of most machines


@dataclass(frozen=True)
class Frame:
    """How a photo lies in the network's input: resized to network_*, at the top left of padded_*.

    All sizes in pixels. `reference`: the original code's arithmetic (truncated size, no padding, nearest on the way
    back).
    """

    height: int
    width: int
    network_height: int
    network_width: int
    padded_height: int
    padded_width: int
    reference: bool

    @classmethod
    def of(
        cls,
        height: int,
        width: int,
        resolution: int,
        multiple: int,
        reference: bool = False,
        *,
        limit: int = MAX_NETWORK_PIXELS,
    ) -> Frame:
        """The frame of a height×width photo whose longest edge the network sees as `resolution` pixels (0: as it is).

        Raises LotusError where the network's input would be too small, or larger than `limit` pixels.
        """
        if resolution != 0 and resolution < MIN_RESOLUTION:
            raise LotusError(f"The resolution is 0 (the image's own) or at least {MIN_RESOLUTION}, not {resolution}.")
        scale = resolution / max(height, width) if resolution else 1.0
        if reference:
            size = (max(int(height * scale), multiple), max(int(width * scale), multiple))
            padded = size
        else:
            size = (max(round(height * scale), 1), max(round(width * scale), 1))
            padded = (_up_to(size[0], multiple), _up_to(size[1], multiple))
        if padded[0] * padded[1] > limit:
            cure = " or tiles of 768 pixels" if limit == MAX_NETWORK_PIXELS else ""
            raise LotusError(
                f"A network input of {padded[1]:,}×{padded[0]:,} pixels is too large (at most {limit:,} pixels): choose"
                f" a lower resolution{cure}."
            )
        return cls(height, width, *size, *padded, reference)

    def to_network(self, rgb: np.ndarray) -> torch.Tensor:
        """float32 H×W×3 in [0, 1] to float32 1×3×padded_height×padded_width in [−1, 1], on the CPU."""
        return self.window(self.resized(rgb), 0, 0, self.padded_height, self.padded_width)

    def resized(self, rgb: np.ndarray) -> torch.Tensor:
        """float32 H×W×3 to 1×3×network_height×network_width, on the CPU; without a copy where that is the same size."""
        image = torch.from_numpy(np.ascontiguousarray(rgb, np.float32)).permute(2, 0, 1)[None]
        size = (self.network_height, self.network_width)
        if image.shape[-2:] == size:
            return image
        return functional.interpolate(image, size, mode="bilinear", antialias=True)

    def window(self, resized: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
        """height×width pixels of the padded network input, in [−1, 1], out of what `resized` gave."""
        image = resized[..., top : top + height, left : left + width] * 2 - 1
        below, right = height - image.shape[-2], width - image.shape[-1]
        return functional.pad(image, (0, right, 0, below), mode="replicate")

    def from_network(self, values: torch.Tensor) -> torch.Tensor:
        """float32 B×C×padded_height×padded_width to B×C×height×width, on the CPU."""
        values = values[..., : self.network_height, : self.network_width]
        size = (self.height, self.width)
        if values.shape[-2:] == size:
            return values
        if self.reference:
            return functional.interpolate(values, size, mode="nearest-exact")
        return functional.interpolate(values, size, mode="bilinear", antialias=True)


def _up_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
