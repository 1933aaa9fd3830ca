"""Affine-invariant predictions meet metric ground truth: one scale and one shift per image, by least squares.

Protocol of MiDaS (Ranftl et al. 2020) and Marigold (Ke et al. 2024), as in the Lotus paper's Table 1: a model that
predicts depth is aligned in depth, a model that predicts disparity is aligned in disparity and inverted afterwards.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import LotusError
from ..geometry.alignment import fit_affine

MIN_DISPARITY = 1e-3  # 1/m; the protocol's floor before inversion, so nothing lies beyond 1 km
MIN_DEPTH = 1e-6  # m; every depth metric divides by depth or takes its logarithm


def align_affine(prediction: NDArray, truth: NDArray, mask: NDArray) -> tuple[float, float]:
    """The (scale, shift) that minimise Σ (scale · prediction + shift − truth)² over the mask, in float64.

    `prediction`, `truth`: any shape, the same; `mask`: bool of that shape. A constant prediction gives (0, mean truth).

    Raises:
        LotusError: shapes differ, the mask is empty, or a masked value is not finite.
    """
    predicted, true = masked(prediction, truth, mask)
    affine = fit_affine(predicted, true)
    return affine.scale, affine.shift


def aligned_depth(
    pred_map: NDArray,
    space: Literal["depth", "disparity"],
    true_depth: NDArray,
    mask: NDArray,
    near: float,
    far: float,
    *,
    max_resolution: int | None = None,
) -> NDArray[np.float64]:
    """A predicted map as depth in the truth's units: aligned in `space`, inverted where needed, clipped to [near, far].

    pred_map:   H×W, affine-invariant, `space` says of what ("disparity": near is large; "depth": far is large).
    true_depth: H×W, metres; read inside `mask` only.
    mask:       bool H×W.
    near, far:  the data set's depth range, metres; `far` may be inf.
    max_resolution: fit on fewer columns, taken as nearest neighbours by what would bring the longest edge down to this
        (1024 for ETH3D); on all rows, because the authors' code thins columns only. On all columns where none of these
        has anything to fit.

    In disparity, pixels predicted 0 or below do not take part in the fit, unless there is nothing else: they are the
    clipped far end of the range, and the protocol leaves them out.

    Raises:
        LotusError: as `align_affine`; an unknown space; a depth inside the mask that is not positive.
    """
    aligned, _ = align_in_space(pred_map, space, true_depth, mask, max_resolution=max_resolution)
    depth = aligned if space == "depth" else 1.0 / np.maximum(aligned, MIN_DISPARITY)
    return np.maximum(np.clip(depth, near, far), MIN_DEPTH)


def align_in_space(
    pred_map: NDArray,
    space: Literal["depth", "disparity"],
    true_depth: NDArray,
    mask: NDArray,
    *,
    max_resolution: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The prediction aligned to the truth in its own space, and the truth in that space (0 outside the mask), H×W each.

    Arguments and errors as `aligned_depth`, which goes on to invert and clip.
    """
    if space not in ("depth", "disparity"):
        raise LotusError(f'The space of a depth map is "depth" or "disparity", not "{space}".')
    pred_map, true_depth, mask = np.asarray(pred_map), np.asarray(true_depth), np.asarray(mask, dtype=bool)
    masked(pred_map, true_depth, mask)  # refuse on the full maps, before any pixel is left out
    if np.any(true_depth[mask] <= 0):
        raise LotusError("The true depth is 0 or negative inside the mask: leave unknown pixels out of the mask.")
    truth = np.where(mask, true_depth, 0).astype(np.float64)
    fits = [mask]
    if space == "disparity":
        truth = np.divide(1.0, truth, out=np.zeros(truth.shape), where=mask)
        fits = [mask & (pred_map > 0), mask]
    thinned = _fit_columns(pred_map.shape, max_resolution)
    choices = [(columns, fit) for fit in fits for columns in (thinned, slice(None))]
    columns, fit = next((columns, fit) for columns, fit in choices if fit[:, columns].any())
    scale, shift = align_affine(pred_map[:, columns], truth[:, columns], fit[:, columns])
    return pred_map.astype(np.float64) * scale + shift, truth


def masked(prediction: NDArray, truth: NDArray, mask: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The masked values of both arrays as float64: N values, or N×C.

    `mask` has the shape of the arrays; H×W where they are H×W×C.

    Raises:
        LotusError: shapes differ, the mask is empty, or a masked value is not finite.
    """
    prediction, truth, mask = np.asarray(prediction), np.asarray(truth), np.asarray(mask, dtype=bool)
    if prediction.shape != truth.shape or mask.shape != (truth.shape if truth.ndim < 3 else truth.shape[:2]):
        raise LotusError(
            f"Prediction, ground truth and mask must have one size, but they are {prediction.shape}, {truth.shape} "
            f"and {mask.shape}."
        )
    if not mask.any():
        raise LotusError("There is no valid pixel to compare: the ground truth's mask is empty.")
    predicted, true = prediction[mask].astype(np.float64), truth[mask].astype(np.float64)
    for name, values in (("prediction", predicted), ("ground truth", true)):
        if not np.isfinite(values).all():
            raise LotusError(f"The {name} has values inside the mask that are not finite (NaN or infinity).")
    return predicted, true


def _fit_columns(shape: tuple[int, ...], max_resolution: int | None) -> NDArray[np.intp]:
    height, width = shape
    factor = 1.0 if max_resolution is None else min(1.0, max_resolution / height, max_resolution / width)
    columns = np.floor(np.arange(int(width * factor)) / factor).astype(np.intp)
    return np.minimum(columns, width - 1)
