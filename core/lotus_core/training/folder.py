"""The folder of a run belongs to one training at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator

from ..files import exclusive


def only_run_in(folder: str, accelerator: Accelerator) -> AbstractContextManager[None]:
    """Inside, no other training may use `folder`, which is made where it is missing. The processes of one run share it.

    Raises LotusError where another training uses it, or it cannot be made.
    """
    if not accelerator.is_main_process:
        return nullcontext()
    return exclusive(
        folder, f"Another lotus train is running in {folder}: wait for it or stop it, or give [output] another dir."
    )
