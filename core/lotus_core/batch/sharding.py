"""Which part of a batch a job of an array does."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import LotusError
from .items import Item


def parse_shard(text: str) -> tuple[int, int]:
    """ "3/8" → (3, 8). Raises LotusError."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise LotusError(f"--shard is I/N with I from 1 to N, as in 3/8, not {text!r}.")
    return int(number), int(count)


def of_shard(items: Iterable[Item], shard: tuple[int, int]) -> list[Item]:
    """The items of a shard, told by their keys alone: no two shards share one, and all together have all."""
    return [item for item in items if item.in_shard(*shard)]
