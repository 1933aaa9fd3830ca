"""Normals and depth: from one to the other, together, and a surface from normals alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lotus_core.errors import Cancelled, LotusError
from lotus_core.geometry import Camera, grid_mesh
from lotus_core.geometry.edges import sharpen_edges
from lotus_core.geometry.fusion import fuse_normals, uncertainty_weight
from lotus_core.geometry.integration import integrate_normals
from lotus_core.geometry.poisson import solve_constant, solve_weighted
from lotus_core.geometry.slopes import normals_from_depth, slopes
from lotus_core.maps import Normals
from lotus_core.maps.resample import resize

from .scenes import ball_scene, edges, quantised, surface_distance


def test_normals_from_depth_equal_the_true_ones() -> None:
    scene = ball_scene(320, 240)
    found = normals_from_depth(scene.z, scene.camera)
    angle = found.angle_to(Normals(scene.normals, "opengl"))
    assert found.convention == "opengl"
    assert np.median(angle) < 0.001
    assert angle[~edges(scene)].mean() < 0.3
    flat = normals_from_depth(np.full((4, 5), 3.0), Camera.default(5, 4))
    assert np.allclose(flat.values, [0, 0, 1], atol=1e-6)


def test_normals_from_depth_leave_unknown_pixels_zero() -> None:
    z = np.full((6, 6), 2.0)
    z[2, 2] = np.nan
    valid = np.ones((6, 6), bool)
    valid[0, 0] = False
    found = normals_from_depth(z, Camera.default(6, 6), valid)
    assert not found.valid[2, 2]
    assert not found.valid[0, 0]
    assert found.valid.sum() == 34


def test_slopes_are_the_differences_of_log_depth() -> None:
    scene = ball_scene(320, 240)
    p, _, known = slopes(scene.normals.astype(np.float32), scene.camera)
    ball = (scene.part == 2) & known
    inner = ndimage.binary_erosion(ball, iterations=6)
    middle = (p[:, 1:] + p[:, :-1]) / 2
    difference = np.diff(np.log(scene.z), axis=1)
    assert np.abs(middle - difference)[inner[:, 1:]].max() < 0.02 * np.abs(difference[inner[:, 1:]]).max()


@pytest.mark.parametrize("shape", [(1, 17), (23, 1), (24, 31), (2, 2)])
def test_poisson_solvers_give_back_what_made_their_slopes(shape: tuple[int, int]) -> None:
    truth = np.random.default_rng(0).normal(size=shape)
    across, down = np.diff(truth, axis=1), np.diff(truth, axis=0)
    assert np.abs(solve_constant(across, down, 0.0) - (truth - truth.mean())).max() < 1e-10
    assert np.abs(solve_constant(across, down, 0.3, truth) - truth).max() < 1e-10
    random = np.random.default_rng(1)
    weights = random.uniform(0.05, 1, across.shape), random.uniform(0.05, 1, down.shape)
    screen = np.full(shape, 1e-3)
    start = np.zeros(shape)
    solved = solve_weighted((across, down), weights, screen, truth, start, iterations=200, tolerance=1e-12)
    assert np.abs(solved - truth).max() < 1e-6


def test_fusion_sharpens_without_bending() -> None:
    scene = ball_scene(640, 480)
    truth = Normals(scene.normals, "opengl")
    coarse = quantised(scene)
    fused = fuse_normals(coarse, truth.to("lotus"), scene.camera)
    near = edges(scene)

    def normal_error(z: np.ndarray) -> float:
        return float(normals_from_depth(z, scene.camera, cut=np.inf).angle_to(truth).mean())

    def depth_error(z: np.ndarray) -> np.ndarray:
        return np.abs(z / scene.z - 1)

    assert normal_error(fused) <= 0.33 * normal_error(coarse)
    assert depth_error(fused).mean() <= depth_error(coarse).mean()
    assert depth_error(fused)[near].mean() <= 0.5 * depth_error(coarse)[near].mean()
    plain = fuse_normals(coarse, truth, scene.camera, sharpen=False)
    assert normal_error(plain) <= 0.4 * normal_error(coarse)
    assert depth_error(plain)[near].mean() <= 1.001 * depth_error(coarse)[near].mean()


def test_fusion_leaves_true_depth_alone() -> None:
    scene = ball_scene(320, 240)
    fused = fuse_normals(scene.z, Normals(scene.normals, "opengl"), scene.camera)
    assert np.abs(fused / scene.z - 1).mean() < 5e-4


def test_sharpening_moves_soft_edges_only() -> None:
    scene = ball_scene(320, 240)
    assert np.mean(sharpen_edges(scene.z) != scene.z.astype(np.float32)) < 0.01
    soft, near = quantised(scene), edges(scene)
    before, after = (np.abs(z / scene.z - 1)[near].mean() for z in (soft, sharpen_edges(soft)))
    assert after < 0.5 * before


def test_a_large_photo_has_no_skirts_at_its_soft_edges() -> None:
    small = ball_scene(240, 180)
    large = ball_scene(960, 720)
    soft = 1 / np.maximum(resize((1 / quantised(small, 0.5)).astype(np.float32), 720, 960), 1e-3)

    def skirts(z: np.ndarray) -> int:
        mesh = grid_mesh(z, large.camera)
        return int((surface_distance(mesh.vertices[mesh.faces].mean(axis=1)) > 0.3).sum())

    assert skirts(soft) > 500
    assert skirts(sharpen_edges(soft, radius=8)) < 20


def test_the_photo_says_where_a_soft_edge_was() -> None:
    scene = ball_scene(320, 240)
    photo = np.where(scene.part[..., None] == 2, [200, 60, 40], [[30, 90, 160]]).astype(np.uint8)
    late = 1 / ndimage.shift(ndimage.gaussian_filter(1 / scene.z, 1.5), (0, 1.0), mode="nearest")
    wall_or_ball = (scene.part != 1) & edges(scene)
    wrong = [
        np.mean((np.abs(sharpen_edges(late, photo=each) / scene.z - 1) > 0.2)[wall_or_ball]) for each in (None, photo)
    ]
    assert wrong[1] < 0.5 * wrong[0]
    same = sharpen_edges(late, photo=np.full_like(photo, 90))
    assert np.mean(np.abs(same / sharpen_edges(late) - 1) > 0.05) < 0.01, "a photo of one colour says nothing"


def test_weights_hand_over_to_the_surer_map() -> None:
    scene = ball_scene(160, 120)
    truth = Normals(scene.normals, "opengl")
    wrong = Normals.from_vectors(scene.normals + np.random.default_rng(0).normal(0, 0.3, scene.normals.shape), "opengl")
    unsure = np.zeros(scene.z.shape)
    kept = fuse_normals(scene.z, wrong, scene.camera, sharpen=False, normal_weight=unsure)
    assert np.abs(kept / scene.z - 1).max() < 1e-4
    bump = scene.z * (1 + 0.05 * np.exp(-((np.mgrid[0:120, 0:160] - [[[90]], [[40]]]) ** 2).sum(0) / 200))
    weight = uncertainty_weight(np.abs(bump / scene.z - 1), 0.002)
    plain = fuse_normals(bump, truth, scene.camera, sharpen=False)
    weighted = fuse_normals(bump, truth, scene.camera, sharpen=False, depth_weight=weight)
    assert np.abs(weighted / scene.z - 1).max() < 0.7 * np.abs(plain / scene.z - 1).max()


def test_masked_pixels_come_back_unchanged_and_do_not_leak() -> None:
    scene = ball_scene(320, 240)
    z = scene.z.copy()
    valid = scene.part != 0
    z[~valid] = np.nan
    fused = fuse_normals(z, Normals(scene.normals, "opengl"), scene.camera, valid)
    assert np.isnan(fused[~valid]).all()
    assert np.abs(fused[valid] / scene.z[valid] - 1).mean() < 2e-3


def test_impossible_fusion() -> None:
    camera, flat = Camera.default(6, 5), Normals(np.zeros((5, 6, 3)), "opengl")
    with pytest.raises(LotusError, match="positive and finite"):
        fuse_normals(np.full((5, 6), np.nan), flat, camera)
    with pytest.raises(LotusError, match="every pixel is masked"):
        fuse_normals(np.ones((5, 6)), flat, camera, np.zeros((5, 6), bool))
    with pytest.raises(LotusError, match="camera"):
        fuse_normals(np.ones((5, 7)), flat, camera)
    unchanged = fuse_normals(np.full((5, 6), 2.0), flat, camera)
    assert np.allclose(unchanged, 2), "zero normals change nothing"
    one_row = fuse_normals(np.full((1, 9), 2.0), Normals(np.zeros((1, 9, 3)), "opengl"), Camera.default(9, 1))
    assert np.allclose(one_row, 2)


N = 192
Y, X = np.mgrid[0:N, 0:N] + 0.5 - N / 2


def heights(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A height field toward the viewer, in pixels, and its normals, unnormalised."""
    zero = np.zeros_like(X)
    if name == "ball":
        radius = 80.0
        inside = np.hypot(X, Y) < 0.98 * radius
        h = np.sqrt(np.maximum(radius**2 - X**2 - Y**2, 0))
        return np.where(inside, h, np.nan), np.where(inside[..., None], np.dstack([X, -Y, h]), 0)
    if name == "tent":
        slope = np.where(np.abs(X) < 56, np.sign(X) * 0.8, 0)
        return np.maximum(0, 56 - np.abs(X)) * 0.8, np.dstack([slope, zero, zero + 1])
    riser = np.where(np.abs(X) < 3, -8.0, 0)  # two levels; the riser meets them at pixel centres
    return 56 * np.clip((X + 3.5) / 7, 0, 1), np.dstack([riser, zero, zero + 1])


@pytest.mark.parametrize(
    ("name", "mean", "worst"), [("ball", 0.001, 0.005), ("tent", 0.001, 0.005), ("step", 0.02, 0.06)]
)
def test_integration_reproduces_known_surfaces(name: str, mean: float, worst: float) -> None:
    """Errors as a fraction of the height of the shape."""
    height, vectors = heights(name)
    found = -integrate_normals(Normals.from_vectors(vectors, "opengl"))
    mask = np.isfinite(height)
    error = (found - height)[mask]
    error = np.abs(error - np.median(error)) / (height[mask].max() - height[mask].min())
    assert error.mean() <= mean
    assert error.max() <= worst


def test_a_step_whose_riser_is_hidden_comes_from_coarse_depth() -> None:
    tilt = 0.3 * Y
    height = np.where(X + 0.5 * Y < 0, 0, 60) + tilt
    normals = Normals.from_vectors(np.dstack([0 * X, 0.3 + 0 * X, 1 + 0 * X]), "opengl")
    noisy = -height + np.random.default_rng(0).normal(0, 1.0, height.shape)
    found = integrate_normals(normals, depth=noisy, depth_weight=1e-2)
    assert np.abs(found + height).mean() < 0.25 * np.abs(noisy + height).mean()


def test_integration_in_perspective() -> None:
    scene = ball_scene(160, 120)
    ball = ndimage.binary_erosion(scene.part == 2, iterations=1)
    found = integrate_normals(Normals(scene.normals, "opengl").to("lotus"), scene.camera, ball)
    ratio = (found / scene.z)[ball]
    assert np.abs(ratio / np.median(ratio) - 1).mean() < 0.002


def test_impossible_integration() -> None:
    with pytest.raises(LotusError, match="no normals"):
        integrate_normals(Normals(np.zeros((4, 4, 3))))
    away = np.zeros((4, 4, 3))
    away[..., 2] = -1
    with pytest.raises(LotusError, match="faces the camera"):
        integrate_normals(Normals(away, "opengl"))
    _, vectors = heights("tent")
    with pytest.raises(Cancelled):
        integrate_normals(Normals.from_vectors(vectors, "opengl"), cancel=lambda: True)
    for shape in ((1, 9), (9, 1), (1, 1)):
        flat = np.zeros((*shape, 3))
        flat[..., 2] = 1
        assert np.allclose(integrate_normals(Normals(flat, "opengl")), 0, atol=1e-5)
