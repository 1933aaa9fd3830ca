"""Noise that moves with the picture: white in every frame, following the motion, and no larger the longer it runs."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from lotus_core.batch.noise import MovingNoise


@given_settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-0.05, 0.05), st.integers(0, 2**32 - 1))
def test_moving_noise_stays_white_and_standard_normal(right: float, down: float, zoom: float, seed: int) -> None:
    height, width = 48, 64
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    flow = np.dstack([right + zoom * (columns - 32), down + zoom * (rows - 24)]).astype(np.float32)
    noise = MovingNoise((1.0, 1.0), lambda frame: flow)
    noise.frame = 4
    field = noise(seed, 0, 0, (1, 4, height, width))[0].double()
    count = field.numel()
    assert abs(float(field.mean())) < 5 / count**0.5
    assert abs(float(field.var()) - 1) < 5 * (2 / count) ** 0.5
    for neighbour in (field[:, :, 1:] * field[:, :, :-1], field[:, 1:] * field[:, :-1]):
        assert abs(float(neighbour.mean())) < 5 / count**0.5


def test_moving_noise_follows_whole_cells_exactly() -> None:
    flow = np.full((16, 16, 2), (-0.5, 0.25), np.float32)  # half a cell right, a quarter up
    noise = MovingNoise((1.0, 1.0), lambda frame: flow)
    first = noise(3, 0, 0, (1, 4, 16, 16))
    noise.frame = 4
    moved = noise(3, 0, 0, (1, 4, 16, 16))
    assert np.array_equal(moved[..., :15, 2:], first[..., 1:, :14])


def test_moving_noise_is_the_same_frame_by_frame_and_in_leaps_and_does_not_grow() -> None:
    rng = np.random.default_rng(0)
    flows = rng.normal(0, 1.5, (201, 24, 32, 2)).astype(np.float32)
    shape = (1, 4, 24, 32)
    steady, leaping = (MovingNoise((1.0, 1.0), flows.__getitem__) for _ in range(2))
    tracemalloc.start()
    try:
        for steady.frame in range(101):
            field = steady(3, 0, 0, shape)
        before = tracemalloc.get_traced_memory()[0]
        leaping(3, 0, 0, shape)
        leaping.frame = 100
        assert np.array_equal(leaping(3, 0, 0, shape), field)
        for steady.frame in range(101, 201):
            steady(3, 0, 0, shape)
        assert tracemalloc.get_traced_memory()[0] - before < 100_000  # 3 KB for each frame's cells alone were 300,000
    finally:
        tracemalloc.stop()
