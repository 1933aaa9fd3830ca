"""A photo as a model gives it back."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ..arrays import float32
from ..errors import LotusError
from . import storage
from .png import write_png


@dataclass(frozen=True, eq=False)
class Picture:
    """values: float32 H×W×3, RGB in [0, 1], encoded as the photo was (sRGB); psnr_db: against that photo, if known.

    Raises LotusError for another shape, or values that are not finite.
    """

    values: np.ndarray
    psnr_db: float | None = None

    def __post_init__(self) -> None:
        values = float32(self.values, "A picture")
        if values.ndim != 3 or values.shape[2] != 3 or values.size == 0:
            raise LotusError(f"A picture is a height×width×3 array; this one has the shape {values.shape}.")
        if not np.isfinite(values).all():
            raise LotusError("The picture holds NaN or infinite values; predict it again.")
        object.__setattr__(self, "values", values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as .png (16 bits), .exr or .npy; the values stay sRGB in all of them. Raises LotusError."""
        storage.write_map(path, self.values, self.values, {"map": "picture"})

    def preview(self) -> np.ndarray:
        """uint8 H×W×3."""
        return np.rint(np.clip(self.values, 0, 1) * 255).astype(np.uint8)

    def save_preview(self, path: str | os.PathLike[str]) -> None:
        """Write `preview` as an 8-bit PNG."""
        write_png(path, self.preview())


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two pictures in [0, 1]; inf where they are equal."""
    error = float(np.mean(np.square(np.asarray(one, np.float64) - np.asarray(two, np.float64))))
    return float("inf") if error == 0 else -10 * float(np.log10(error))
