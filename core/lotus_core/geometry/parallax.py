"""Scale and shift of several depth maps from nothing but the poses: the views must agree on what they both see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import LotusError
from ..maps.depth import Depth
from .poses import PosedImage
from .views import View, at_camera_size, view_from_map

_NEIGHBOURS = 8  # views that each one is compared with: the nearest
_POINTS = 120_000  # in all; not more than _PER_PAIR for one pair of views
_PER_PAIR = 6000
_FEW = 200  # points per pair that choose the starts
_SMOOTHING = 0.015  # of the longer side: two numbers per map need no detail, and a network's noise is correlated
_EDGE = 0.3  # range of a map within 5 pixels that makes an edge
_TOLERANCES = 0.1, 0.04, 0.02  # differences of maps that count half: first to find the agreement, then to sharpen it
_STARTS = 3
_STEPS = 15
_AGREEING = 0.05  # share of a view's points that another view must confirm


@dataclass(frozen=True, eq=False)
class _Pair:
    """Points of one view as another sees them: inverse distance w to points rays + w · shift in its axes."""

    first: int
    second: int
    values: np.ndarray  # K, of the first map
    rays: np.ndarray  # K×3
    shift: np.ndarray  # 3


@dataclass(frozen=True, eq=False)
class _Residual:
    """In units of the second map, K; and its derivatives by (log scale, shift) of the first and of the second, 4×K."""

    error: np.ndarray
    seen: np.ndarray
    derivatives: np.ndarray


class _Map:
    """A depth map made soft inside its surfaces, with its slopes, to be looked up between pixels."""

    def __init__(self, depth: Depth) -> None:
        sigma = _SMOOTHING * max(depth.values.shape)
        values = depth.values.astype(np.float64)
        soft = ndimage.gaussian_filter(values, 1)
        flat = ndimage.maximum_filter(soft, 5) - ndimage.minimum_filter(soft, 5) < _EDGE
        self.usable = depth.mask & flat
        weight = ndimage.gaussian_filter(self.usable.astype(np.float64), sigma)
        smooth = ndimage.gaussian_filter(values * self.usable, sigma) / np.maximum(weight, 1e-3)
        self.values = np.where(self.usable, smooth, values)
        self.inverse = depth.space == "disparity"
        down, across = (
            np.gradient(self.values, axis=i) if n > 1 else np.zeros_like(smooth) for i, n in enumerate(smooth.shape)
        )
        self._layers = self.values, across, down

    def look_up(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Value, and slopes along x and y, at image coordinates."""
        where = np.stack([y - 0.5, x - 0.5])
        return tuple(ndimage.map_coordinates(layer, where, order=1, mode="nearest") for layer in self._layers)


def align_to_each_other(
    images: Sequence[PosedImage], depths: Sequence[Depth], photos: Sequence[np.ndarray] | None = None
) -> list[View]:
    """Find scale and shift of every depth map so that the views agree where they see the same surface.

    No sparse points needed: the distances between the cameras give the scale. Points of each view are moved into its
    neighbours and compared with their depth, in the units of the maps, where a network's noise is the same near and
    far; robustly (Geman & McClure), because some of them are hidden there. Levenberg–Marquardt from several starts.

    Raises LotusError for fewer than two views, cameras that all stand in one place, or a view that no other confirms.
    """
    if len(images) < 2 or len(images) != len(depths):
        raise LotusError("Aligning views to each other needs two or more, with one depth map each.")
    depths = [at_camera_size(depth, image) for image, depth in zip(images, depths, strict=True)]
    centres = np.array([image.camera_to_world[:3, 3] for image in images])
    baseline = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
    if not baseline > 1e-9:
        raise LotusError("All photos are from one place, so nothing tells how far the scene is; give sparse points.")
    maps = [_Map(depth) for depth in depths]
    pairs = _pairs(images, maps, centres)
    few = [_Pair(p.first, p.second, p.values[:_FEW], p.rays[:_FEW], p.shift) for p in pairs]
    starts = [_start(maps, near, ratio) for near in baseline * np.geomspace(0.5, 60, 16) for ratio in (2.0, 4.0, 10.0)]
    first = [_cost(_residuals(start, images, maps, few), _TOLERANCES[0]) for start in starts]
    best, least = starts[0], np.inf
    for index in np.argsort(first)[:_STARTS]:
        found, cost = starts[index], np.inf
        for tolerance in _TOLERANCES:
            found, cost = _minimise(found, images, maps, pairs, tolerance)
        if cost < least:
            best, least = found, cost
    _check_agreement(best, images, maps, pairs)
    return [
        view_from_map(image, depth, np.exp(best[2 * i]), best[2 * i + 1], None if photos is None else photos[i])
        for i, (image, depth) in enumerate(zip(images, depths, strict=True))
    ]


def _pairs(images: Sequence[PosedImage], maps: list[_Map], centres: np.ndarray) -> list[_Pair]:
    """Both directions of every pair of neighbours, with points drawn at random (seeded)."""
    random = np.random.default_rng(0)
    wanted = set()
    for i, centre in enumerate(centres):
        order = np.argsort(np.linalg.norm(centres - centre, axis=1), kind="stable")
        for j in [int(j) for j in order if j != i][:_NEIGHBOURS]:
            wanted |= {(i, j), (j, i)}
    size = min(_PER_PAIR, max(_FEW, _POINTS // len(wanted)))
    out = []
    for i, j in sorted(wanted):
        usable = np.flatnonzero(maps[i].usable)
        pick = random.choice(usable, min(size, len(usable)), replace=False) if len(usable) else usable
        row, column = np.divmod(pick, images[i].camera.width)
        here, there = images[i].camera_to_world, images[j].camera_to_world
        turn = there[:3, :3].T @ here[:3, :3]
        shift = there[:3, :3].T @ (here[:3, 3] - there[:3, 3])
        out.append(_Pair(i, j, maps[i].values[row, column], images[i].camera.rays()[row, column] @ turn.T, shift))
    return out


def _start(maps: list[_Map], near: float, ratio: float) -> np.ndarray:
    """Parameters (log scale, shift) per map with all scenes between near and near · ratio."""
    far = near * ratio
    rows = [(np.log(1 / near - 1 / far), 1 / far) if each.inverse else (np.log(far - near), near) for each in maps]
    return np.array(rows).ravel()


def _residuals(x: np.ndarray, images: Sequence[PosedImage], maps: list[_Map], pairs: list[_Pair]) -> list[_Residual]:
    out = []
    for pair in pairs:
        (scale, shift), (other_scale, other_shift) = (
            (np.exp(x[2 * i]), x[2 * i + 1]) for i in (pair.first, pair.second)
        )
        camera, inverse, other_inverse = images[pair.second].camera, maps[pair.first].inverse, maps[pair.second].inverse
        mapped = scale * pair.values + shift
        usable = mapped > 0
        w = np.where(usable, mapped, 1) if inverse else 1 / np.where(usable, mapped, 1)
        points = pair.rays + w[:, None] * pair.shift
        depth = -points[:, 2]
        usable &= depth > 1e-9
        depth = np.where(usable, depth, 1)
        px = camera.focal_px * points[:, 0] / depth + camera.width / 2
        py = -camera.focal_px * points[:, 1] / depth + camera.height / 2
        usable &= (px >= 0) & (py >= 0) & (px < camera.width) & (py < camera.height)
        value, across, down = maps[pair.second].look_up(np.where(usable, px, 0), np.where(usable, py, 0))
        there = w / depth  # inverse distance from the other camera
        expected = there if other_inverse else 1 / there
        error = value + (other_shift - expected) / other_scale
        # By w: the pixel moves over the other map, and the distance from the other camera changes.
        toward = -pair.shift[2]
        move_x = camera.focal_px * (pair.shift[0] * depth - points[:, 0] * toward) / depth**2
        move_y = -camera.focal_px * (pair.shift[1] * depth - points[:, 1] * toward) / depth**2
        by_there = 1.0 if other_inverse else -1 / there**2
        by_w = across * move_x + down * move_y - by_there * (depth - w * toward) / depth**2 / other_scale
        by_mapped = by_w if inverse else -by_w * w**2
        derivatives = np.stack(
            [by_mapped * scale * pair.values, by_mapped, value - error, np.full(len(w), 1 / other_scale)]
        )
        out.append(_Residual(error, usable, derivatives))
    return out


def _cost(residuals: list[_Residual], tolerance: float) -> float:
    """Mean over all points, 0 … 1; a point that the other view does not see counts as wrong."""
    total = sum(np.where(r.seen, r.error**2 / (r.error**2 + tolerance**2), 1).sum() for r in residuals)
    return float(total) / max(sum(len(r.error) for r in residuals), 1)


def _minimise(
    x: np.ndarray, images: Sequence[PosedImage], maps: list[_Map], pairs: list[_Pair], tolerance: float
) -> tuple[np.ndarray, float]:
    """Levenberg–Marquardt with iteratively reweighted least squares; returns the parameters and their cost."""
    residuals = _residuals(x, images, maps, pairs)
    cost, damping = _cost(residuals, tolerance), 1e-4
    for _ in range(_STEPS):
        normal, right = np.zeros((len(x), len(x))), np.zeros(len(x))
        for pair, r in zip(pairs, residuals, strict=True):
            weight = np.where(r.seen, (tolerance**2 / (r.error**2 + tolerance**2)) ** 2, 0)
            index = [2 * pair.first, 2 * pair.first + 1, 2 * pair.second, 2 * pair.second + 1]
            normal[np.ix_(index, index)] += (r.derivatives * weight) @ r.derivatives.T
            right[index] += (r.derivatives * weight) @ r.error
        last = cost
        while damping < 1e4:
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -right)
            tried = _residuals(x + step, images, maps, pairs)
            cost = _cost(tried, tolerance)
            if cost < last:
                x, residuals, damping = x + step, tried, max(damping / 10, 1e-7)
                break
            damping *= 10
        if not last - cost > 1e-6 * last:
            return x, min(cost, last)
    return x, cost


def _check_agreement(x: np.ndarray, images: Sequence[PosedImage], maps: list[_Map], pairs: list[_Pair]) -> None:
    confirmed = np.zeros(len(images))
    for pair, r in zip(pairs, _residuals(x, images, maps, pairs), strict=True):
        share = np.count_nonzero(r.seen & (np.abs(r.error) < 2 * _TOLERANCES[-1])) / max(len(r.error), 1)
        confirmed[pair.first] = max(confirmed[pair.first], share)
    for image, share in zip(images, confirmed, strict=True):
        if share < _AGREEING:
            raise LotusError(f"No other photo shows what {image.name} does; check its pose, or leave it out.")
