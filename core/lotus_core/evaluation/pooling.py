"""Angular errors of a whole data set, kept small: pixels per hundredth of a degree, and the range inside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .metrics import NORMAL_METRICS, NORMAL_THRESHOLDS

ANGLE_STEP = 0.01
"""Degrees of a bin."""
BINS = round(180 / ANGLE_STEP) + 1
POOLED: dict[str, np.ufunc] = {"angles": np.add, "angles_low": np.minimum, "angles_high": np.maximum}
"""The arrays of `binned`, and what makes those of several pictures one."""
_PARTS = 65535  # a bin's width in uint16


def binned(degrees: NDArray) -> dict[str, NDArray]:
    """Angles 0…180°, a vector, as arrays of BINS: how many lie in each bin (uint32), and the least and the greatest of
    them in 1/65535 of the bin's width (uint16; 65535 and 0 where it is empty)."""
    ordered = np.sort(np.asarray(degrees, dtype=np.float64)) / ANGLE_STEP
    places = ordered.astype(np.int64)
    parts = np.rint((ordered - places) * _PARTS).astype(np.uint16)
    filled, first, counts = np.unique(places, return_index=True, return_counts=True)
    result: dict[str, NDArray] = {
        "angles": np.zeros(BINS, np.uint32),
        "angles_low": np.full(BINS, _PARTS, np.uint16),
        "angles_high": np.zeros(BINS, np.uint16),
    }
    for name, values in (("angles", counts), ("angles_low", parts[first]), ("angles_high", parts[first + counts - 1])):
        result[name][filled] = values
    return result


def pooled_median(arrays: Mapping[str, NDArray]) -> float:
    """The median of all angles that went into `arrays` (each pooled by its operation of POOLED), degrees.

    Exact to 1e-7° where the bin of a middle value holds one or two angles, or equal ones; of more, the values between
    the least and the greatest are taken to be evenly spaced, which errs by less than a bin.
    """
    ends = np.cumsum(arrays["angles"], dtype=np.int64)

    def at(rank: int) -> float:
        place = int(np.searchsorted(ends, rank, side="right"))
        count = int(arrays["angles"][place])
        low, high = (float(arrays[name][place]) / _PARTS for name in ("angles_low", "angles_high"))
        share = (rank - (int(ends[place]) - count)) / (count - 1) if count > 1 else 0.0
        return (place + low + (high - low) * share) * ANGLE_STEP

    total = int(ends[-1])
    return (at((total - 1) // 2) + at(total // 2)) / 2


def pool_angles(arrays: Mapping[str, NDArray], rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """`NORMAL_METRICS` over the pixels of all samples together, as the normal tables have it.

    arrays: as in `pooled_median`. rows: the samples' metrics, whose means weighted by `pixels` give all others exactly.
    """
    pixels = np.array([row["pixels"] for row in rows], dtype=np.float64)

    def weighted(values: list[float]) -> float:
        return float(np.sum(pixels * np.array(values)) / pixels.sum())

    pooled = {
        "mean": weighted([row["mean"] for row in rows]),
        "median": pooled_median(arrays),
        "rmse": weighted([row["rmse"] ** 2 for row in rows]) ** 0.5,
        **{name: weighted([row[name] for row in rows]) for name in (f"{t:g}" for t in NORMAL_THRESHOLDS)},
    }
    return {name: pooled[name] for name in NORMAL_METRICS}
