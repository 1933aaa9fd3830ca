"""Statistics over samples that come one at a time and do not stay in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch

from .errors import LotusError

KEPT_IN_MEMORY = 64 * 2**20  # bytes of tensors kept for a second pass; more go to a temporary file
SHORTEST = 1e-6  # vectors below this length have no direction
FLATTEST = 2e-3  # depth of less standard deviation has no scale: rounding in half precision alone has 5e-4


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


class Level:
    """Brings maps to the mean and the standard deviation of the first one, over the `valid` pixels (None: all).

    Depth that is known up to a scale and a shift agrees where only those differ. Moments and not least squares, which
    would flatten a map that contradicts the first and so hide it. A flat map is only shifted.
    """

    def __init__(self, valid: np.ndarray | None) -> None:
        self._known = None if valid is None or not valid.any() else torch.from_numpy(valid)
        self._first: tuple[float, float] | None = None

    def bring(self, values: torch.Tensor) -> torch.Tensor:
        """1×H×W float32, changed in place and returned; the first one stays as it is."""
        known = values if self._known is None else values[0][self._known]
        deviation, mean = (float(moment) for moment in torch.std_mean(known, correction=0))
        if self._first is None:
            self._first = deviation, mean
            return values
        scale = self._first[0] / deviation if min(deviation, self._first[0]) > FLATTEST else 1.0
        return values.sub_(mean).mul_(scale).add_(self._first[1])


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


class KeptTensors:
    """float32 CPU tensors of one shape, appended and then read back in order, exactly; in a file where they are many.

    A context manager: at its end everything is gone.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=KEPT_IN_MEMORY)  # noqa: SIM115 (closed by __exit__)
        self._shape: torch.Size | None = None

    def append(self, tensor: torch.Tensor) -> None:
        self._shape = tensor.shape
        try:
            self._file.write(tensor.numpy().tobytes())
        except OSError as error:
            raise LotusError(
                f"The samples do not fit into the folder for temporary files, {tempfile.gettempdir()}"
                f" ({error.strerror}): free some space there, or name another with TMPDIR."
            ) from error

    def __iter__(self) -> Iterator[torch.Tensor]:
        if self._shape is None:
            return
        self._file.seek(0)
        while data := self._file.read(4 * self._shape.numel()):
            yield torch.from_numpy(np.frombuffer(bytearray(data), np.float32)).view(self._shape)

    def __enter__(self) -> KeptTensors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
