"""Affine alignment: exact on affine distortions in either space, equal to a general solver on anything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.errors import LotusError
from lotus_core.evaluation.alignment import align_affine, aligned_depth
from lotus_core.evaluation.metrics import depth_metrics


def scene(seed: int, shape: tuple[int, int] = (23, 31)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(1.0, 10.0, shape), rng.random(shape) < 0.7


@given(seed=st.integers(0, 10**6), scale=st.floats(-50, 50), shift=st.floats(-100, 100), noise=st.floats(0, 5))
@settings(max_examples=60, deadline=None)
def test_scale_and_shift_equal_a_general_least_squares_solver(
    seed: int, scale: float, shift: float, noise: float
) -> None:
    prediction, mask = scene(seed)
    truth = scale * prediction + shift + noise * np.random.default_rng(seed + 1).normal(size=prediction.shape)
    columns = np.stack([prediction[mask], np.ones(mask.sum())], axis=1)
    expected = np.linalg.lstsq(columns, truth[mask], rcond=None)[0]
    np.testing.assert_allclose(align_affine(prediction, truth, mask), expected, rtol=1e-6, atol=1e-6)


def test_pixels_outside_the_mask_have_no_influence() -> None:
    prediction, mask = scene(0)
    truth = np.where(mask, 3 * prediction - 1, np.nan)
    np.testing.assert_allclose(align_affine(np.where(mask, prediction, np.inf), truth, mask), (3, -1), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_a_constant_prediction_becomes_the_mean_of_the_truth(value: float) -> None:
    truth, mask = scene(1)
    scale, shift = align_affine(np.full(truth.shape, value), truth, mask)
    assert scale == 0
    assert shift == pytest.approx(truth[mask].mean())


@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 20), shift=st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_truth_distorted_by_scale_and_shift_scores_perfectly_in_both_spaces(
    seed: int, scale: float, shift: float
) -> None:
    truth, mask = scene(seed)
    for space, ideal in (("depth", truth), ("disparity", 1 / truth)):
        distorted = scale * (ideal - ideal.min()) + max(shift, 0.01)
        depth = aligned_depth(distorted, space, truth, mask, 0.1, 20.0)
        scores = depth_metrics(depth, truth, mask)
        assert scores["abs_rel"] < 1e-9
        assert scores["delta1"] == 1.0


def test_depth_is_clipped_to_the_range_and_disparity_to_a_kilometre() -> None:
    truth = np.array([[1.0, 2.0, 3.0, 4.0, 100.0]])
    mask = np.array([[True, True, True, True, False]])
    assert aligned_depth(truth, "depth", truth, mask, 1.5, 10.0).tolist() == [[1.5, 2.0, 3.0, 4.0, 10.0]]
    prediction = 1 / truth
    prediction[0, 4] = -5.0
    assert aligned_depth(prediction, "disparity", truth, mask, 0.1, np.inf)[0, 4] == pytest.approx(1000.0)
    assert aligned_depth(prediction, "disparity", truth, mask, 0.1, 80.0)[0, 4] == 80.0


def test_disparity_clipped_at_zero_is_left_out_of_the_fit() -> None:
    truth = np.array([[1.0, 2.0, 4.0, 8.0]])
    prediction = 2 / truth
    prediction[0, 3] = 0.0
    depth = aligned_depth(prediction, "disparity", truth, np.ones_like(truth, dtype=bool), 0.1, 20.0)
    np.testing.assert_allclose(depth[0, :3], truth[0, :3], rtol=1e-12)
    black = aligned_depth(np.zeros((1, 4)), "disparity", truth, np.ones((1, 4), dtype=bool), 0.1, 20.0)
    np.testing.assert_allclose(black, 1 / np.mean(1 / truth))


def test_a_coarse_fit_uses_every_second_column() -> None:
    """As the authors' code, whose `Upsample` sees H×W as one dimension with H channels."""
    truth = np.random.default_rng(3).uniform(1, 5, (8, 12))
    prediction = 2 * truth
    prediction[:, 1::2] = 77.0
    mask = np.ones(truth.shape, dtype=bool)
    depth = aligned_depth(prediction, "depth", truth, mask, 0.1, 100.0, max_resolution=6)
    np.testing.assert_allclose(depth[:, ::2], truth[:, ::2], rtol=1e-9)
    prediction[1, 0] = 77.0  # every row counts
    depth = aligned_depth(prediction, "depth", truth, mask, 0.1, 100.0, max_resolution=6)
    assert np.abs(depth[::2, ::2] - truth[::2, ::2]).max() > 0.01


def test_the_columns_are_those_of_the_authors_code() -> None:
    shape, columns = (30, 70), np.arange(70, dtype=np.float32)
    factor = 32 / 70
    downscaler = torch.nn.Upsample(scale_factor=factor, mode="nearest")
    kept = downscaler(torch.from_numpy(np.tile(columns, (30, 1))).unsqueeze(0))[0].numpy()
    assert kept.shape == (30, 32)
    truth = np.random.default_rng(4).uniform(1, 5, shape)
    prediction = np.full(shape, 9.0)
    prediction[:, kept[0].astype(int)] = 3 * truth[:, kept[0].astype(int)]
    depth = aligned_depth(prediction, "depth", truth, np.ones(shape, bool), 0.1, 100.0, max_resolution=32)
    np.testing.assert_allclose(depth[:, kept[0].astype(int)], truth[:, kept[0].astype(int)], rtol=1e-9)


def test_bad_input_is_named() -> None:
    ones, mask = np.ones((2, 3)), np.ones((2, 3), dtype=bool)
    with pytest.raises(LotusError, match="one size"):
        align_affine(ones, np.ones((3, 2)), mask)
    with pytest.raises(LotusError, match="one size"):
        align_affine(ones, ones, np.ones(2, dtype=bool))
    with pytest.raises(LotusError, match="no valid pixel"):
        align_affine(ones, ones, ~mask)
    with pytest.raises(LotusError, match="not finite"):
        align_affine(np.full((2, 3), np.nan), ones, mask)
    with pytest.raises(LotusError, match="0 or negative"):
        aligned_depth(ones, "disparity", 0 * ones, mask, 1, 2)
    with pytest.raises(LotusError, match='not "z"'):
        aligned_depth(ones, "z", ones, mask, 1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_truth_only_in_columns_that_are_thinned_out_is_fitted_all_the_same(space: str) -> None:
    truth, mask = np.random.default_rng(0).uniform(1, 10, (6, 40)), np.zeros((6, 40), bool)
    mask[:, 3::4] = True  # of 40 columns down to 10, the first of each four are taken
    distorted = 0.05 * (truth if space == "depth" else 1 / truth) + 0.01
    depth = aligned_depth(distorted, space, truth, mask, 0.1, 20.0, max_resolution=10)  # type: ignore[arg-type]
    assert depth_metrics(depth, truth, mask)["abs_rel"] < 1e-9
