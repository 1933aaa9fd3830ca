"""Colour tables for previews, each a few knots joined by straight lines (no plotting library)."""

from __future__ import annotations

import numpy as np

from ..errors import LotusError

# From far (or low) to near (or high).
_KNOTS = {
    "gray": "000000 ffffff",
    # ColorBrewer's 11-class Spectral, blue to red: the look of depth papers, warm = near.
    "spectral": "5e4fa2 3288bd 66c2a5 abdda4 e6f598 ffffbf fee08b fdae61 f46d43 d53e4f 9e0142",
    # Ten samples of matplotlib's inferno and of Google's turbo.
    "inferno": "000004 1b0c42 4b0c6b 781c6d a52c60 cf4446 ed6925 fb9a06 f7d03c fcffa4",
    "turbo": "30123b 4662d7 36aaf9 1ae4b6 72fe5e c7ef34 faba39 f66b19 cb2a04 7a0403",
}
NAMES = tuple(_KNOTS)


def colorize(values: np.ndarray, name: str) -> np.ndarray:
    """Colour values in [0, 1] (clipped) of any shape: uint8, shape + (3,). Raises LotusError for an unknown map."""
    if name not in _KNOTS:
        raise LotusError(f"There is no colour map {name!r}; choose one of {', '.join(NAMES)}.")
    knots = np.array([list(bytes.fromhex(knot)) for knot in _KNOTS[name].split()], np.float64)
    at = np.linspace(0, len(knots) - 1, 1024)
    table = np.stack([np.interp(at, np.arange(len(knots)), channel) for channel in knots.T], axis=-1)
    index = np.rint(np.clip(values, 0, 1) * np.float32(1023)).astype(np.intp)
    return np.rint(table).astype(np.uint8)[index]
