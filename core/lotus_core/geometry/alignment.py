"""Scale and shift between affine-invariant maps and anything else: least squares, robust, jointly over several maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import LotusError
from .camera import Camera

_PAIRS = 256  # random pairs of points for the robust start; with half the points wrong, one in four is right
_SCORED = 4000  # points that judge them
_ROUNDS = 20
_TUKEY = 4.685  # Huber, "Robust Statistics": 95 % efficiency for normal noise
_MAD = 1.4826  # median absolute deviation to standard deviation of normal noise


@dataclass(frozen=True)
class Affine:
    """x → scale · x + shift."""

    scale: float
    shift: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values * self.scale + self.shift


def fit_affine(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None, *, robust: bool = False
) -> Affine:
    """The scale and shift that bring source to target. Fit depth to depth or disparity to disparity (1 / z).

    source, target: arrays of one shape; values that are not finite are left out. weights: ≥ 0, or a bool mask.
    robust: a least-median-of-squares start from random pairs (seeded) and Tukey's weights after it, which half of the
    points being wrong does not disturb; else weighted least squares.
    A constant source gives scale 0 and the mean. Raises LotusError when no point is left or the shapes differ.
    """
    x, y, w = _points(source, target, weights)
    if not robust:
        return _solve(x, y, w)
    affine = _median_start(x, y, w)
    extent = float(np.ptp(y))
    for _ in range(_ROUNDS):
        residual = np.abs(affine(x) - y)
        spread = _MAD * _weighted_median(residual, w)
        relative = residual / max(_TUKEY * spread, 1e-12 * extent, 1e-300)
        inliers = w * np.square(np.maximum(0, 1 - np.square(relative)))
        if not inliers.any():
            break
        last, affine = affine, _solve(x, y, inliers)
        settled = abs(affine.scale - last.scale) <= 1e-9 * abs(last.scale)
        if settled and abs(affine.shift - last.shift) <= 1e-9 * extent:
            break
    return affine


@dataclass(frozen=True, eq=False)
class Overlap:
    """What two maps of a group say about the same points: values of map `first` and of map `second`, flat arrays."""

    first: int
    second: int
    first_values: np.ndarray
    second_values: np.ndarray


def fit_group(count: int, overlaps: Sequence[Overlap], reference: int = 0) -> list[Affine]:
    """One affine map per member of a group (tiles, frames, views) so that they agree where they overlap.

    Least squares over all overlaps at once, reweighted (L1) against outliers; the reference keeps (1, 0). Every overlap
    counts the same whatever its size. Raises LotusError when a map is not connected to the reference.
    """
    reached = {reference}
    for _ in range(count):
        for overlap in overlaps:
            if (overlap.first in reached) != (overlap.second in reached):
                reached |= {overlap.first, overlap.second}
    if len(reached) < count:
        missing = ", ".join(str(i) for i in range(count) if i not in reached)
        raise LotusError(f"Maps {missing} share no points with the others; they cannot be aligned together.")
    blocks = [_points(overlap.first_values, overlap.second_values, None)[:2] for overlap in overlaps]
    solution = np.tile([1.0, 0.0], count)
    free = np.flatnonzero(np.arange(2 * count) // 2 != reference)
    reweight: list[np.ndarray] | None = None
    for _ in range(_ROUNDS):
        normal, right = np.zeros((2 * count, 2 * count)), np.zeros(2 * count)
        for number, (overlap, (a, b)) in enumerate(zip(overlaps, blocks, strict=True)):
            w = np.ones(len(a)) if reweight is None else reweight[number]
            w = w / w.sum()
            rows = np.stack([a, np.ones_like(a), -b, -np.ones_like(b)])
            block = (rows * w) @ rows.T
            index = [2 * overlap.first, 2 * overlap.first + 1, 2 * overlap.second, 2 * overlap.second + 1]
            normal[np.ix_(index, index)] += block
        right = -normal[free, 2 * reference]
        # A trace of damping keeps maps of constant value solvable.
        system = normal[np.ix_(free, free)] + 1e-12 * np.eye(len(free)) * max(1.0, np.trace(normal))
        last = solution.copy()
        solution[free] = np.linalg.solve(system, right)
        scale, shift = solution[::2], solution[1::2]
        residual = [
            np.abs(scale[o.first] * a + shift[o.first] - scale[o.second] * b - shift[o.second])
            for o, (a, b) in zip(overlaps, blocks, strict=True)
        ]
        floor = 1e-3 * float(np.median(np.concatenate(residual))) + 1e-12
        reweight = [1 / np.maximum(r, floor) for r in residual]
        if np.abs(solution - last).max() < 1e-9:
            break
    return [Affine(float(pair[0]), float(pair[1])) for pair in solution.reshape(-1, 2)]


def metric_scale(
    z: np.ndarray, camera: Camera, first: tuple[float, float], second: tuple[float, float], metres: float
) -> float:
    """The factor that turns z into metres, from the known distance between the surface points at two pixels (x, y).

    Raises LotusError when a pixel lies outside, has no depth, or both are the same point.
    """
    camera.check_size(z)
    if not (np.isfinite(metres) and metres > 0):
        raise LotusError(f"The known distance is a number of metres above 0; it is {metres}.")
    check_points(camera.width, camera.height, first, second)
    points = []
    for x, y in (first, second):
        distance = float(z[int(y), int(x)])
        if not (np.isfinite(distance) and distance > 0):
            raise LotusError(f"There is no depth at the pixel ({x:g}, {y:g}); choose another.")
        ray = [(x - camera.width / 2) / camera.focal_px, -(y - camera.height / 2) / camera.focal_px, -1]
        points.append(np.array(ray) * distance)
    return metres / float(np.linalg.norm(points[0] - points[1]))


def check_points(width: int, height: int, first: Sequence[float], second: Sequence[float]) -> None:
    """Raise LotusError where one of two pixels (x, y) lies outside the picture, or both are the same."""
    for x, y in (first, second):
        if not (0 <= x < width and 0 <= y < height):
            raise LotusError(f"The pixel ({x:g}, {y:g}) lies outside the {width}×{height} picture.")
    if tuple(first) == tuple(second):
        raise LotusError("The two pixels are the same point; choose two that are apart.")


def _points(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if np.shape(source) != np.shape(target) or (weights is not None and np.shape(weights) != np.shape(source)):
        raise LotusError(f"Maps of {np.shape(source)} and {np.shape(target)} cannot be aligned; resize one of them.")
    x, y = np.asarray(source, np.float64).ravel(), np.asarray(target, np.float64).ravel()
    w = np.ones_like(x) if weights is None else np.asarray(weights, np.float64).ravel()
    keep = np.isfinite(x) & np.isfinite(y) & (w > 0)
    if not keep.any():
        raise LotusError("There is no point to align on: everything is masked or not finite.")
    return x[keep], y[keep], w[keep]


def _solve(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Affine:
    total = w.sum()
    mean_x, mean_y = (w @ x) / total, (w @ y) / total
    dx = x - mean_x
    variance = w @ (dx * dx)
    # Rounding leaves a constant array some variance; a scale from that would be noise.
    if variance <= 1e-24 * total * max(mean_x * mean_x, 1e-300):
        return Affine(0.0, float(mean_y))
    scale = (w * dx) @ (y - mean_y) / variance
    return Affine(float(scale), float(mean_y - scale * mean_x))


def _median_start(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Affine:
    """The line through two points that leaves the least median distance to the others."""
    random = np.random.default_rng(0)
    chance = w / w.sum()
    pairs = random.choice(len(x), (2, _PAIRS), p=chance)
    dx = x[pairs[1]] - x[pairs[0]]
    usable = np.abs(dx) > 1e-9 * max(np.ptp(x), 1e-300)
    if not usable.any():
        return _solve(x, y, w)
    scale = (y[pairs[1]] - y[pairs[0]])[usable] / dx[usable]
    shift = y[pairs[0]][usable] - scale * x[pairs[0]][usable]
    judges = random.choice(len(x), min(_SCORED, len(x)), p=chance)
    score = np.median(np.abs(scale[:, None] * x[judges] + shift[:, None] - y[judges]), axis=1)
    best = int(score.argmin())
    return Affine(float(scale[best]), float(shift[best]))


def _weighted_median(values: np.ndarray, w: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(w[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
