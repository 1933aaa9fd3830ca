"""Focal length and far/near ratio from a depth map and a normal map of one photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LotusError
from ..maps.depth import Depth
from ..maps.normals import Normals
from .camera import Camera

_WORKING_SIZE = 192  # pixels; two numbers need no more
_FOVS = np.radians(np.arange(20, 111, 10))  # across the longer side
_RATIOS = np.geomspace(1.3, 60, 12)
_LIMIT_FOVS, _LIMIT_RATIOS = np.radians([125.0, 12.0]), np.array([1.05, 200.0])  # beyond, the answer is none
_LIMIT_ERROR = 25.0  # degrees; maps that disagree more than this with the best camera say nothing about it
_TOLERANCE = 0.03  # 1 − cos at which a pixel counts half as wrong: about 14°


@dataclass(frozen=True)
class Calibration:
    """camera: of the photo; far: distance of the depth map's far end when its near end is 1; error: typical angle left,
    degrees.
    """

    camera: Camera
    far: float
    error: float


def calibrate(depth: Depth, normals: Normals, camera: Camera | None = None) -> Calibration:
    """Choose the field of view and the far/near ratio for which the depth map has the slopes that the normals say.

    Depth without scale and shift leaves two numbers open; every pixel's normal gives two equations, so a scene with
    surfaces of several directions over-determines them. A flat wall seen straight on does not: the error then is
    small for every choice, and the result means nothing. camera: keep this camera and find the ratio only.
    Raises LotusError for maps of different size, fewer than 100 usable pixels, or when the best answer is at the
    limit of what a camera can be or leaves more than 25°: the maps contradict each other.
    """
    from scipy.optimize import minimize

    height, width = depth.values.shape
    if normals.values.shape[:2] != (height, width):
        raise LotusError("The depth map and the normal map differ in size; resize one of them.")
    shrink = min(1.0, _WORKING_SIZE / max(height, width))
    size = max(2, round(height * shrink)), max(2, round(width * shrink))
    small = depth.resize(size)
    vectors = normals.to("opengl").resize(size).values.astype(np.float64)
    longer = max(size)
    v, u = (np.mgrid[0 : size[0], 0 : size[1]] + 0.5) - np.array([size[0] / 2, size[1] / 2])[:, None, None]
    d = small.values.astype(np.float64)
    sign = -1.0 if depth.space == "disparity" else 1.0
    # The middle of three pixels on a line: where both one-sided slopes agree there is no edge between them.
    inner = np.zeros(size, bool)
    inner[1:-1, 1:-1] = True
    inner &= small.mask & (np.linalg.norm(vectors, axis=2) > 0.5)
    along = (np.roll(d, -1, 1) - np.roll(d, 1, 1)) / 2, (np.roll(d, -1, 0) - np.roll(d, 1, 0)) / 2
    bend = np.abs(np.roll(d, -1, 1) - 2 * d + np.roll(d, 1, 1)) + np.abs(np.roll(d, -1, 0) - 2 * d + np.roll(d, 1, 0))
    inner &= bend <= max(float(np.quantile(bend[inner], 0.9)), 1e-9) if inner.any() else inner
    if inner.sum() < 100:
        raise LotusError("Fewer than 100 pixels have both depth and a normal; there is nothing to calibrate on.")
    u, v, d, n = u[inner], v[inner], d[inner], vectors[inner]
    dx, dy = along[0][inner], along[1][inner]

    def cosines(focal: float, ratio: float) -> np.ndarray:
        slope = sign * (ratio - 1) / (1 + d * (ratio - 1))
        p, q = slope * dx, slope * dy
        x, y, z = p * focal, -q * focal, 1 + u * p + v * q
        return (n[:, 0] * x + n[:, 1] * y + n[:, 2] * z) / np.sqrt(x * x + y * y + z * z)

    def cost(focal: float, ratio: float) -> float:
        wrong = 1 - cosines(focal, ratio)
        return float(np.mean(wrong / (wrong + _TOLERANCE)))

    if camera is None:
        focals = longer / 2 / np.tan(_FOVS / 2)
    else:
        camera.check_size(depth.values)
        focals = np.array([camera.focal_px * longer / max(height, width)])
    start = min(((focal, ratio) for focal in focals for ratio in _RATIOS), key=lambda pair: cost(*pair))
    if camera is None:
        found = minimize(
            lambda x: cost(np.exp(x[0]), 1 + np.exp(x[1])),
            [np.log(start[0]), np.log(start[1] - 1)],
            method="Nelder-Mead",
            bounds=[tuple(np.log(longer / 2 / np.tan(_LIMIT_FOVS / 2))), tuple(np.log(_LIMIT_RATIOS - 1))],
            options={"xatol": 1e-4, "fatol": 1e-9},
        ).x
        focal, ratio = float(np.exp(found[0])), float(1 + np.exp(found[1]))
    else:
        found = minimize(
            lambda x: cost(start[0], 1 + np.exp(x[0])),
            [np.log(start[1] - 1)],
            method="Nelder-Mead",
            bounds=[tuple(np.log(_LIMIT_RATIOS - 1))],
        ).x
        focal, ratio = start[0], float(1 + np.exp(found[0]))
    fov = 2 * np.arctan(longer / 2 / focal)
    at_limit = not 1.01 * _LIMIT_RATIOS[0] < ratio < 0.99 * _LIMIT_RATIOS[1]
    if camera is None:
        at_limit |= not 1.01 * _LIMIT_FOVS[1] < fov < 0.99 * _LIMIT_FOVS[0]
    error = float(np.degrees(np.arccos(np.clip(np.median(cosines(focal, ratio)), -1, 1))))
    if at_limit or error > _LIMIT_ERROR:
        raise LotusError(
            f"Depth and normals do not agree on a camera (typically {error:.0f}° apart at best); give the field of view"
            " and the far distance."
        )
    full = Camera(width, height, focal * max(height, width) / longer) if camera is None else camera
    return Calibration(full, ratio, error)
