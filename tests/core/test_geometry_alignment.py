"""Alignment, metric scale, self-calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.errors import LotusError
from lotus_core.geometry.alignment import Overlap, fit_affine, fit_group, metric_scale
from lotus_core.geometry.calibration import calibrate
from lotus_core.maps import Depth, Normals

from .scenes import ball_scene


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.booleans(), st.integers(0, 1000))
def test_affine_is_recovered(scale: float, shift: float, robust: bool, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(0, 1, (9, 11))
    found = fit_affine(x, scale * x + shift, robust=robust)
    assert found.scale == pytest.approx(scale, rel=1e-6, abs=1e-9)
    assert found.shift == pytest.approx(shift, rel=1e-6, abs=1e-6 * scale + 1e-9)


def test_robust_fit_survives_two_fifths_of_nonsense() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, 5000)
    y = 3 * x - 1 + random.normal(0, 0.01, 5000)
    wrong = random.uniform(size=5000) < 0.4
    y[wrong] = random.uniform(2, 9, wrong.sum())
    robust, plain = fit_affine(x, y, robust=True), fit_affine(x, y)
    assert robust.scale == pytest.approx(3, abs=0.01)
    assert robust.shift == pytest.approx(-1, abs=0.005)
    assert abs(plain.shift + 1) > 0.5


def test_weights_masks_and_values_that_are_not_finite() -> None:
    x = np.arange(10.0)
    y = 2 * x + 1
    y[3], x[4] = np.nan, np.inf
    y[7] = 100
    weights = np.ones(10)
    weights[7] = 0
    found = fit_affine(x, y, weights)
    assert (found.scale, found.shift) == pytest.approx((2, 1))
    constant = fit_affine(np.full(5, 3.0), np.arange(5.0))
    assert (constant.scale, constant.shift) == (0, 2)
    for bad in ((np.full(3, np.nan), np.zeros(3)), (np.zeros(3), np.zeros(4))):
        with pytest.raises(LotusError):
            fit_affine(*bad)


def test_a_group_of_maps_agrees_through_its_overlaps() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(1, 5, 4000)
    scales, shifts = np.array([1, 0.4, 2.5, 1.7]), np.array([0, 0.3, -1, 2.0])
    maps = [(truth - t) / s for s, t in zip(scales, shifts, strict=True)]
    overlaps = []
    for a, b in ((0, 1), (1, 2), (2, 3)):
        points = random.choice(4000, 500, replace=False)
        left, right = maps[a][points].copy(), maps[b][points] + random.normal(0, 0.002, 500)
        left[:50] += 3  # moving things
        overlaps.append(Overlap(a, b, left, right))
    found = fit_group(4, overlaps)
    for i, affine in enumerate(found):
        assert np.abs(affine(maps[i]) - truth).mean() < 0.02
    assert (found[0].scale, found[0].shift) == (1, 0)
    with pytest.raises(LotusError, match="Maps 2"):
        fit_group(3, overlaps[:1])


def test_one_known_length_makes_metres() -> None:
    scene = ball_scene(320, 240)
    points = scene.camera.unproject(scene.z)
    a, b = points[200, 40], points[100, 250]
    factor = metric_scale(scene.z / 7, scene.camera, (40.5, 200.5), (250.5, 100.5), float(np.linalg.norm(a - b)))
    assert factor == pytest.approx(7, rel=1e-5)
    nan = float("nan")
    for first, second, metres in (
        ((0, 0), (0, 0), 1),
        ((-1, 0), (5, 5), 1),
        ((0, 0), (5, 5), 0),
        ((nan, 0), (5, 5), 1),
    ):
        with pytest.raises(LotusError):
            metric_scale(scene.z, scene.camera, first, second, metres)
    with pytest.raises(LotusError, match="no depth"):
        metric_scale(np.full((240, 320), np.nan), scene.camera, (1, 1), (5, 5), 1)


@pytest.mark.parametrize("fov", [40, 60, 85])
@pytest.mark.parametrize("space", ["disparity", "depth"])
def test_depth_and_normals_reveal_the_camera(fov: float, space: str) -> None:
    scene = ball_scene(320, 240, fov)
    near, far = scene.z.min(), scene.z.max()
    values = (1 / scene.z - 1 / far) / (1 / near - 1 / far) if space == "disparity" else (scene.z - near) / (far - near)
    depth, normals = Depth(values.clip(0, 1), space), Normals(scene.normals, "opengl").to("lotus")  # type: ignore[arg-type]
    found = calibrate(depth, normals)
    assert found.camera.horizontal_fov_deg == pytest.approx(fov, abs=3)
    assert found.far == pytest.approx(far / near, rel=0.08)
    assert found.error < 1
    known = calibrate(depth, normals, scene.camera)
    assert known.far == pytest.approx(far / near, rel=0.05)
    z = depth.to_z(1, found.far)
    pixels = found.camera.project(found.camera.unproject(z))
    y, x = np.mgrid[0:240, 0:320] + 0.5
    assert np.abs(pixels - np.stack([x, y], -1)).max() < 0.01


def test_calibration_needs_something_to_see() -> None:
    with pytest.raises(LotusError, match="Fewer than 100"):
        calibrate(Depth(np.zeros((20, 20)), "depth"), Normals(np.zeros((20, 20, 3))))
    with pytest.raises(LotusError, match="differ in size"):
        calibrate(Depth(np.zeros((20, 20)), "depth"), Normals(np.zeros((20, 21, 3))))
    wall = np.zeros((30, 40, 3))
    wall[..., 2] = 1
    y, x = np.mgrid[0:30, 0:40] / 40
    with pytest.raises(LotusError, match="do not agree on a camera"):
        calibrate(Depth((0.5 + 0.4 * np.sin(9 * x) * np.cos(7 * y)), "depth"), Normals(wall))
