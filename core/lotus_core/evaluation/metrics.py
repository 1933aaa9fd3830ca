"""Error metrics for depth, normals and uncertainty. Numpy in, float out; every sum is in float64.

Depth: Eigen et al. 2014 as the Lotus paper's Table 1 uses them. Normals: DSINE (Bae & Davison 2024), Table 2.
Uncertainty: Spearman rank correlation; sparsification and AUSE (Ilg et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import LotusError
from .alignment import masked

DEPTH_METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "delta1", "delta2", "delta3", "silog")
NORMAL_THRESHOLDS = (5.0, 7.5, 11.25, 22.5, 30.0)  # degrees
NORMAL_METRICS = ("mean", "median", "rmse", *(f"{threshold:g}" for threshold in NORMAL_THRESHOLDS))


def depth_metrics(pred_depth: NDArray, true_depth: NDArray, mask: NDArray) -> dict[str, float]:
    """Errors of metric depth (already aligned), over the mask.

    pred_depth, true_depth: H×W, metres, positive inside the mask; mask: bool H×W.

    Returns `DEPTH_METRICS`: abs_rel = mean |p − t| / t; sq_rel = mean (p − t)² / t (m); rmse (m); rmse_log of natural
    logarithms; log10 = mean |log10 p − log10 t|; delta_k = share (0…1) with max(p/t, t/p) < 1.25^k; silog = 100 · the
    standard deviation of log p − log t.

    Raises:
        LotusError: shapes differ, the mask is empty, or a masked value is not finite or not positive.
    """
    predicted, true = masked(pred_depth, true_depth, mask)
    if predicted.min() <= 0 or true.min() <= 0:
        raise LotusError("Depth metrics need positive depth inside the mask: clip the prediction, mask unknown truth.")
    difference = predicted - true
    log_difference = np.log(predicted) - np.log(true)
    ratio = np.maximum(predicted / true, true / predicted)
    values = (
        np.mean(np.abs(difference) / true),
        np.mean(difference**2 / true),
        np.sqrt(np.mean(difference**2)),
        np.sqrt(np.mean(log_difference**2)),
        np.mean(np.abs(log_difference)) / np.log(10),
        *(np.mean(ratio < 1.25**k) for k in (1, 2, 3)),
        100 * np.std(log_difference),
    )
    return dict(zip(DEPTH_METRICS, map(float, values), strict=True))


def angular_error(pred: NDArray, true: NDArray, mask: NDArray) -> NDArray[np.float64]:
    """Angle in degrees between predicted and true normals at the masked pixels, a vector of length mask.sum().

    pred, true: H×W×3 in one convention; lengths do not matter, and a zero vector counts as 90° off.

    Raises:
        LotusError: shapes differ, the mask is empty, or a masked value is not finite.
    """
    if np.ndim(pred) != 3 or np.shape(pred)[-1] != 3:
        raise LotusError(f"Normals must be H×W×3, but the prediction is {np.shape(pred)}.")
    predicted, true_normals = masked(pred, true, mask)
    # atan2 keeps full precision at 0° and 180°, where the arc cosine loses half of the digits.
    sine = np.linalg.norm(np.cross(predicted, true_normals), axis=-1)
    cosine = np.sum(predicted * true_normals, axis=-1)
    angle = np.degrees(np.arctan2(sine, cosine))
    return np.where((sine == 0) & (cosine == 0), 90.0, angle)


def summarise_angles(degrees: NDArray) -> dict[str, float]:
    """`NORMAL_METRICS` of angular errors: mean, median, rmse in degrees, percentages (0…100) below each threshold.

    The published tables pool the pixels of a whole data set in one such vector; see `angular_error`.
    """
    degrees = np.asarray(degrees)
    below = (100 * float(np.mean(degrees < threshold)) for threshold in NORMAL_THRESHOLDS)
    mean = float(np.mean(degrees, dtype=np.float64))
    rmse = float(np.sqrt(np.mean(np.square(degrees, dtype=np.float64))))
    return dict(zip(NORMAL_METRICS, (mean, float(np.median(degrees)), rmse, *below), strict=True))


def normal_metrics(pred: NDArray, true: NDArray, mask: NDArray) -> dict[str, float]:
    """`summarise_angles` of one image; arguments and errors as `angular_error`."""
    return summarise_angles(angular_error(pred, true, mask))


def spearman(a: NDArray, b: NDArray) -> float:
    """Spearman's rank correlation of two arrays of one size (flattened), ties by mean rank; NaN if either is constant.

    Raises:
        LotusError: sizes differ, nothing to correlate, or a value is not finite.
    """
    first, second = _two_vectors(a, b)
    ranks_a, ranks_b = _mean_ranks(first), _mean_ranks(second)
    ranks_a, ranks_b = ranks_a - ranks_a.mean(), ranks_b - ranks_b.mean()
    norm = np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b))
    return float(ranks_a @ ranks_b / norm) if norm > 0 else float("nan")


@dataclass(frozen=True)
class Sparsification:
    """Mean error of the pixels that remain when a share of them is removed, relative to the mean error of all pixels.

    removed:        share removed, 0 … 1 − 1/steps.
    by_uncertainty: the most uncertain pixels removed first.
    oracle:         the pixels of the largest error removed first, the lowest curve there can be.
    """

    removed: NDArray[np.float64]
    by_uncertainty: NDArray[np.float64]
    oracle: NDArray[np.float64]

    @property
    def ause(self) -> float:
        """Area between the two curves: 0 is perfect; uncertainty that says nothing has that from the oracle to 1."""
        gap = self.by_uncertainty - self.oracle
        return float(np.sum((gap[1:] + gap[:-1]) / 2 * np.diff(self.removed)))  # trapezoids


SPARSIFICATION_STEPS = 100


def sparsification(error: NDArray, uncertainty: NDArray, steps: int = SPARSIFICATION_STEPS) -> Sparsification:
    """Sparsification curves (Ilg et al. 2018) of error (≥ 0) and uncertainty, arrays of one size.

    Pixels of equal uncertainty are removed as if in random order (each counts with their mean error), so the curve does
    not depend on how pixels are sorted, and constant uncertainty gives a flat line.

    Raises:
        LotusError: sizes differ, nothing to compare, a value is not finite, or an error is negative.
    """
    errors, uncertainties = _two_vectors(error, uncertainty)
    if errors.min() < 0:
        raise LotusError("Sparsification needs errors ≥ 0: pass absolute errors or angles.")
    removed = np.arange(steps) / steps
    kept = np.maximum(1, errors.size - np.round(removed * errors.size).astype(np.int64))
    _, group, counts = np.unique(uncertainties, return_inverse=True, return_counts=True)
    group_mean = np.bincount(group, weights=errors) / counts
    by_uncertainty = np.cumsum(np.repeat(group_mean, counts))[kept - 1] / kept
    oracle = np.cumsum(np.sort(errors))[kept - 1] / kept
    overall = errors.mean()
    if overall == 0:  # a perfect prediction leaves nothing to sort
        return Sparsification(removed, np.zeros(steps), np.zeros(steps))
    return Sparsification(removed, by_uncertainty / overall, oracle / overall)


def ause(error: NDArray, uncertainty: NDArray) -> float:
    """Area under the sparsification error curve, relative to the mean error; see `sparsification`. Lower is better."""
    return sparsification(error, uncertainty).ause


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs (scipy.stats has this, but takes seconds to import)."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def _two_vectors(a: NDArray, b: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if first.size != second.size or first.size < 2:
        raise LotusError(
            f"Two arrays of one size (≥ 2) are needed, but they have {first.size} and {second.size} values."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise LotusError("Values that are not finite (NaN or infinity) cannot be compared: mask them out first.")
    return first, second
