"""The folder of a run belongs to one training at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from filelock import FileLock, Timeout

from ..errors import LotusError


@contextmanager
def only_run_in(folder: str, accelerator: Accelerator) -> Iterator[None]:
    """Inside, no other training may use `folder`, which is made where it is missing. The processes of one run share it.

    Raises LotusError where another training uses it, or it cannot be made.
    """
    if not accelerator.is_main_process:
        yield
        return
    lock = FileLock(Path(folder) / ".lock")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise LotusError(
            f"Another lotus train is running in {folder}: wait for it or stop it, or give [output] another dir."
        ) from None
    except OSError as error:
        raise LotusError(f"Cannot create the run's folder {folder}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
