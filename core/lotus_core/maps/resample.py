"""Resizing of arrays: bilinear, with the triangle filter widened when shrinking so that nothing aliases."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from ..errors import LotusError


def resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize float32 H×W or H×W×C. Pixel centres are at +0.5, so the picture does not shift; edges repeat.

    Raises LotusError unless both sizes are whole numbers above 0.
    """
    if not all(isinstance(size, Integral) and size > 0 for size in (height, width)):
        raise LotusError(f"A size is height and width in whole pixels, at least 1, not {height!r} and {width!r}.")
    return _along(_along(values, 0, height), 1, width)


def resize_valid(values: np.ndarray, valid: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize from valid pixels only. Returns the values and the mask (at least half of the weight is valid)."""
    weight = resize(valid.astype(np.float32), height, width)
    mask = valid if values.ndim == 2 else valid[..., None]
    total = resize(np.where(mask, values, np.float32(0)), height, width)
    keep = weight >= 0.5
    divisor = np.where(keep, weight, np.float32(1))
    out = total / (divisor if values.ndim == 2 else divisor[..., None])
    return np.where(keep if values.ndim == 2 else keep[..., None], out, np.float32(0)), keep


def _along(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    old = values.shape[axis]
    if size == old:
        return values
    scale = old / size
    reach = max(scale, 1.0)
    centre = (np.arange(size) + 0.5) * scale - 0.5
    first = np.floor(centre - reach).astype(int) + 1
    shape = [1] * values.ndim
    shape[axis] = size
    out = np.zeros([*values.shape[:axis], size, *values.shape[axis + 1 :]], np.float32)
    total = np.zeros(size)
    for tap in range(int(np.ceil(2 * reach)) + 1):
        weight = np.maximum(0, 1 - np.abs(first + tap - centre) / reach)
        total += weight
        out += values.take(np.clip(first + tap, 0, old - 1), axis) * weight.astype(np.float32).reshape(shape)
    return out / total.astype(np.float32).reshape(shape)
