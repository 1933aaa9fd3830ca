"""What the commands show while they work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..progress import Progress


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr for the Progress callback; None (report nothing) with `quiet` or where stderr is no terminal.

    The bar vanishes at the end, so that what stays on the screen is the result.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    form = "{percentage:3.0f}%|{bar:24}| {elapsed} {desc}"
    with tqdm(total=1.0, leave=False, bar_format=form, dynamic_ncols=True, file=sys.stderr) as bar:

        def report(fraction: float, text: str) -> None:
            bar.n = min(fraction, 1.0)
            bar.set_description_str(text)

        report(0.0, "starting")  # importing torch alone takes seconds
        yield report


def silent(fraction: float, text: str) -> None:
    """Progress that nobody is to see: --quiet, or no terminal."""


def complain(reason: object) -> None:
    """One line on stderr, whatever the reason looks like."""
    print("lotus:", " ".join(str(reason).split()), file=sys.stderr)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns, the first row being the heading."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self._start:.1f} s"
