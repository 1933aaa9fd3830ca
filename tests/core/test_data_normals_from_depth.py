"""Normals from depth against analytic planes and spheres, also where they meet and where depth is stored in steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lotus_core.data.normals_from_depth import normals_from_depth
from lotus_core.errors import LotusError


def rays(height: int, width: int, focal: float, centre: tuple[float, float] | None = None) -> np.ndarray:
    """Viewing rays H×W×3 in OpenCV axes (x right, y down, z forward), forward component 1."""
    x0, y0 = centre or (width / 2, height / 2)
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + 0.5 - x0) / focal, (y + 0.5 - y0) / focal, np.ones(x.shape)], axis=-1)


def plane(ray: np.ndarray, normal: np.ndarray, distance: float) -> np.ndarray:
    """Depth of the plane n · P = −distance (normal toward the camera)."""
    return -distance / (ray @ normal)


def sphere(ray: np.ndarray, centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth (inf where missed) and outward normals in OpenCV axes."""
    a, b, c = (ray**2).sum(-1), ray @ centre, centre @ centre - radius**2
    root = b**2 - a * c
    depth = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    points = ray * np.where(np.isfinite(depth), depth, 0)[..., None]
    return depth, (points - centre) / radius


def degrees(found: np.ndarray, opencv: np.ndarray) -> np.ndarray:
    """Angle between normals in the model convention and in OpenCV axes (the negative)."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(found, -opencv), axis=-1), (found * -opencv).sum(-1)))


@given(
    tilt_x=st.floats(-0.9, 0.9),
    tilt_y=st.floats(-0.9, 0.9),
    focal=st.floats(30, 300),
    x0=st.floats(10, 40),
    radius=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_a_plane_is_exact_at_any_slant_radius_and_principal_point(
    tilt_x: float, tilt_y: float, focal: float, x0: float, radius: int
) -> None:
    normal = np.array([tilt_x, tilt_y, -1]) / np.linalg.norm([tilt_x, tilt_y, 1])
    depth = plane(rays(36, 48, focal, (x0, 20.0)), normal, 2.0)
    found, known = normals_from_depth(depth, focal, centre=(x0, 20.0), radii=(radius,))
    seen = depth > 0  # a steep plane passes behind the camera
    assert not (known & ~seen).any()
    inside = ndimage.binary_erosion(seen, np.ones((2 * radius + 1, 2 * radius + 1)))
    assert known[inside].all()
    assert degrees(found, normal)[known].max() < 1e-3
    assert (np.abs(np.linalg.norm(found[known], axis=-1) - 1) < 1e-5).all()


def test_convention_floor_is_up_and_a_right_hand_wall_points_left() -> None:
    ray = rays(40, 40, 40.0)
    floor, _ = normals_from_depth(np.where(ray[..., 1] > 0.05, plane(ray, np.array([0, -1.0, 0]), 1.5), np.inf), 40.0)
    np.testing.assert_allclose(floor[35, 20], [0, 1, 0], atol=1e-5)
    wall, _ = normals_from_depth(np.where(ray[..., 0] > 0.05, plane(ray, np.array([-1.0, 0, 0]), 1.5), np.inf), 40.0)
    np.testing.assert_allclose(wall[20, 35], [1, 0, 0], atol=1e-5)  # x left is positive
    facing, _ = normals_from_depth(np.full((5, 6), 3.0), 40.0)
    np.testing.assert_allclose(facing[2, 3], [0, 0, 1], atol=1e-6)


def test_a_sphere_before_a_wall_is_right_up_to_its_silhouette() -> None:
    ray = rays(120, 160, 150.0)
    ball, ball_normals = sphere(ray, np.array([0.1, -0.1, 3.0]), 0.9)
    wall_normal = np.array([0.3, -0.2, -0.9]) / np.linalg.norm([0.3, -0.2, -0.9])
    wall = plane(ray, wall_normal, 5.0)
    on_ball = ball < wall
    found, known = normals_from_depth(np.where(on_ball, ball, wall), 150.0)
    error = degrees(found, np.where(on_ball[..., None], ball_normals, wall_normal))
    assert known.all()
    facing = -(ball_normals * ray).sum(-1) / np.linalg.norm(ray, axis=-1)
    assert error[on_ball & (facing > 0.6)].max() < 1.0
    assert error[on_ball & (facing > 0.3)].max() < 4.0  # a pixel step is 4° of the ball there
    assert error[on_ball].mean() < 1.0
    assert error[~on_ball].max() < 1e-3  # not one wall pixel takes part in the edge


def test_a_crease_between_two_walls_stays_sharp() -> None:
    ray = rays(60, 80, 70.0)
    left, right = np.array([0.6, 0, -0.8]), np.array([-0.6, 0, -0.8])
    depths = plane(ray, left, 2.0), plane(ray, right, 2.0)
    on_left = depths[0] < depths[1]
    for radius in (1, 3):
        found, _ = normals_from_depth(np.minimum(*depths), 70.0, radii=(radius,))
        assert degrees(found, np.where(on_left[..., None], left, right)).max() < 0.1


def test_depth_in_whole_centimetres_needs_and_gets_a_wide_window() -> None:
    """A street as Virtual KITTI stores it: the error falls from several degrees to about one."""
    ray = rays(188, 621, 362.5)
    surfaces = [((0, -1, 0), 1.6), ((-0.8, 0, -0.6), 12.0), ((0.95, -0.05, -0.3), 8.0), ((0.3, -0.1, -0.95), 30.0)]
    depth, normals = np.full(ray.shape[:2], np.inf), np.zeros(ray.shape)
    for direction, distance in surfaces:
        normal = np.array(direction) / np.linalg.norm(direction)
        candidate = plane(ray, normal, distance)
        nearer = (candidate > 0) & (candidate < depth)
        depth, normals[nearer] = np.where(nearer, candidate, depth), normal
    stored = np.round(depth * 100) / 100
    near = depth < 80
    narrow, _ = normals_from_depth(stored, 362.5, noise=0.01 / 12**0.5)
    wide, known = normals_from_depth(stored, 362.5, radii=(4, 2, 1), noise=0.01 / 12**0.5)
    assert known[near].all()
    assert degrees(wide, normals)[near].mean() < 1.0
    assert degrees(wide, normals)[near].mean() < 0.4 * degrees(narrow, normals)[near].mean()


def test_missing_depth_stays_missing_and_does_not_leak() -> None:
    ray = rays(30, 40, 50.0)
    normal = np.array([0.2, -0.5, -1.0]) / np.linalg.norm([0.2, -0.5, -1.0])
    depth = plane(ray, normal, 3.0)
    holes = np.zeros(depth.shape, dtype=bool)
    holes[10:14, 5:20] = True
    depth[holes], depth[0, 0], depth[0, 1] = np.nan, 0.0, np.inf
    depth[20:25, 30:] = 1e5
    outside = np.zeros(depth.shape, dtype=bool)
    outside[20:25, 30:] = True
    found, known = normals_from_depth(depth, 50.0, valid=~outside)
    missing = holes | outside
    missing[0, :2] = True
    assert np.array_equal(known, ~missing)
    assert (found[missing] == 0).all()
    assert degrees(found, normal)[known].max() < 1e-3


def test_a_lone_pixel_has_no_normal_and_a_radius_of_zero_is_refused() -> None:
    depth = np.full((9, 9), np.nan)
    depth[4, 4] = 2.0
    found, known = normals_from_depth(depth, 20.0)
    assert not known.any()
    assert (found == 0).all()
    with pytest.raises(LotusError, match="at least 1 pixel"):
        normals_from_depth(depth, 20.0, radii=(0,))
