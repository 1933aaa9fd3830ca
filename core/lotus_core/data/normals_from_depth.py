"""Surface normals from a depth map, for data sets that ship depth only.

On a plane, inverse depth is an affine function of the pixel: 1/z = a·u + b·v + c. So the normal of the plane through
neighbouring pixels (the cross product of their unprojected differences) is read off a least-squares fit of 1/z, which
is exact on planes at any slant. At depth edges each pixel takes the window, among nine that contain it, that fits best:
the fit stays on the pixel's own side instead of bridging the edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from lotus_core.errors import LotusError

_MIN_PIXELS = 6  # a fit of three unknowns to fewer pixels says nothing about its own quality
_CENTRE_BONUS = 2.0  # the centred window has no bias on curved surfaces: take it unless another fits twice as well


def normals_from_depth(
    depth: NDArray,
    focal_px: float,
    *,
    centre: tuple[float, float] | None = None,
    valid: NDArray | None = None,
    radii: Sequence[int] = (1,),
    noise: float = 0.0,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Normals of a pinhole depth map (square pixels, pixel centres at +0.5).

    depth:    H×W, distance along the optical axis, any unit.
    focal_px: focal length in pixels.
    centre:   (x, y) of the principal point in pixels from the top left corner; the image's centre if None.
    valid:    bool H×W; pixels that are not finite or not positive are left out in any case.
    radii:    window radii in pixels, tried from the largest; a smaller one is used where the larger does not fit. Depth
              stored in coarse steps needs a large radius on near surfaces, fine shapes need a small one.
    noise:    standard deviation of the stored depth, same unit: fits no worse than this are accepted as they are.

    Returns:
        float32 H×W×3 unit normals in the model convention (x left, y up, z toward the camera), always turned toward the
        camera, zero where unknown; and bool H×W, True where known.

    Raises:
        LotusError: no radius, or one below 1.
    """
    if not radii or min(radii) < 1:
        raise LotusError(f"Normals from depth need window radii of at least 1 pixel, but they are {list(radii)}.")
    height, width = depth.shape
    centre_x, centre_y = (width / 2, height / 2) if centre is None else centre
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.isfinite(depth) & (depth > 0)
        if valid is not None:
            known &= valid
        inverse = np.where(known, 1.0 / depth.astype(np.float64), 0.0)
    u = np.broadcast_to((np.arange(width) + 0.5 - centre_x)[None, :], depth.shape)
    v = np.broadcast_to((np.arange(height) + 0.5 - centre_y)[:, None], depth.shape)
    # Standard deviation that `noise` in z gives 1/z; the second term is float16's rounding, the coarsest float stored.
    tolerance = noise * inverse**2 + 2.0**-12 * inverse

    plane = np.zeros((3, height, width))
    misfit = np.full(depth.shape, np.inf)
    for radius in sorted(set(radii), reverse=True):
        candidate, candidate_misfit = _best_window(inverse, u, v, known, radius, tolerance)
        better = (misfit > 2 * tolerance) & (candidate_misfit < misfit)
        plane = np.where(better, candidate, plane)
        misfit = np.where(better, candidate_misfit, misfit)

    # (a·f, b·f, c) · (X, Y, Z) = 1 in OpenCV axes points away from the camera; the model's axes are all three negated.
    a, b, c = plane
    normals = np.stack([a * focal_px, b * focal_px, c], axis=-1)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    found = known & np.isfinite(misfit) & (length[..., 0] > 0)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=found[..., None])
    return normals.astype(np.float32), found


def _best_window(
    inverse: NDArray, u: NDArray, v: NDArray, known: NDArray, radius: int, tolerance: NDArray
) -> tuple[NDArray, NDArray]:
    """Per pixel, (a, b, c) of the best of the nine windows that hold it (corner, edge, centre), and its misfit."""
    plane, misfit = _fit_planes(inverse, u, v, known, radius)
    best_plane, best_misfit = plane, misfit
    for dy in (-radius, 0, radius):
        for dx in (-radius, 0, radius):
            if (dy, dx) == (0, 0):
                continue
            shifted_misfit = _shift(misfit, dy, dx, np.inf)
            better = shifted_misfit < best_misfit
            best_plane = np.where(better, _shift(plane, dy, dx, 0.0), best_plane)
            best_misfit = np.where(better, shifted_misfit, best_misfit)
    keep_centre = misfit <= np.maximum(_CENTRE_BONUS * best_misfit, tolerance)
    return np.where(keep_centre, plane, best_plane), np.where(keep_centre, misfit, best_misfit)


def _fit_planes(inverse: NDArray, u: NDArray, v: NDArray, known: NDArray, radius: int) -> tuple[NDArray, NDArray]:
    """Least-squares (a, b, c) of 1/z in the window around each pixel, 3×H×W, and its rms misfit (inf without a fit)."""
    weight = known.astype(np.float64)

    def mean(values: NDArray) -> NDArray:
        return uniform_filter(values, 2 * radius + 1, mode="constant")

    share = mean(weight)
    count = np.round(share * (2 * radius + 1) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        u_mean, v_mean, w_mean = (mean(x * weight) / share for x in (u, v, inverse))
        uu = mean(u * u * weight) / share - u_mean**2
        vv = mean(v * v * weight) / share - v_mean**2
        uv = mean(u * v * weight) / share - u_mean * v_mean
        uw = mean(u * inverse) / share - u_mean * w_mean
        vw = mean(v * inverse) / share - v_mean * w_mean
        ww = mean(inverse * inverse) / share - w_mean**2
        determinant = uu * vv - uv**2
        a = (uw * vv - vw * uv) / determinant
        b = (vw * uu - uw * uv) / determinant
        variance = np.maximum(ww - a * uw - b * vw, 0) * count / np.maximum(count - 3, 1)
        usable = (count >= _MIN_PIXELS) & (determinant > 1e-3)
        plane = np.where(usable, np.stack([a, b, w_mean - a * u_mean - b * v_mean]), 0.0)
    return plane, np.where(usable, np.sqrt(variance), np.inf)


def _shift(values: NDArray, dy: int, dx: int, fill: float) -> NDArray:
    """out[..., y, x] = values[..., y + dy, x + dx], `fill` outside."""
    out = np.full_like(values, fill)
    height, width = values.shape[-2:]
    to_y, to_x = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
    from_y, from_x = slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))
    out[..., to_y, to_x] = values[..., from_y, from_x]
    return out
