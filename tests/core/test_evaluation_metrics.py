"""Every metric against a formula written independently (plain loops, scikit-style definitions), to 1e-6."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from lotus_core.errors import LotusError
from lotus_core.evaluation.metrics import (
    ause,
    depth_metrics,
    normal_metrics,
    sparsification,
    spearman,
    summarise_angles,
)
from lotus_core.evaluation.pooling import ANGLE_STEP, POOLED, binned, pooled_median


def maps(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 12, 2)
    truth = rng.uniform(0.3, 30, (height, width)).astype(np.float32)
    prediction = np.clip(truth * rng.lognormal(0, rng.uniform(0.05, 1), truth.shape), 0.1, 50).astype(np.float32)
    mask = rng.random(truth.shape) < 0.6
    mask[0, 0] = True
    return prediction, truth, mask


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_depth_metrics_equal_loops_over_pixels(seed: int) -> None:
    prediction, truth, mask = maps(seed)
    pairs = [(float(p), float(t)) for p, t, m in zip(prediction.flat, truth.flat, mask.flat, strict=True) if m]
    count = len(pairs)
    logs = [math.log(p) - math.log(t) for p, t in pairs]
    expected = {
        "abs_rel": sum(abs(p - t) / t for p, t in pairs) / count,
        "sq_rel": sum((p - t) ** 2 / t for p, t in pairs) / count,
        "rmse": math.sqrt(sum((p - t) ** 2 for p, t in pairs) / count),
        "rmse_log": math.sqrt(sum(d * d for d in logs) / count),
        "log10": sum(abs(math.log10(p) - math.log10(t)) for p, t in pairs) / count,
        "delta1": sum(max(p / t, t / p) < 1.25 for p, t in pairs) / count,
        "delta2": sum(max(p / t, t / p) < 1.25**2 for p, t in pairs) / count,
        "delta3": sum(max(p / t, t / p) < 1.25**3 for p, t in pairs) / count,
        "silog": 100 * math.sqrt(max(0.0, sum(d * d for d in logs) / count - (sum(logs) / count) ** 2)),
    }
    measured = depth_metrics(np.where(mask, prediction, np.nan), np.where(mask, truth, -1), mask)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_perfect_depth_scores_perfectly_and_a_known_error_scores_that_error() -> None:
    _, truth, mask = maps(5)
    perfect = depth_metrics(truth, truth, mask)
    assert [perfect[name] for name in ("abs_rel", "rmse", "silog", "delta1")] == [0, 0, 0, 1]
    tenth = depth_metrics(truth * 1.1, truth, mask)
    assert tenth["abs_rel"] == pytest.approx(0.1, rel=1e-6)
    assert tenth["rmse_log"] == pytest.approx(math.log(1.1), rel=1e-6)
    assert tenth["log10"] == pytest.approx(math.log10(1.1), rel=1e-6)
    assert tenth["silog"] == pytest.approx(0, abs=1e-4)  # a scale alone is invisible to SILog
    assert depth_metrics(truth.astype(float) * 1.2501, truth, mask)["delta1"] == 0
    assert depth_metrics(truth.astype(float) * 1.2499, truth, mask)["delta1"] == 1


def rotated(normals: np.ndarray, degrees: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each normal turned by the given angle about a random axis perpendicular to it."""
    axis = np.cross(normals, rng.normal(size=normals.shape))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.radians(degrees)[..., None]
    return normals * np.cos(angle) + np.cross(axis, normals) * np.sin(angle)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_normals_turned_by_known_angles_give_the_statistics_of_those_angles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 9, 2))
    true = rng.normal(size=(*shape, 3))
    true /= np.linalg.norm(true, axis=-1, keepdims=True)
    degrees = rng.choice([0.0, 4.9, 5.1, 7.4, 7.6, 11.2, 11.3, 22.4, 22.6, 29.9, 30.1, 90.0, 179.0, 180.0], shape)
    mask = rng.random(shape) < 0.7
    mask[0, 0] = True
    measured = normal_metrics(2.5 * rotated(true, degrees, rng), true, mask)
    angles = degrees[mask].tolist()
    assert measured["mean"] == pytest.approx(statistics.fmean(angles), abs=1e-6)
    assert measured["median"] == pytest.approx(statistics.median(angles), abs=1e-6)
    assert measured["rmse"] == pytest.approx(math.sqrt(statistics.fmean(a * a for a in angles)), abs=1e-6)
    for threshold in (5, 7.5, 11.25, 22.5, 30):
        assert measured[f"{threshold:g}"] == pytest.approx(100 * statistics.fmean(a < threshold for a in angles))


def test_a_zero_normal_is_ninety_degrees_off_and_angles_can_be_pooled() -> None:
    true = np.zeros((1, 2, 3))
    true[..., 2] = 1
    prediction = true.copy()
    prediction[0, 1] = 0
    assert normal_metrics(prediction, true, np.ones((1, 2), dtype=bool))["mean"] == 45
    assert summarise_angles(np.float32([1, 2, 9]))["mean"] == 4
    with pytest.raises(LotusError, match="H×W×3"):
        normal_metrics(np.ones((4, 4)), np.ones((4, 4)), np.ones((4, 4), dtype=bool))


@given(seed=st.integers(0, 10**6), levels=st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_spearman_equals_scipy_with_ties(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, levels, (6, 7)), rng.normal(size=(6, 7))
    if len(np.unique(a)) > 1:
        assert spearman(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-9)


def test_spearman_of_monotone_reversed_and_constant() -> None:
    a = np.linspace(0, 3, 50)
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -(a**3)) == pytest.approx(-1)
    assert math.isnan(spearman(a, np.ones(50)))


def test_sparsification_by_hand() -> None:
    curves = sparsification(np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 4.0, 3.0, 2.0]), steps=4)
    # removing 0, 1, 2, 3 of the most uncertain leaves the errors {4 3 2 1}, {4 2 1}, {4 1}, {4}; overall mean 2.5
    np.testing.assert_allclose(curves.removed, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(curves.by_uncertainty, [1, 7 / 3 / 2.5, 1, 4 / 2.5])
    np.testing.assert_allclose(curves.oracle, [1, 2 / 2.5, 1.5 / 2.5, 1 / 2.5])
    gaps = [0, 1 / 3 / 2.5, 1 / 2.5, 3 / 2.5]
    assert curves.ause == pytest.approx(sum((x + y) / 2 * 0.25 for x, y in itertools.pairwise(gaps)))


def test_ause_orders_perfect_useful_useless_and_wrong_uncertainty() -> None:
    rng = np.random.default_rng(0)
    error = rng.gamma(1.0, size=(40, 50))
    perfect, useful = ause(error, 7 * error), ause(error, error + rng.gamma(1.0, size=error.shape))
    useless, wrong = ause(error, np.ones_like(error)), ause(error, -error)
    assert perfect == pytest.approx(0, abs=1e-12)
    assert perfect < useful < useless < wrong
    np.testing.assert_allclose(sparsification(error, np.ones_like(error)).by_uncertainty, 1)
    assert ause(np.zeros(9), np.arange(9)) == 0


def test_ties_do_not_depend_on_the_order_of_pixels() -> None:
    rng = np.random.default_rng(1)
    error, uncertainty = rng.random(500), rng.integers(0, 5, 500)
    order = rng.permutation(500)
    assert ause(error, uncertainty) == pytest.approx(ause(error[order], uncertainty[order]), abs=1e-12)


def test_bad_input_is_named() -> None:
    with pytest.raises(LotusError, match="positive depth"):
        depth_metrics(np.zeros((2, 2)), np.ones((2, 2)), np.ones((2, 2), dtype=bool))
    with pytest.raises(LotusError, match="errors ≥ 0"):
        ause(np.array([-1.0, 1]), np.array([1.0, 1]))
    with pytest.raises(LotusError, match="one size"):
        spearman(np.ones(3), np.ones(4))
    with pytest.raises(LotusError, match="not finite"):
        spearman(np.array([1, np.nan]), np.ones(2))


@given(seed=st.integers(0, 10**6), pictures=st.integers(1, 4), values=st.sampled_from([1, 2, 5, 1000]))
@settings(max_examples=60, deadline=None)
def test_the_pooled_median_is_that_of_all_angles(seed: int, pictures: int, values: int) -> None:
    """Exactly where angles are alike or far apart, and within a share of a bin where thousands crowd."""
    rng = np.random.default_rng(seed)
    every = [rng.choice(rng.uniform(0, 180, values), rng.integers(1, 40)) for _ in range(pictures)]
    arrays = [binned(angles) for angles in every]
    pooled = {name: how.reduce([each[name] for each in arrays]) for name, how in POOLED.items()}
    true = np.median(np.concatenate(every))
    assert pooled_median(pooled) == pytest.approx(true, abs=1e-6 if values < 1000 else ANGLE_STEP)


def test_the_pooled_median_of_crowded_angles_is_close() -> None:
    angles = np.abs(np.random.default_rng(0).normal(0, 20, 300_000)).clip(0, 180)
    assert pooled_median(binned(angles)) == pytest.approx(np.median(angles), abs=2e-4)
    assert pooled_median(binned(np.array([0.0, 180.0]))) == pytest.approx(90, abs=1e-6)
