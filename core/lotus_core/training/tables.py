"""TOML tables as dataclasses: names and types are checked, mistakes are named."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from typing import Any, Literal, TypeVar

from ..errors import LotusError

T = TypeVar("T")


def from_table(cls: type[T], table: Any, section: str = "") -> T:
    """A parsed TOML table as the dataclass `cls`, nested ones too; `section` is its name in messages.

    A class with `REST = "field"` takes the keys it does not know into that dict field. Raises LotusError, one sentence
    that names the key, for unknown, missing and mistyped keys.
    """
    where = f"[{section}]" if section else "the training config"
    if not isinstance(table, dict):
        raise LotusError(f"{where} must be a table of keys, not {table!r}.")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    table = dict(table)
    rest = getattr(cls, "REST", None)
    if rest is not None:
        table[rest] = {key: table.pop(key) for key in list(table) if key not in known or key == rest}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}."
            raise LotusError(f"Unknown key {key} in {where}; {hint}")
    values = {key: _value(hints[key], value, f"{section}.{key}" if section else key) for key, value in table.items()}
    missing = [
        f.name
        for f in known.values()
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise LotusError(f"{where} lacks {', '.join(missing)}.")
    return cls(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, name)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise LotusError(f"{name} must be a list, not {value!r}.")
        return tuple(_value(arguments[0], item, name) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise LotusError(f"{name} = {value!r} is not one of {', '.join(map(repr, arguments))}.")
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise LotusError(f"{name} = {value} is not a finite number.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kinds = arguments if origin is types.UnionType else (dict if origin is dict else hint,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise LotusError(f"{name} = {value!r} has the wrong type: {names} is expected.")
    return value
