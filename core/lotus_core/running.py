"""Statistics over samples that come one at a time and are not kept."""

from __future__ import annotations

import torch

SHORTEST = 1e-6  # vectors below this length have no direction


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """3×H×W vectors scaled to unit length; those without a direction face the camera, (0, 0, 1)."""
    length = torch.linalg.vector_norm(vectors, dim=0, keepdim=True)
    facing = torch.tensor([0.0, 0.0, 1.0], dtype=vectors.dtype, device=vectors.device).view(3, 1, 1)
    return torch.where(length > SHORTEST, vectors / length.clamp_min(SHORTEST), facing)


class RunningSpread:
    """Mean and standard deviation of tensors of one shape, by Welford's recurrence (stable in float32)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())  # sum of squared deviations from the mean so far (Welford's M2)

    def add(self, values: torch.Tensor) -> None:
        if self.count == 0:
            self.mean, self._squares = torch.zeros_like(values), torch.zeros_like(values)
        self.count += 1
        deviation = values - self.mean
        self.mean.add_(deviation, alpha=1 / self.count)
        self._squares.addcmul_(deviation, values - self.mean)

    @property
    def std(self) -> torch.Tensor:
        """Of the population: divided by N, not N − 1."""
        return (self._squares / self.count).clamp_min(0).sqrt()


class MeanDirection:
    """Mean direction of unit vector fields 3×H×W: their sum, scaled to unit length."""

    def __init__(self) -> None:
        self._sum = torch.zeros(())

    def add(self, vectors: torch.Tensor) -> None:
        self._sum = self._sum + vectors

    @property
    def mean(self) -> torch.Tensor:
        return unit(self._sum)


class MeanAngle:
    """Mean angle, in degrees, between a direction field 3×H×W and others: 1×H×W."""

    def __init__(self, direction: torch.Tensor) -> None:
        self._direction = direction
        self._sum = torch.zeros(())
        self._count = 0

    def add(self, vectors: torch.Tensor) -> None:
        # Kahan's formula: exact for small angles, where the arccos of a float32 cosine is not.
        apart = torch.linalg.vector_norm(self._direction - vectors, dim=0, keepdim=True)
        along = torch.linalg.vector_norm(self._direction + vectors, dim=0, keepdim=True)
        self._sum = self._sum + torch.rad2deg(2 * torch.atan2(apart, along))
        self._count += 1

    @property
    def mean(self) -> torch.Tensor:
        return self._sum / self._count
