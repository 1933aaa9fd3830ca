"""Which data set, and which of its samples, a training step sees: a pure function of (seed, step)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..errors import LotusError

_CHUNK = 1024  # steps whose picks are drawn together; only speed depends on it being large
_WINDOW = 4  # shards whose samples are mixed when shards are read one after the other
_PICKS, _ORDER = 0, 1  # separate random streams of one seed


class MixtureSchedule:
    """Batches drawn from several data sets, each batch from one of them (Lotus: Hypersim 90 %, Virtual KITTI 10 %).

    There is no state: `batch(step)` depends on the constructor's arguments and `step` alone, so a resumed run, or
    another process, sees the same order. Within a data set the samples are shuffled anew every epoch; a batch may
    span the end of one epoch and the start of the next.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        probabilities: Sequence[float],
        batch_size: int,
        seed: int = 0,
        shard: int | None = None,
    ) -> None:
        """`lengths` and `probabilities` have one entry per data set; probabilities are ≥ 0 and need not sum to 1.

        shard: samples that lie together in a file. Shards then come in a random order and are mixed a few at a time, so
        that a disk or a network reads each once an epoch, from end to end.

        Raises:
            LotusError: the entries do not match, a data set that would be drawn is empty, or a number is out of range.
        """
        if not lengths or len(lengths) != len(probabilities):
            raise LotusError(
                f"A mixture needs one probability per data set, but there are {len(lengths)} data sets and "
                f"{len(probabilities)} probabilities."
            )
        if any(not math.isfinite(p) or p < 0 for p in probabilities) or sum(probabilities) <= 0:
            raise LotusError(
                f"The mixture's probabilities must be ≥ 0 and not all zero, but they are {list(probabilities)}."
            )
        for index, (length, probability) in enumerate(zip(lengths, probabilities, strict=True)):
            if length < 1 and probability > 0:
                raise LotusError(f"Data set {index} of the mixture is empty: give it samples, or the probability 0.")
        if batch_size < 1:
            raise LotusError(f"The batch size must be at least 1, but it is {batch_size}.")
        if seed < 0:
            raise LotusError(f"The seed must be ≥ 0, but it is {seed}.")
        self.lengths = tuple(int(length) for length in lengths)
        self.probabilities = tuple(float(p) / float(sum(probabilities)) for p in probabilities)
        self.batch_size = batch_size
        self.seed = seed
        self.shard = shard
        # An exact upper end: rounding in the sum must not select a data set of probability 0 after the last real one.
        last = max(i for i, p in enumerate(self.probabilities) if p > 0)
        edges = np.cumsum(self.probabilities)
        edges[last:] = 1.0
        self._edges = tuple(edges.tolist())
        # Batches each data set has given before chunk c; grows on demand, always to the same numbers.
        self._before_chunk = [np.zeros(len(self.lengths), dtype=np.int64)]

    def pick(self, step: int) -> int:
        """Index of the data set that the batch of `step` (≥ 0) comes from."""
        chunk, offset = divmod(_checked(step), _CHUNK)
        return int(_picks(self.seed, self._edges, chunk)[offset])

    def batch(self, step: int) -> tuple[int, list[int]]:
        """The data set of `step` (≥ 0) and the `batch_size` sample indices to take from it."""
        dataset = self.pick(step)
        first = self._batches_before(dataset, step) * self.batch_size
        length = self.lengths[dataset]
        indices = []
        for position in range(first, first + self.batch_size):
            epoch, place = divmod(position, length)
            indices.append(int(_permutation(self.seed, dataset, epoch, length, self.shard)[place]))
        return dataset, indices

    def epoch(self, step: int) -> tuple[float, ...]:
        """How many times each data set has been gone through before `step`."""
        return tuple(
            self._batches_before(index, step) * self.batch_size / length if length else 0.0
            for index, length in enumerate(self.lengths)
        )

    def _batches_before(self, dataset: int, step: int) -> int:
        chunk, offset = divmod(_checked(step), _CHUNK)
        while len(self._before_chunk) <= chunk:
            picks = _picks(self.seed, self._edges, len(self._before_chunk) - 1)
            counts = np.bincount(picks, minlength=len(self.lengths))
            self._before_chunk.append(self._before_chunk[-1] + counts)
        earlier = np.count_nonzero(_picks(self.seed, self._edges, chunk)[:offset] == dataset)
        return int(self._before_chunk[chunk][dataset]) + int(earlier)


@lru_cache(maxsize=16)
def _picks(seed: int, edges: tuple[float, ...], chunk: int) -> np.ndarray:
    uniform = np.random.default_rng([seed, _PICKS, chunk]).random(_CHUNK)
    return np.searchsorted(edges, uniform, side="right")


@lru_cache(maxsize=16)
def _permutation(seed: int, dataset: int, epoch: int, length: int, shard: int | None) -> np.ndarray:
    rng = np.random.default_rng([seed, _ORDER, dataset, epoch])
    if shard is None:
        return rng.permutation(length)
    order = rng.permutation(-(-length // shard))
    windows = (order[first : first + _WINDOW] for first in range(0, len(order), _WINDOW))
    return np.concatenate([rng.permutation(np.concatenate([_rows(s, shard, length) for s in w])) for w in windows])


def _rows(number: int, shard: int, length: int) -> np.ndarray:
    return np.arange(number * shard, min((number + 1) * shard, length))


def _checked(step: int) -> int:
    if step < 0:
        raise LotusError(f"Training steps count from 0, but step {step} was asked for.")
    return step
