"""Checks of what callers hand over: one sentence instead of an error from the depths."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from .errors import LotusError


def check_whole(name: str, value: Any, least: int | None = None) -> None:
    """Raise LotusError unless `value` is a whole number (an int, or one of numpy's) of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or (least is not None and int(value) < least):
        bound = "" if least is None else f" of at least {least}"
        raise LotusError(f"{name} is a whole number{bound}, not {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Raise LotusError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise LotusError(f"{name} is True or False, not {value!r}.")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise LotusError unless `value` is one of `choices`."""
    if value not in choices:
        raise LotusError(f"{name} is one of {', '.join(choices)}, not {value!r}.")
