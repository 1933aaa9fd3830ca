"""Boundary precision, recall and F1 against a loop over pixels, and what thin structures are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.errors import LotusError
from lotus_core.evaluation.boundaries import BOUNDARY_THRESHOLDS, boundary_counts, thin_structures


def counts_by_hand(
    predicted: np.ndarray, true: np.ndarray, mask: np.ndarray, threshold: float, front: np.ndarray
) -> tuple[int, int, int]:
    """Hits, predicted and true boundaries, pixel by pixel."""
    height, width = true.shape
    hits = found = there = 0
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                v, u = y + dy, x + dx
                if not (0 <= v < height and 0 <= u < width and mask[y, x] and mask[v, u] and front[y, x]):
                    continue
                in_prediction = predicted[v, u] / predicted[y, x] > 1 + threshold
                in_truth = (true[v, u] / true[y, x] if np.isfinite(true[y, x]) else 0) > 1 + threshold
                hits, found, there = hits + (in_prediction and in_truth), found + in_prediction, there + in_truth
    return hits, found, there


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_counts_are_those_of_a_loop_over_pixels(seed: int, height: int, width: int, sky: bool) -> None:
    rng = np.random.default_rng(seed)
    true = rng.uniform(1, 1.5, (height, width))
    predicted = true * rng.uniform(0.9, 1.1, true.shape)
    mask, front = rng.random(true.shape) < 0.8, rng.random(true.shape) < 0.7
    mask[0, 0] = True
    if sky:
        true[rng.random(true.shape) < 0.2] = np.inf
    predicted[~np.isfinite(predicted)] = 80
    found = boundary_counts(predicted, true, mask, front=front)
    for index, threshold in enumerate(BOUNDARY_THRESHOLDS):
        expected = counts_by_hand(predicted, true, mask, threshold, front)
        assert (found.hits[index], found.predicted[index], found.true[index]) == expected


def test_the_truth_scores_one_and_an_edge_one_pixel_off_scores_nothing() -> None:
    true = np.ones((4, 6))
    true[:, 3:] = 2
    everywhere = np.ones(true.shape, bool)
    perfect = boundary_counts(7 * true, true, everywhere)  # a scale changes nothing
    assert perfect.f1.tolist() == perfect.recall.tolist() == perfect.precision.tolist() == [1] * 5
    assert perfect.mean_f1 == pytest.approx(1)
    shifted = boundary_counts(np.roll(true, 1, axis=1)[:, 1:], true[:, 1:], everywhere[:, 1:])
    assert shifted.f1.tolist() == [0] * 5
    inside_out = boundary_counts(1 / true, true, everywhere)  # right places, but the wrong side in front
    assert inside_out.hits.tolist() == [0] * 5


def test_f1_of_half_the_boundaries_and_as_many_false_ones() -> None:
    true = np.ones((2, 8))
    true[0, 4:] = 2  # 1 jump along the row; the rows differ at 4 places
    predicted = np.ones((2, 8))
    predicted[0, 6:] = 2  # its jump is elsewhere; 2 of the 4 places are found
    found = boundary_counts(predicted, true, np.ones(true.shape, bool), thresholds=(0.1,))
    assert (found.hits[0], found.predicted[0], found.true[0]) == (2, 3, 5)
    assert found.f1[0] == pytest.approx(2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5))
    both = found + found
    assert both.recall[0] == found.recall[0]
    assert both.true[0] == 10


def test_pixels_outside_the_mask_and_flat_maps_give_no_boundary() -> None:
    true = np.ones((3, 3))
    true[1, 1] = -5  # missing
    mask = true > 0
    found = boundary_counts(np.ones((3, 3)), true, mask)
    assert found.true.tolist() == [0] * 5
    assert np.isnan(found.f1).all()


def test_a_pole_is_thin_and_a_wall_is_not() -> None:
    depth = np.full((20, 30), 10.0)
    depth[:, 4:6] = 3  # two pixels wide
    depth[:, 15:25] = 4  # ten
    depth[0] = np.inf
    expected = np.zeros(depth.shape, bool)
    expected[1:, 4:6] = True
    np.testing.assert_array_equal(thin_structures(depth), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update(pred_depth=np.ones((3, 4))), "one size"),
        (lambda a: a.update(mask=np.zeros((3, 3), bool)), "no valid pixel"),
        (lambda a: a.update(pred_depth=np.zeros((3, 3))), "positive depth"),
        (lambda a: a.update(pred_depth=np.full((3, 3), np.nan)), "positive depth"),
        (lambda a: a.update(thresholds=(0.0, 0.1)), "above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, words: str) -> None:  # type: ignore[no-untyped-def]
    arguments = {"pred_depth": np.ones((3, 3)), "true_depth": np.ones((3, 3)), "mask": np.ones((3, 3), bool)}
    change(arguments)
    with pytest.raises(LotusError, match=words):
        boundary_counts(**arguments)
