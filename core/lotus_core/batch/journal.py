"""The journal of a batch: a line for each finished or failed item, only ever appended to and flushed to the disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LotusError
from ..files import json_text
from .reading import Stamp


@dataclass
class Finished:
    """What is known of an item that was worked on.

    facts: for the manifest; the same wherever the item was made. trace: for the journal: worker, seconds. at: when.
    files: path relative to the destination → SHA-256. reason: why it failed, None where it did not. source: of which
    run's pictures it is, empty where an older version wrote the line. former: files of the entry before, which this one
    replaces.
    """

    key: str
    stamp: Stamp
    staging: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    trace: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    at: float = field(default_factory=lambda: round(time.time(), 3))
    source: str = ""
    former: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        kind = "done" if self.reason is None else "failed"
        line: dict[str, Any] = {kind: self.key, "at": self.at, "source": self.stamp.to_json()}
        if self.source:
            line["from"] = self.source
        if self.reason is not None:
            return {**line, "reason": self.reason, **self.trace}
        return {**line, "facts": self.facts, "files": self.files, "staging": self.staging, **self.trace}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Finished:
        key = line["done"] if "done" in line else line["failed"]
        stamp = Stamp.from_json(line["source"])
        finished = cls(key, stamp, reason=line.get("reason"), at=line["at"], source=line.get("from", ""))
        if "done" in line:
            finished.facts, finished.files, finished.staging = line["facts"], line["files"], line["staging"]
        return finished


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Returns when the line is on the disk. Raises LotusError where it cannot be written."""
    try:
        with open(path, "ab") as file:
            file.write(json_text(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LotusError(f"Cannot write {path}: {error.strerror or error}; free some space.") from error


def drop_torn_line(path: Path) -> None:
    """Cut off what a kill left behind the last whole line, so that the next line begins on its own."""
    if not path.is_file():
        return
    with open(path, "rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def read_lines(path: Path) -> Iterator[Finished]:
    """What the whole lines tell of items."""
    with open(path, encoding="utf-8") as file:
        for text in file:
            if not text.endswith("\n"):  # another shard's journal may be in the middle of a line
                return
            line = json.loads(text)
            if "run" not in line:
                yield Finished.from_json(line)
