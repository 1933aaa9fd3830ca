"""Progress and cancellation: what every call that can take a second reports and polls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import Cancelled

Progress = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and a few words on what is being done now."""

Cancel = Callable[[], bool]
"""Polled between steps; returning True stops the work with `Cancelled`."""


def part(progress: Progress | None, index: int, count: int, label: str = "") -> Progress | None:
    """The progress of step `index` of `count` equal ones, as a Progress of its own."""
    if progress is None:
        return None
    prefix = f"{label}: " if label else ""
    return lambda fraction, text: progress((index + fraction) / count, prefix + text)


@contextmanager
def _callback() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.__dict__["from_lotus_callback"] = True
        raise


def came_from_callback(error: BaseException) -> bool:
    """Whether a progress or cancel callback raised it: a host's own shortage of memory is not the network's."""
    return "from_lotus_callback" in error.__dict__


class Steps:
    """Counts equal steps: each `begin` polls for cancellation and reports how far the steps before it have come."""

    def __init__(self, total: int, progress: Progress | None = None, cancel: Cancel | None = None) -> None:
        self._total = max(total, 1)
        self._progress = progress
        self._cancel = cancel
        self._begun = 0

    def begin(self, text: str, steps: int = 1) -> None:
        """Start the next `steps` steps. Raises Cancelled where the cancel callback says so."""
        with _callback():
            if self._cancel is not None and self._cancel():
                raise Cancelled
            if self._progress is not None:
                self._progress(min(self._begun / self._total, 1.0), text)
        self._begun += steps

    def more(self, steps: int) -> None:
        """There are so many more steps than was said: call it before the first `begin`, or the bar runs backwards."""
        self._total += steps

    def finish(self, text: str = "Done") -> None:
        """Report that everything is done."""
        if self._progress is not None:
            self._progress(1.0, text)
