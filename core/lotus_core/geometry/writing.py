"""Files that belong together, written together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ..files import atomic_path


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write all files under temporary names; only when all are whole do they take their places, in the given order.

    Raises LotusError as `atomic_path` does: where one cannot be written, all old files stay as they were.
    """
    with ExitStack() as stack:
        for path, data in reversed(list(files.items())):  # a stack unwinds from its end
            stack.enter_context(atomic_path(path)).write_bytes(data)
