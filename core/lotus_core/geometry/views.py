"""Photos with known poses and depth in world units: what several of them are fused from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LotusError
from ..maps.depth import Depth
from .alignment import fit_affine
from .grid import DEFAULT_CUT
from .poses import PosedImage

MIN_POINTS = 8


@dataclass(frozen=True, eq=False)
class View:
    """A posed photo with its depth in world units. z: float64 H×W; valid: bool H×W; photo: uint8 H×W×3 or None."""

    image: PosedImage
    z: np.ndarray
    valid: np.ndarray
    photo: np.ndarray | None = None

    def world_points(self) -> np.ndarray:
        """float64 H×W×3."""
        points = self.image.camera.rays() * self.z[..., None]
        pose = self.image.camera_to_world
        return points @ pose[:3, :3].T + pose[:3, 3]

    def look_at(self, points: np.ndarray) -> Sight:
        """World points N×3 as this view sees them."""
        from scipy.ndimage import map_coordinates

        pose, camera = self.image.camera_to_world, self.image.camera
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        distance = -local[:, 2]
        pixels = camera.project(local)
        with np.errstate(invalid="ignore"):
            found = (distance > 0) & (pixels >= 0).all(axis=1) & (pixels < [camera.width, camera.height]).all(axis=1)
        x, y = np.where(found[:, None], pixels, 0).T
        row, column = y.astype(int), x.astype(int)
        found &= self.valid[row, column]
        # Between the pixel centres, linear in disparity as planes are; at a border the pixel itself.
        nearest = self.z[row, column]
        between = 1 / map_coordinates(1 / self.z, np.stack([y - 0.5, x - 0.5]), order=1, mode="nearest")
        surface = np.where(np.abs(between / nearest - 1) < DEFAULT_CUT, between, nearest)
        cosine = distance / np.maximum(np.linalg.norm(local, axis=1), 1e-12)
        return Sight(found, distance, surface, cosine, row * camera.width + column)


@dataclass(frozen=True, eq=False)
class Sight:
    """Points from one view, all N. found: bool, a valid pixel sees it; distance: along the axis; surface: of what that
    pixel sees; cosine: of the ray to the axis; pixel: flat index (0 where it is outside).
    """

    found: np.ndarray
    distance: np.ndarray
    surface: np.ndarray
    cosine: np.ndarray
    pixel: np.ndarray


def align_to_points(image: PosedImage, depth: Depth, photo: np.ndarray | None = None) -> View:
    """Bring a depth map to world units by the sparse points that its image sees, robustly, in the map's own space.

    depth: at the camera's size (any other is resized). Raises LotusError for fewer than 8 points, or
    points that say the opposite of the map.
    """
    depth = at_camera_size(depth, image)
    x, y = np.floor(image.points[:, :2]).astype(int).T if len(image.points) else np.empty((2, 0), int)
    inside = (x >= 0) & (x < image.camera.width) & (y >= 0) & (y < image.camera.height)
    x, y, distance = x[inside], y[inside], image.points[inside, 2]
    seen = depth.mask[y, x]
    if seen.sum() < MIN_POINTS:
        raise LotusError(f"{image.name} sees only {int(seen.sum())} sparse points; at least {MIN_POINTS} are needed.")
    target = 1 / distance if depth.space == "disparity" else distance
    affine = fit_affine(depth.values[y, x][seen], target[seen], robust=True)
    if not affine.scale > 0:
        raise LotusError(
            f"The sparse points of {image.name} contradict its depth; check the poses and the depth's space."
        )
    return view_from_map(image, depth, affine.scale, affine.shift, photo)


def at_camera_size(depth: Depth, image: PosedImage) -> Depth:
    """The depth map with the number of pixels of the image's camera."""
    size = (image.camera.height, image.camera.width)
    return depth if depth.values.shape == size else depth.resize(size)


def view_from_map(image: PosedImage, depth: Depth, scale: float, shift: float, photo: np.ndarray | None) -> View:
    """A view from scale · depth + shift, in the map's own space: inverse distances, or distances."""
    mapped = depth.values.astype(np.float64) * scale + shift
    with np.errstate(divide="ignore"):
        z = 1 / mapped if depth.space == "disparity" else mapped
    valid = depth.mask & (mapped > 0) & np.isfinite(z)
    return View(image, np.where(valid, z, 1.0), valid & ~_edges(z, valid), photo)


def _edges(z: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pixels beside a depth discontinuity: their distance belongs to neither side for sure."""
    safe = np.where(valid, z, 1.0)
    out = np.zeros(z.shape, bool)
    for axis in (0, 1):
        first, second = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        low, high = np.minimum(safe[first], safe[second]), np.maximum(safe[first], safe[second])
        jump = high > low * (1 + 2 * DEFAULT_CUT)
        out[first] |= jump
        out[second] |= jump
    return out
