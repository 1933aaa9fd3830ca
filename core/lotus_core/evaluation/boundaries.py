"""Are depth boundaries where they should be? Precision, recall and F1 of occlusions, also of thin structures alone.

Source: the scale-invariant boundary metrics of "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second"
(Bochkovskii et al. 2024). Two neighbouring pixels (i left, right, above or below j) are a boundary at threshold t where
depth(j) / depth(i) > 1 + t, i in front. A predicted one is right only between the same two pixels and with the same one
in front, so boundaries that are blurred over several pixels, or one pixel off, do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import LotusError

BOUNDARY_THRESHOLDS = (0.05, 0.10, 0.15, 0.20, 0.25)
"""Relative jumps in depth, over Depth Pro's range of 5 % to 25 %."""

THIN_PIXELS, THIN_RATIO = 5, 1.1


@dataclass(frozen=True)
class BoundaryCounts:
    """How many boundaries were found, predicted and there, one number per threshold. Add those of several pictures.

    hits: predicted boundaries that are in the truth; predicted; true: all of either. Each int64, of len(thresholds).
    """

    thresholds: tuple[float, ...]
    hits: NDArray[np.int64]
    predicted: NDArray[np.int64]
    true: NDArray[np.int64]

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        if self.thresholds != other.thresholds:
            raise ValueError("counts at different thresholds cannot be added")
        return BoundaryCounts(
            self.thresholds,
            self.hits + other.hits,
            self.predicted + other.predicted,
            self.true + other.true,
        )

    @property
    def precision(self) -> NDArray[np.float64]:
        """hits / predicted at each threshold, 0 … 1; NaN where nothing was predicted."""
        return _share(self.hits, self.predicted)

    @property
    def recall(self) -> NDArray[np.float64]:
        """hits / true at each threshold, 0 … 1; NaN where the truth has no boundary."""
        return _share(self.hits, self.true)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of both, 2 · hits / (predicted + true); NaN where there is no boundary at all."""
        return _share(2 * self.hits, self.predicted + self.true)

    @property
    def mean_f1(self) -> float:
        """Mean over the thresholds, weighted by the ratio 1 + t as Depth Pro's code weights it; NaN where `f1` is."""
        weights = 1 + np.asarray(self.thresholds)
        return float(np.sum(self.f1 * weights) / weights.sum())


def boundary_counts(
    pred_depth: NDArray,
    true_depth: NDArray,
    mask: NDArray,
    thresholds: Sequence[float] = BOUNDARY_THRESHOLDS,
    front: NDArray | None = None,
) -> BoundaryCounts:
    """Compare the boundaries of two depth maps over all pairs of neighbours inside the mask.

    pred_depth: H×W, positive and finite inside the mask. Depth up to scale will do; an affine-invariant map must be
        aligned first (`alignment.aligned_depth`), for a shift changes every ratio.
    true_depth: H×W, positive inside the mask; +inf is the sky, which is behind everything.
    mask:       bool H×W.
    front:      bool H×W, to count only boundaries whose pixel in front is in it (see `thin_structures`).

    Counts are over the four directions together, as in the paper's equation (its code averages the directions).

    Raises:
        LotusError: shapes differ, the mask is empty, a threshold is not positive, or a masked value is not as above.
    """
    predicted, true, inside = np.asarray(pred_depth, float), np.asarray(true_depth, float), np.asarray(mask, bool)
    in_front = inside if front is None else inside & np.asarray(front, bool)
    if predicted.ndim != 2 or not predicted.shape == true.shape == inside.shape:
        raise LotusError(
            f"Prediction, ground truth and mask must be H×W of one size, but they are {predicted.shape}, {true.shape}"
            f" and {inside.shape}."
        )
    if not inside.any():
        raise LotusError("There is no valid pixel to compare: the ground truth's mask is empty.")
    if not (np.isfinite(predicted[inside]).all() and predicted[inside].min() > 0 and true[inside].min() > 0):
        raise LotusError("Boundaries need positive depth inside the mask: clip the prediction, mask unknown truth.")
    if not min(thresholds) > 0:
        raise LotusError(f"Boundary thresholds must be above 0, but they are {tuple(thresholds)}.")
    ratios = 1 + np.asarray(thresholds)[:, None]
    hits, found, there = (np.zeros(len(ratios), np.int64) for _ in range(3))
    for here, beyond in _neighbours():
        counted = in_front[here] & inside[beyond]
        in_prediction = predicted[beyond][counted] > ratios * predicted[here][counted]
        in_truth = true[beyond][counted] > ratios * true[here][counted]
        hits += (in_prediction & in_truth).sum(1)
        found += in_prediction.sum(1)
        there += in_truth.sum(1)
    return BoundaryCounts(tuple(thresholds), hits, found, there)


def thin_structures(depth: NDArray, pixels: int = THIN_PIXELS, ratio: float = THIN_RATIO) -> NDArray[np.bool_]:
    """bool H×W: the pixels of things narrower than `pixels` that stand in front of something `ratio` times as far.

    Those are the pixels whose depth (H×W, positive, +inf on the sky) a grey closing with a square of `pixels` raises by
    more than `ratio`: poles, legs, cables, also the tips of larger things.
    """
    from scipy.ndimage import grey_closing

    known = np.minimum(np.asarray(depth, float), np.finfo(np.float32).max)
    return np.asarray(grey_closing(known, size=(pixels, pixels), mode="nearest") > ratio * known)


def _neighbours() -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Two windows of an H×W map for each direction: pixels, and their neighbours there."""
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    yield (every, first), (every, last)
    yield (every, last), (every, first)
    yield (first, every), (last, every)
    yield (last, every), (first, every)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
