"""Pictures and masks that callers hand in, checked at the door."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import LotusError


def check_picture(picture: Any, name: str = "The photo") -> None:
    """Raise LotusError, which `name` begins, unless it is a numpy array, uint8 H×W×3, of at least one pixel."""
    found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else f"a {type(picture).__name__}"
    if not isinstance(picture, np.ndarray):
        mend = "convert it to RGB and then with numpy.asarray"
    elif picture.size == 0:
        mend = "choose one with pixels"
    elif picture.ndim == 3 and picture.shape[2] == 4:
        mend = "leave out its alpha channel, picture[..., :3]"
    elif picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 1):
        mend = "repeat its grey as red, green and blue"
    elif picture.ndim != 3 or picture.shape[2] != 3:
        mend = "give one picture, its colours along the last axis"
    elif picture.dtype != np.uint8:
        mend = "scale it to 0…255, round it and convert it to uint8"
    else:
        return
    raise LotusError(f"{name} must be uint8 height×width×3; it is {found}: {mend}.")


def as_mask(valid: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """A mask as bool H×W, without a copy where it is one; all True for None.

    Taken for bool as well: numbers that are all 0 or 1, or all 0 or 255. Raises LotusError for other values, where
    nobody can tell what is meant, and for another shape.
    """
    if valid is None:
        return np.ones(shape, bool)
    mask = np.asarray(valid)
    if mask.shape != shape:
        raise LotusError(f"The mask {mask.shape} and the map {shape} differ in size; resize one of them.")
    if mask.dtype == bool:
        return mask
    if mask.dtype.kind in "iuf" and mask.size:
        inside = mask != 0
        if mask.max() in (0, 1, 255) and bool((mask[inside] == mask.max()).all()):
            return inside
    raise LotusError(
        f"A mask is bool, or all 0 and 1, or all 0 and 255; this {mask.dtype} array holds other values: compare it"
        " with a threshold first."
    )
