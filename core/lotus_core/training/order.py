"""Everything random about training as a function of (seed, position): resuming needs only a step number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data.mixture import MixtureSchedule


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed from a run's seed and what it is for."""
    text = repr((seed, *parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def noise(seed: int, numbers: Sequence[int], purpose: str, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal len(numbers)×shape float32 on the CPU; each row depends on its sample number only."""
    rows = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(derive(seed, purpose, number)))
        for number in numbers
    ]
    return torch.stack(rows)


def uniform(seed: int, numbers: Sequence[int], purpose: str) -> np.ndarray:
    """Uniform numbers in [0, 1), one per sample number."""
    return np.array([derive(seed, purpose, number) / 2**63 for number in numbers])


class Draw(NamedTuple):
    """A drawn sample: its source and item, mirrored or not, and its number in the run, counted over all processes."""

    source: int
    item: int
    flip: bool
    number: int


class Process(NamedTuple):
    """One of the processes of a run; of a global batch it has the pictures rank, rank + world, rank + 2 · world …"""

    rank: int = 0
    world: int = 1


ALONE = Process()


class DataOrder:
    """Which samples each process sees in each micro-batch: every world-th of a global batch drawn from one source."""

    def __init__(
        self,
        lengths: Sequence[int],
        probabilities: Sequence[float],
        batch_size: int,
        seed: int,
        flip: bool,
        rank: int = 0,
        world: int = 1,
        shard: int | None = None,
    ) -> None:
        self._schedule = MixtureSchedule(lengths, probabilities, batch_size * world, derive(seed, "order"), shard)
        self._seed, self._flip = seed, flip
        self._global_batch = batch_size * world
        self._slots = range(rank, self._global_batch, world)  # so that the first ones are shared out among processes

    def batch(self, number: int) -> list[Draw]:
        """The draws of this process in micro-batch `number` of the run."""
        source, indices = self._schedule.batch(number)
        numbers = [number * self._global_batch + slot for slot in self._slots]
        return [
            Draw(source, indices[slot], self._flip and derive(self._seed, "flip", n) % 2 == 1, n)
            for slot, n in zip(self._slots, numbers, strict=True)
        ]

    def batches(self, start: int, end: int) -> Iterator[list[Draw]]:
        """Micro-batches start … end − 1."""
        for number in range(start, end):
            yield self.batch(number)
