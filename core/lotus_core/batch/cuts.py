"""Where a clip cuts from one scene to another."""

from __future__ import annotations

from collections import deque

import numpy as np

from .motion import Motion

LEAST = 0.08  # mean difference of brightness along the motion below which no frame begins a scene
RISE = 3.0  # and how many times that of the frames before it must be
_MEMORY = 8  # frames that are remembered


class CutDetector:
    """Tells, frame by frame and from the past alone, whether a scene begins.

    Within a scene the motion explains a frame from the one before, up to noise and what comes into view; across a cut
    it does not. A scene that is hard to follow (handheld, fast, grainy) has a level of its own, which a cut must top.
    """

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=_MEMORY)

    def is_cut(self, motion: Motion) -> bool:
        """Whether the frame that `motion` leads to the one before begins a scene."""
        level = float(motion.difference.mean())
        usual = float(np.median(self._levels)) if self._levels else 0.0
        if level > max(LEAST, RISE * usual):
            self._levels.clear()
            return True
        self._levels.append(level)
        return False
