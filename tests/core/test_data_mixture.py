"""The mixture schedule: given probabilities, every sample once per epoch, the same order after a resume."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.data.mixture import MixtureSchedule
from lotus_core.errors import LotusError


def test_ninety_ten_is_met_within_three_standard_deviations() -> None:
    schedule = MixtureSchedule([1000, 300], [0.9, 0.1], batch_size=4, seed=3)
    share = sum(schedule.pick(step) == 0 for step in range(10_000)) / 10_000
    assert abs(share - 0.9) < 3 * (0.9 * 0.1 / 10_000) ** 0.5


@given(
    weights=st.lists(st.floats(0.02, 10), min_size=2, max_size=4),
    seed=st.integers(0, 2**32),
    start=st.integers(0, 20_000),
)
@settings(max_examples=20, deadline=None)
def test_any_weights_are_met_within_five_standard_deviations(weights: list[float], seed: int, start: int) -> None:
    schedule = MixtureSchedule([10] * len(weights), weights, batch_size=1, seed=seed)
    counts = Counter(schedule.pick(step) for step in range(start, start + 4000))
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(counts[index] / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5 + 1 / 4000


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**63),
    resume_at=st.integers(0, 3000),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_a_resumed_schedule_continues_the_same_order(
    lengths: list[int], batch_size: int, seed: int, resume_at: int, data: st.DataObject
) -> None:
    probabilities = data.draw(st.lists(st.floats(0.01, 1), min_size=len(lengths), max_size=len(lengths)))
    from_the_start = MixtureSchedule(lengths, probabilities, batch_size, seed)
    for step in range(0, resume_at, 50):
        from_the_start.batch(step)
    resumed = MixtureSchedule(lengths, probabilities, batch_size, seed)
    for step in range(resume_at, resume_at + 5):
        expected = from_the_start.batch(step)
        assert resumed.batch(step) == expected
        assert len(expected[1]) == batch_size
        assert all(0 <= index < lengths[expected[0]] for index in expected[1])


@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=3),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_every_sample_appears_once_per_epoch(lengths: list[int], batch_size: int, seed: int) -> None:
    schedule = MixtureSchedule(lengths, [1.0] * len(lengths), batch_size, seed)
    seen: list[list[int]] = [[] for _ in lengths]
    for step in range(200):
        dataset, indices = schedule.batch(step)
        seen[dataset] += indices
    for order, length in zip(seen, lengths, strict=True):
        for start in range(0, len(order) - length + 1, length):
            assert sorted(order[start : start + length]) == list(range(length))


def test_epochs_are_shuffled_differently_and_by_the_seed() -> None:
    schedule = MixtureSchedule([50], [1.0], batch_size=50, seed=0)
    first, second = schedule.batch(0)[1], schedule.batch(1)[1]
    assert first != second
    assert MixtureSchedule([50], [1.0], batch_size=50, seed=1).batch(0)[1] != first
    assert schedule.epoch(2) == (2.0,)


def test_a_data_set_of_probability_zero_is_never_drawn_even_when_empty() -> None:
    schedule = MixtureSchedule([7, 0, 5, 9], [0.3, 0.0, 0.1, 0.0], batch_size=2)
    assert set(Counter(schedule.pick(step) for step in range(5000))) == {0, 2}
    assert schedule.epoch(5000)[1] == 0.0


def test_a_far_step_is_reached_directly() -> None:
    schedule = MixtureSchedule([54_000, 20_000], [0.9, 0.1], batch_size=32, seed=7)
    dataset, indices = schedule.batch(500_000)
    assert len(indices) == 32
    assert schedule.pick(500_000) == dataset
    assert pickle.loads(pickle.dumps(schedule)).batch(500_000) == (dataset, indices)  # for worker processes


@pytest.mark.parametrize(
    ("lengths", "probabilities", "batch_size", "part"),
    [
        ([3], [0.5, 0.5], 1, "one probability per data set"),
        ([], [], 1, "one probability per data set"),
        ([3, 0], [0.5, 0.5], 1, "Data set 1 of the mixture is empty"),
        ([3], [0.0], 1, "not all zero"),
        ([3], [float("nan")], 1, "not all zero"),
        ([3, 3], [1.0, -0.5], 1, "must be ≥ 0"),
        ([3], [1.0], 0, "batch size"),
    ],
)
def test_impossible_mixtures_are_refused(
    lengths: list[int], probabilities: list[float], batch_size: int, part: str
) -> None:
    with pytest.raises(LotusError, match=part):
        MixtureSchedule(lengths, probabilities, batch_size)


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(LotusError, match="count from 0"):
        MixtureSchedule([3], [1.0], 1).batch(-1)
