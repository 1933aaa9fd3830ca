"""Uncertainty over finished samples: what counts as disagreement, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lotus_core.finishing import uncertainty_map

from .models import tiny_model

INFO = tiny_model("g").info
SURFACE = torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25


def deviation(samples: list[torch.Tensor], valid: np.ndarray | None = None) -> np.ndarray:
    return uncertainty_map(INFO, (sample.clone() for sample in samples), len(samples), valid).std


@given(st.lists(st.tuples(st.floats(0.2, 1.5), st.floats(-0.2, 0.2)), min_size=1, max_size=6))
def test_depth_that_differs_in_scale_and_shift_only_agrees(changes: list[tuple[float, float]]) -> None:
    samples = [SURFACE, *(SURFACE * scale + shift for scale, shift in changes)]
    found = uncertainty_map(INFO, (sample.clone() for sample in samples), len(samples), None)
    assert found.std.max() < 1e-5
    np.testing.assert_allclose(found.mean.values, SURFACE[0], atol=1e-5)


@given(st.integers(0, 23), st.integers(0, 31), st.floats(0.05, 0.2))
def test_where_one_sample_differs_the_deviation_is_largest(row: int, column: int, by: float) -> None:
    other = SURFACE.clone()
    other[0, row, column] += by
    std = deviation([SURFACE, other * 1.3 - 0.1])
    assert np.unravel_index(std.argmax(), std.shape) == (row, column)
    assert 0.4 * by < std[row, column] < 0.5 * by  # of two values: half of what they are apart, less what levels them


def test_a_sample_that_contradicts_the_first_is_not_flattened() -> None:
    std = deviation([SURFACE, 1 - SURFACE])
    np.testing.assert_allclose(std, np.abs(SURFACE[0] - SURFACE.mean()), atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 5e-4])
def test_flat_samples_agree_and_hide_nothing_of_others(noise: float) -> None:
    flat = 0.4 + noise * torch.randn(SURFACE.shape, generator=torch.Generator().manual_seed(2))
    other = 0.7 + noise * torch.randn(SURFACE.shape, generator=torch.Generator().manual_seed(3))
    assert deviation([flat, other]).max() <= 4 * noise + 1e-6
    for pair in ([flat, SURFACE], [SURFACE, flat]):
        found, wanted = deviation(pair), np.abs(SURFACE[0] - SURFACE.mean()) / 2
        np.testing.assert_allclose(found, wanted, atol=4 * noise + 1e-6)


def test_pixels_that_are_not_valid_do_not_set_the_level() -> None:
    valid = np.ones((24, 32), bool)
    valid[:8] = False
    other = SURFACE * 0.7 + 0.1
    other[0, :8] = 1.0
    assert deviation([SURFACE, other], valid)[8:].max() < 1e-5
    assert deviation([SURFACE, other])[8:].max() > 0.05
    assert np.isfinite(deviation([SURFACE, other], np.zeros((24, 32), bool))).all()
