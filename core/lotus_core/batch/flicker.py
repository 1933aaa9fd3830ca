"""How much a clip's maps flicker: their change over time where the picture does not change."""

from __future__ import annotations

import numpy as np

from ..maps.resample import resize
from .motion import CHANGED, Motion, warp


def change(values: np.ndarray, before: np.ndarray, motion: Motion) -> float:
    """Mean change of a map between two frames, in its units, on pixels whose brightness did not change.

    values, before: float32 H×W. Along the motion, at the motion's size. 0 where every pixel changed.
    """
    height, width = motion.difference.shape
    warped, inside = warp(resize(before, height, width), motion.flow)
    still = inside & (motion.difference < CHANGED)
    return float(np.abs(resize(values, height, width) - warped)[still].mean()) if still.any() else 0.0


class FlickerMeter:
    """Mean `change` over a clip; cuts do not count."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._sum, self._count = 0.0, 0

    def add(self, values: np.ndarray, motion: Motion | None) -> None:
        """The next frame; without `motion` (the first of a scene) it is compared to nothing."""
        if self._last is not None and motion is not None:
            self._sum += change(values, self._last, motion)
            self._count += 1
        self._last = values

    @property
    def mean(self) -> float:
        return self._sum / self._count if self._count else 0.0


def true_flicker(maps: np.ndarray, truth: np.ndarray, flows: np.ndarray, seen: np.ndarray, valid: np.ndarray) -> float:
    """The same against exact truth, which leaves only what should not be there: mean |ΔD − ΔT| / mean |T|.

    maps: N×H×W, aligned to `truth` N×H×W by one scale and shift for the whole clip. flows N×H×W×2: exact motion to the
    frame before; seen N×H×W: in sight in both; valid N×H×W: truth known.
    """
    total, count = 0.0, 0
    for t in range(1, len(maps)):
        map_before, inside = warp(maps[t - 1], flows[t])
        truth_before, _ = warp(truth[t - 1], flows[t])
        known, _ = warp(valid[t - 1].astype(np.float32), flows[t])
        use = inside & seen[t] & valid[t] & (known > 0.99)
        total += float(np.abs((maps[t] - map_before) - (truth[t] - truth_before))[use].sum())
        count += int(use.sum())
    return total / max(count, 1) / float(np.abs(truth[valid]).mean())
