"""How much a clip's maps flicker: their change over time where the picture does not change."""

from __future__ import annotations

import numpy as np

from .motion import Motion, seen_in_both, warp, warp_valid


def change(
    values: np.ndarray,
    before: np.ndarray,
    motion: Motion,
    valid: np.ndarray | None = None,
    valid_before: np.ndarray | None = None,
) -> float:
    """Mean change of a map between two frames, in its units, on valid pixels whose brightness did not change.

    values, before: float32 H×W; their masks bool H×W, None for all. Along the motion, at the motion's size. 0 where
    there is no such pixel.
    """
    now, then = seen_in_both(values, before, motion, valid, valid_before)
    return float(np.abs(now - then).mean()) if now.size else 0.0


class FlickerMeter:
    """Mean `change` over a clip; cuts do not count."""

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray | None] | None = None
        self._sum, self._count = 0.0, 0

    def add(self, values: np.ndarray, motion: Motion | None, valid: np.ndarray | None = None) -> None:
        """The next frame and its mask; without `motion` (the first of a scene) it is compared to nothing."""
        if self._last is not None and motion is not None:
            before, valid_before = self._last
            self._sum += change(values, before, motion, valid, valid_before)
            self._count += 1
        self._last = values, valid

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
        use = inside & seen[t] & valid[t] & warp_valid(valid[t - 1], flows[t])
        total += float(np.abs((maps[t] - map_before) - (truth[t] - truth_before))[use].sum())
        count += int(use.sum())
    return total / max(count, 1) / float(np.abs(truth[valid]).mean())
