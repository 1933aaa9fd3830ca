"""Normals sharpen depth without bending it."""

from __future__ import annotations

import numpy as np

from ..errors import LotusError
from ..maps.normals import Normals
from .camera import Camera
from .edges import edge_radius, sharpen_edges
from .filters import fill_outside, gaussian_filter, maximum_filter
from .inputs import as_mask
from .poisson import solve_constant, solve_weighted
from .slopes import normals_from_depth, normals_of_slopes, slopes

DEFAULT_WAVELENGTH = 0.1  # of the longer side: shapes larger than this stay as the depth map has them
EDGE_SLOPE = 0.01  # relative change per pixel by which depth and normals may disagree before it is an edge
_SMOOTHING = 1.0  # pixels: hides the steps of 8-bit depth from the search for edges
_SCALE = 640  # pixels of the longer side for which EDGE_SLOPE finds edges that are still soft


def fuse_normals(
    z: np.ndarray,
    normals: Normals,
    camera: Camera,
    valid: np.ndarray | None = None,
    *,
    wavelength: float = DEFAULT_WAVELENGTH,
    sharpen: bool = True,
    depth_weight: np.ndarray | None = None,
    normal_weight: np.ndarray | None = None,
    photo: np.ndarray | None = None,
) -> np.ndarray:
    """Depth with the detail of the normals, float32 H×W.

    A screened Poisson equation for log z: the slopes of the normals inside surfaces, the slopes of the depth across its
    edges (normals know nothing of a jump), and the depth itself as an anchor for everything longer than `wavelength`
    (fraction of the longer side). One pair of cosine transforms; with a depth weight, a few pairs.

    z: H×W > 0. sharpen: `sharpen_edges` first, with the photo (uint8 H×W×3) if there is one. depth_weight,
    normal_weight: H×W in [0, 1], 1 = sure (see
    `uncertainty_weight`). Pixels outside `valid` come back unchanged.
    Raises LotusError for sizes that differ, distances that are not positive and finite, or an empty mask.
    """
    inside, log_z = _log_distance(z, camera, valid)
    camera.check_size(normals.values)
    if not 0 < wavelength < np.inf:
        raise LotusError(f"The wavelength is a fraction of the image above 0; it is {wavelength}.")
    p, q, known = slopes(normals.to("opengl").values, camera)
    trust = (known & inside).astype(np.float32)
    if normal_weight is not None:
        trust *= np.asarray(normal_weight, np.float32)
    steps = _pair(p, q)
    conflict = _conflict(log_z, steps)
    if sharpen:
        radius = edge_radius(log_z.shape)
        torn = maximum_filter(conflict, 2 * radius + 1) > EDGE_SLOPE * min(1.0, _SCALE / max(log_z.shape))
        log_z = np.log(sharpen_edges(np.exp(log_z), radius, torn, photo))
        conflict = _conflict(log_z, steps)
    trust /= 1 + (conflict / np.float32(EDGE_SLOPE)) ** 4
    across, down = (
        np.diff(log_z, axis=axis) + np.minimum(*_ends(trust, axis)) * (wanted - np.diff(log_z, axis=axis))
        for wanted, axis in zip(steps, (1, 0), strict=True)
    )
    screen = np.float32((2 * np.pi / (wavelength * max(log_z.shape))) ** 2)
    fused = solve_constant(across, down, float(screen), log_z)
    if depth_weight is not None:
        anchor = screen * np.maximum(np.asarray(depth_weight, np.float32), np.float32(1e-3))
        ones = np.ones_like(across), np.ones_like(down)
        fused = solve_weighted((across, down), ones, anchor, log_z, fused, iterations=20)
    return np.where(inside, np.exp(fused), z).astype(np.float32)


def reconcile_normals(
    normals: Normals, z: np.ndarray, camera: Camera, valid: np.ndarray | None = None, *, wavelength: float = 0.1
) -> Normals:
    """Normals with the long waves of the depth's own slopes and their own detail, OpenGL axes.

    Predicted maps disagree about large shapes. Integration that keeps edges would put the difference into steps; here
    the mean difference of slopes over `wavelength` (of the longer side) is taken out first. z: H×W > 0 where valid.
    """
    p, q, known = slopes(normals.to("opengl").values, camera)
    own_p, own_q, own = slopes(normals_from_depth(z, camera, valid).values, camera)
    both = (known & own).astype(np.float32)
    sigma = max(wavelength * max(z.shape) / (2 * np.pi), 1.0)
    weight = np.maximum(gaussian_filter(both, sigma), np.float32(1e-3))
    p, q = (
        mine + gaussian_filter((theirs - mine).astype(np.float32) * both, sigma) / weight
        for mine, theirs in ((p, own_p), (q, own_q))
    )
    return normals_of_slopes(p, q, known, camera)


def smooth_depth(
    z: np.ndarray, std: np.ndarray, valid: np.ndarray | None = None, *, reach_px: float = 3.0, cut: float = 0.04
) -> np.ndarray:
    """Smooth where the model is unsure, keep where it is sure; float32 H×W.

    A membrane over 1 / z, in which planes are flat and so stay as they are, anchored by the certainty of each pixel and
    torn at depth edges (`cut`). reach_px: how far it smooths at the median of `std`. z: H×W > 0. Pixels outside `valid`
    come back unchanged. Raises LotusError for sizes that differ.
    """
    z = np.asarray(z, np.float32)
    if std.shape != z.shape:
        raise LotusError("The uncertainty map and the depth map differ in size; resize one of them.")
    inside = np.isfinite(z) & (z > 0) & as_mask(valid, z.shape)
    if not inside.any():
        return z.copy()
    disparity = np.where(inside, 1 / np.where(inside, z, 1), 0).astype(np.float32)
    weights = []
    for axis in (1, 0):
        (first, second), (here, there) = _ends(disparity, axis), _ends(inside, axis)
        whole = here & there & (np.maximum(first, second) <= np.minimum(first, second) * np.float32(1 + cut))
        weights.append(whole.astype(np.float32))
    typical = max(float(np.median(std[inside])), 1e-9)
    anchor = np.where(inside, 1 / (reach_px**2 * np.square(std / typical) + 1e-3), 0).astype(np.float32)
    still = np.zeros_like(weights[0]), np.zeros_like(weights[1])
    smooth = solve_weighted(still, (weights[0], weights[1]), anchor, disparity, disparity, iterations=30)
    return np.where(inside, 1 / np.where(inside, np.maximum(smooth, 1e-12), 1), z).astype(np.float32)


def uncertainty_weight(std: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Weights for fusion from an uncertainty map, float32 H×W in (0, 1]: 1 / (1 + (std / scale)²).

    scale: the std that halves the weight; the median of the map unless given.
    """
    scale = float(np.median(std)) if scale is None else scale
    return (1 / (1 + np.square(std / max(scale, 1e-9)))).astype(np.float32)


def _log_distance(z: np.ndarray, camera: Camera, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The mask, and log z with the pixels outside it taken from their nearest neighbour inside."""
    camera.check_size(z)
    z = np.asarray(z, np.float32)
    inside = as_mask(valid, z.shape)
    if not inside.any():
        raise LotusError("There is nothing to fuse: every pixel is masked.")
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(z) & (z > 0)
    if not usable[inside].all():
        raise LotusError("Distances must be positive and finite to be fused; mask the other pixels out.")
    return inside, np.log(fill_outside(z, inside))


def _conflict(log_z: np.ndarray, steps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far depth and wanted steps disagree at each pixel, H×W: the larger of its edges."""
    smooth = gaussian_filter(log_z, _SMOOTHING)
    out = np.zeros_like(log_z)
    for wanted, axis in zip(steps, (1, 0), strict=True):
        difference = np.abs(np.diff(smooth, axis=axis) - wanted)
        for end in _ends(out, axis):
            np.maximum(end, difference, out=end)
    return out


def _pair(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes at pixels to slopes at the edges between them."""
    return (p[:, 1:] + p[:, :-1]) / 2, (q[1:] + q[:-1]) / 2


def _ends(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of the first and the second pixel of every edge along an axis."""
    return (values[:, :-1], values[:, 1:]) if axis == 1 else (values[:-1], values[1:])
