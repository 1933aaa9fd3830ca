"""When the frames of a clip are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

CLOCK = 90_000  # ticks a second, as MPEG counts
_SHORTEST = CLOCK // 1000  # Matroska counts milliseconds, and no two frames may share one
_CONSTANT = 0.002  # seconds off a constant rate that are the rounding of a container's clock
_LABEL = 0.005  # how far 23.98 and 29.97, as people write them, are from the rates they mean, at most


@dataclass(frozen=True)
class Timing:
    """rate: frames per second, in the mean. ticks: when each frame is shown, of `CLOCK` a second, the first at 0; None
    where the rate says it all."""

    rate: Fraction
    ticks: tuple[int, ...] | None = None

    @classmethod
    def of(cls, rate: Fraction, times: Sequence[Fraction | None]) -> Timing:
        """Of a video of that mean rate. times: of each frame, in seconds; None where the file does not say.

        The rate alone where no frame is more than 2 ms off it, a time is missing, or times go backward.
        """
        known = [time for time in times if time is not None]
        if not known or len(known) < len(times) or any(later < now for now, later in pairwise(known)):
            return cls(rate)
        since = [time - known[0] for time in known]
        if all(abs(time - index / rate) <= _CONSTANT for index, time in enumerate(since)):
            return cls(rate)
        ticks = accumulate((round(time * CLOCK) for time in since), lambda last, now: max(now, last + _SHORTEST))
        return cls(rate, tuple(ticks))

    @property
    def seconds(self) -> list[float] | None:
        """When each frame is shown, to the microsecond; None where the rate says it all."""
        return None if self.ticks is None else [round(tick / CLOCK, 6) for tick in self.ticks]


def exact_rate(rate: float) -> Fraction:
    """The frame rate that a decimal number means: 23.976 and 23.98 are 24000/1001, 29.97 is 30000/1001."""
    broadcast = Fraction(round(rate * 1.001) * 1000, 1001)
    if not rate.is_integer() and abs(rate - broadcast) < _LABEL:
        return broadcast
    return Fraction(rate).limit_denominator(1001)
