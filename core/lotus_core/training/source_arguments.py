"""The arguments of a data source in a config: names, types and ranges are checked, mistakes are named."""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import LotusError
from .config import SourceConfig

VARIATIONS = ("vary", "frame")
"""Arguments that every source takes, for `Varied`."""

_LEAST = {"height": 1, "width": 1, "count": 0, "seed": 0}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def source_arguments(config: SourceConfig, cls: Callable[..., Any]) -> dict[str, Any]:
    """What to call a source's class with. Raises LotusError for arguments that it does not have, or not so."""
    parameters = inspect.signature(cls).parameters
    hints = typing.get_type_hints(cls.__init__)
    given = {key: value for key, value in config.args.items() if key not in VARIATIONS}
    arguments: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    for key, value in arguments.items():
        if key not in parameters:
            near = difflib.get_close_matches(key, [*parameters, "probability", "path", *VARIATIONS], n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(parameters)}."
            raise LotusError(f'The data source "{config.name}" has no argument {key}; {hint}')
        if not _fits(hints[key], value):
            shown = list(value) if isinstance(value, tuple) else value
            raise LotusError(f'{key} of the data source "{config.name}" is {shown!r}: it takes {_words(hints[key])}.')
        if key in _LEAST and value < _LEAST[key]:
            raise LotusError(f'{key} of the data source "{config.name}" is {value}: it must be ≥ {_LEAST[key]}.')
    if config.path:
        arguments[next(iter(parameters))] = config.path  # every class that reads files takes their folder first
    return arguments


def variations(config: SourceConfig) -> tuple[int, float]:
    """Seed of a source's variations, 0 for none, and the share of its pictures that get a border."""
    seed = config.args.get("vary", 0)
    if not _fits(int, seed) or seed < 0:
        raise LotusError(f"vary is the seed of a source's variations, a whole number; 0 for none. It is {seed!r}.")
    frame = config.args.get("frame", 0.0)
    if not _fits(float, frame) or not 0 <= frame <= 1:
        raise LotusError(f"frame is the share of a source's pictures that get a border, 0 to 1. It is {frame!r}.")
    return seed, frame


def _fits(hint: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    if typing.get_origin(hint) is types.UnionType:
        return any(_fits(one, value) for one in typing.get_args(hint))
    if typing.get_origin(hint) is Sequence:
        return isinstance(value, tuple) and all(_fits(typing.get_args(hint)[0], item) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is types.UnionType:
        return " or ".join(dict.fromkeys(_words(one) for one in typing.get_args(hint) if one is not types.NoneType))
    if typing.get_origin(hint) is Sequence:
        return f"a list, each item {_words(typing.get_args(hint)[0])}"
    return _WORDS.get(hint, "text")
