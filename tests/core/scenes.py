"""Analytic scenes in numpy: a ball in front of a wall on a floor, with exact distance, normals and surface
distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from lotus_core.geometry import Camera
from lotus_core.geometry.poses import PosedImage
from lotus_core.geometry.views import View
from lotus_core.maps import Depth

BALL, RADIUS, FLOOR, WALL = np.array([0.3, -0.2, -4.0]), 0.8, -1.0, -8.0


@dataclass(frozen=True)
class Scene:
    """z: float64 H×W distance along the axis; normals: float64 H×W×3 in OpenGL axes; part: 0 wall, 1 floor, 2 ball."""

    camera: Camera
    z: np.ndarray
    normals: np.ndarray
    part: np.ndarray


def ball_scene(width: int = 160, height: int = 120, fov: float = 60.0, pose: np.ndarray | None = None) -> Scene:
    """pose: camera to world; normals stay in the camera's axes."""
    camera = Camera.from_fov(width, height, fov)
    pose = np.eye(4) if pose is None else pose
    turn, origin = pose[:3, :3], pose[:3, 3]
    rays = camera.rays() @ turn.T
    with np.errstate(divide="ignore"):
        floor = np.where(rays[..., 1] < 0, (FLOOR - origin[1]) / rays[..., 1], np.inf)
        wall = np.where(rays[..., 2] < 0, (WALL - origin[2]) / rays[..., 2], np.inf)
    ball_from_here = BALL - origin
    a, b, c = (rays**2).sum(-1), rays @ ball_from_here, ball_from_here @ ball_from_here - RADIUS**2
    inside = b * b - a * c
    ball = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    stack = np.stack([wall, floor, ball])
    part, z = stack.argmin(axis=0), stack.min(axis=0)
    normals = np.zeros((*z.shape, 3))
    normals[part == 0] = [0, 0, 1]
    normals[part == 1] = [0, 1, 0]
    normals[part == 2] = ((rays * z[..., None] - ball_from_here) / RADIUS)[part == 2]
    return Scene(camera, z, normals @ turn, part)


def surface_distance(points: np.ndarray) -> np.ndarray:
    """Distance from points to the nearest of the scene's surfaces, N."""
    return np.min(
        [
            np.abs(points[:, 2] - WALL),
            np.abs(points[:, 1] - FLOOR),
            np.abs(np.linalg.norm(points - BALL, axis=1) - RADIUS),
        ],
        axis=0,
    )


def look(position: tuple[float, float, float], target: tuple[float, float, float]) -> np.ndarray:
    """Camera to world of a camera at `position` that looks at `target`, upright."""
    back = np.subtract(position, target)
    back = back / np.linalg.norm(back)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = position
    return pose


def quantised(scene: Scene, blur: float = 2.0) -> np.ndarray:
    """The scene's distance after its disparity was blurred and cut down to 8 bits."""
    disparity = 1 / scene.z
    low, high = disparity.min(), disparity.max()
    soft = ndimage.gaussian_filter((disparity - low) / (high - low), blur)
    return 1 / (low + np.rint(soft * 255) / 255 * (high - low))


def edges(scene: Scene, pixels: int = 3) -> np.ndarray:
    """Pixels within a distance of a depth discontinuity."""
    log_z, jump = np.log(scene.z), np.zeros(scene.z.shape, bool)
    jump[:, 1:] |= np.abs(np.diff(log_z, axis=1)) > 0.04
    jump[1:] |= np.abs(np.diff(log_z, axis=0)) > 0.04
    return ndimage.distance_transform_edt(~jump) <= pixels


TARGET = (0.2, -0.3, -4.5)
PLACES = [(0, 0.2, 0), (1.2, 0.4, -0.2), (-1.1, 0.1, -0.3), (0.6, 0.9, 0.3), (-0.5, 0.7, 0.2)]


def predicted(scene: Scene, seed: int, noise: float = 0.01) -> Depth:
    """The scene's disparity as a network gives it: stretched to 0…1, with soft noise of 1 % of its range."""
    disparity = 1 / scene.z
    low, high = disparity.min(), disparity.max()
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=scene.z.shape), 2)
    values = (disparity - low) / (high - low) + noise * rough / rough.std()
    return Depth(values.clip(0, 1).astype(np.float32), "disparity")


def posed(count: int, sparse: int = 0) -> list[tuple[PosedImage, Scene]]:
    out = []
    for number, place in enumerate(PLACES[:count]):
        pose = look(place, TARGET)
        scene = ball_scene(200, 150, 60, pose)
        random = np.random.default_rng(number)
        row, column = random.integers(0, 150, sparse), random.integers(0, 200, sparse)
        points = np.column_stack([column + 0.5, row + 0.5, scene.z[row, column] * random.normal(1, 0.002, sparse)])
        points[: sparse // 10, 2] *= 2  # wrong matches
        out.append((PosedImage(f"{number}.jpg", scene.camera, pose, points), scene))
    return out


def chamfer(points: np.ndarray, scenes: list[tuple[PosedImage, Scene]]) -> float:
    """Mean of both directions, as a fraction of the scene's size."""
    full = np.ones(scenes[0][1].z.shape, bool)
    everything = np.concatenate([View(image, scene.z, full).world_points().reshape(-1, 3) for image, scene in scenes])
    there = surface_distance(points).mean()
    back = cKDTree(points).query(everything[::5])[0].mean()
    return float((there + back) / 2 / np.linalg.norm(np.ptp(everything, axis=0)))
