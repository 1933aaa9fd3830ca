"""One prediction against its ground truth, and the figures of a whole benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import sobel

from ..errors import LotusError
from ..maps import Depth, Normals
from .alignment import align_in_space, aligned_depth
from .benchmarks import BenchmarkSample
from .depth_benchmarks import DepthSpec
from .metrics import (
    DEPTH_METRICS,
    NORMAL_METRICS,
    SPARSIFICATION_STEPS,
    angular_error,
    depth_metrics,
    sparsification,
    spearman,
    summarise_angles,
)
from .pooling import BINS, POOLED, binned

UNCERTAINTY_METRICS = ("spearman", "ause", "ause_gradient")
_CURVES = ("by_uncertainty", "oracle", "by_gradient")


@dataclass(frozen=True)
class Score:
    """Figures of one sample, and the arrays that figures of the whole benchmark need.

    metrics: name → value; `pixels` counts the scored ones.
    arrays:  of normals those of `pooling`; "by_uncertainty", "oracle", "by_gradient": sparsification curves.
    """

    metrics: dict[str, float]
    arrays: dict[str, NDArray] = field(default_factory=dict)


def score_depth(prediction: Depth, sample: BenchmarkSample, spec: DepthSpec, std: NDArray | None = None) -> Score:
    """Affine alignment in the prediction's space, clipping to the benchmark's range, depth metrics.

    std: H×W, the prediction's uncertainty; scored against the absolute error in the prediction's own space.

    Raises:
        LotusError: sizes differ, the prediction has no depth at a pixel to be scored, or nothing can be scored.
    """
    _check(prediction, sample)
    depth = aligned_depth(
        prediction.values,
        prediction.space,
        sample.truth,
        sample.mask,
        spec.near,
        spec.far,
        max_resolution=spec.fit_resolution,
    )
    metrics = depth_metrics(depth, sample.truth, sample.mask)
    metrics["pixels"] = int(sample.mask.sum())
    if std is None:
        return Score(metrics)
    aligned, truth = align_in_space(
        prediction.values, prediction.space, sample.truth, sample.mask, max_resolution=spec.fit_resolution
    )
    error = np.abs(aligned - truth)[sample.mask]
    figures, arrays = _score_uncertainty(error, std, sample)
    return Score({**metrics, **figures}, arrays)


def score_normals(prediction: Normals, sample: BenchmarkSample, std: NDArray | None = None) -> Score:
    """Angular error of normals; std: H×W degrees, scored against it. Raises LotusError as `score_depth`."""
    _check(prediction, sample)
    degrees = angular_error(prediction.to("lotus").values, sample.truth, sample.mask)
    metrics = {**summarise_angles(degrees), "pixels": degrees.size}
    arrays = binned(degrees)
    if std is not None:
        figures, curves = _score_uncertainty(degrees, std, sample)
        metrics, arrays = {**metrics, **figures}, {**arrays, **curves}
    return Score(metrics, arrays)


def mean_over_samples(rows: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """The plain mean of each metric over the samples, as the depth tables have it; NaN (undefined) values left out."""
    means = {}
    for name in names:
        values = [row[name] for row in rows if np.isfinite(row[name])]
        means[name] = float(np.mean(values)) if values else float("nan")
    return means


def metric_names(task: str, uncertainty: bool) -> tuple[str, ...]:
    """The columns of a benchmark's table."""
    return (DEPTH_METRICS if task == "depth" else NORMAL_METRICS) + (UNCERTAINTY_METRICS if uncertainty else ())


def array_sizes(task: str, uncertainty: bool) -> dict[str, int]:
    """Name → length of the `Score.arrays` of each sample."""
    sizes = dict.fromkeys(POOLED, BINS) if task == "normal" else {}
    return sizes | (dict.fromkeys(_CURVES, SPARSIFICATION_STEPS) if uncertainty else {})


def _score_uncertainty(
    error: NDArray, std: NDArray, sample: BenchmarkSample
) -> tuple[dict[str, float], dict[str, NDArray]]:
    """Figures and curves of the model's uncertainty, and of the picture's gradient as if it were one (the baseline)."""
    uncertainty, gradient = std[sample.mask], picture_gradient(sample.image)[sample.mask]
    if error.size < 2:  # nothing to rank
        level = np.ones(SPARSIFICATION_STEPS)
        return dict.fromkeys(UNCERTAINTY_METRICS, float("nan")), dict.fromkeys(_CURVES, level)
    own, baseline = sparsification(error, uncertainty), sparsification(error, gradient)
    figures = {"spearman": spearman(error, uncertainty), "ause": own.ause, "ause_gradient": baseline.ause}
    return figures, dict(zip(_CURVES, (own.by_uncertainty, own.oracle, baseline.by_uncertainty), strict=True))


def picture_gradient(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Magnitude of the Sobel gradient of the grey picture, H×W: the uncertainty that needs no model."""
    grey = image.astype(np.float32).mean(axis=-1)
    return np.hypot(sobel(grey, axis=0), sobel(grey, axis=1))


def _check(prediction: Depth | Normals, sample: BenchmarkSample) -> None:
    if prediction.values.shape[:2] != sample.mask.shape:
        raise LotusError(
            f"The prediction is {prediction.values.shape[:2]}, but the picture that is scored is {sample.mask.shape}: "
            "predict exactly that picture (of KITTI, the crop)."
        )
    known = prediction.mask if isinstance(prediction, Depth) else prediction.valid
    unknown = np.count_nonzero(sample.mask & ~known)
    if unknown:
        raise LotusError(
            f"The prediction has no value at {unknown} of the {np.count_nonzero(sample.mask)} pixels to be scored"
            " (invalid, NaN or, of normals, zero): every one needs a value."
        )
