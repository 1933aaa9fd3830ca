"""Results never take the place of what a command reads, nor of another program's files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import LotusError
from ..files import json_or_nothing, same_file


def check_inputs_stay(written: Iterable[Path], inputs: Iterable[str | Path]) -> None:
    """Raise LotusError where a file that a command is about to write is one that it reads."""
    given = [Path(path) for path in inputs]
    for file in written:
        if any(same_file(file, path) for path in given):
            raise LotusError(f"Cannot write {file}: it is one of the inputs; choose another place with -o.")


def check_record_is_ours(path: Path) -> None:
    """Raise LotusError where there is a file `path` that is not one of our records: annotation tools and photo exports
    keep theirs under the same name, `<photo>.json`."""
    if path.is_file() and "lotus-geometry" not in (json_or_nothing(path).get("versions") or {}):
        raise LotusError(f"Cannot write {path}: the file there is no record of Lotus's; choose another place with -o.")
