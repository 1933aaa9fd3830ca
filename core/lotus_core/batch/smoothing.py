"""Smoothing over time where the picture says that nothing changed.

    S_t = D_t + w · (S_{t−1} moved to frame t − D_t),   w = strength · exp(−(ΔI / σ_I)²) · exp(−(ΔD / σ_D)²)

ΔI is the difference of brightness between a pixel and where it came from, ΔD that of the map: what is uncovered, moves
otherwise than its flow says or really changes is taken from this frame alone, as is what was not valid before. At a cut
everything is.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from ..maps.normals import normalize
from ..maps.resample import resize
from .motion import Motion, flow_at, warp, warp_valid

SAME_BRIGHTNESS = 0.05  # σ_I
SAME_VALUE = 0.15  # σ_D, in the map's units: [0, 1] or the components of a unit vector
SAME_DEGREES = float(np.degrees(SAME_VALUE))  # the same of angles


class Smoother:
    """Smooths one map of a clip: depth and uncertainty H×W, or normals H×W×3. strength: 0 none … below 1 long.

    same: σ_D of the maps, in their units.
    """

    def __init__(self, strength: float, same: float = SAME_VALUE) -> None:
        self._strength, self._same = np.float32(strength), np.float32(same)
        self._last: np.ndarray | None = None
        self._last_valid: np.ndarray | None = None

    def cut(self) -> None:
        """Forget the frames so far."""
        self._last = None

    def next(self, values: np.ndarray, motion: Motion | None, valid: np.ndarray | None = None) -> np.ndarray:
        """The next frame, float32, smoothed; without `motion` (the first of a scene) as it is.

        valid: bool H×W, None for all; the others stay as they are and reach no later frame.
        """
        if self._strength > 0 and self._last is not None and motion is not None:
            height, width = values.shape[:2]
            flow = flow_at(motion.flow, height, width)
            moved, usable = warp(self._last, flow)
            if valid is not None:
                usable &= valid
            if self._last_valid is not None:
                usable &= warp_valid(self._last_valid, flow)
            change = moved - values
            size = np.abs(change) if values.ndim == 2 else np.linalg.norm(change, axis=2)
            # Over a few pixels, so that the weight has no grain of its own.
            difference = resize(uniform_filter(motion.difference, 5), height, width)
            same = np.exp(-((difference / np.float32(SAME_BRIGHTNESS)) ** 2))
            weight = self._strength * same * np.exp(-((size / self._same) ** 2)) * usable
            values = values + change * (weight if values.ndim == 2 else weight[..., None])
            if values.ndim == 3:
                values = normalize(values)
        self._last, self._last_valid = values, valid
        return values
