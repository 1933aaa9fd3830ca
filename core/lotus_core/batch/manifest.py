"""The record of a batch: a journal that is only ever appended to, and the manifest made of it.

In the destination:

    lotus-batch.json                     the manifest: settings, and for every item its source's and its files' SHA-256
    .lotus-batch/settings.json           what the destination was begun with; other settings are refused
    .lotus-batch/journal[-I-of-N].jsonl  a line for each finished or failed item, flushed to the disk
    .lotus-batch/staging/JOURNAL/ID/     the files of an item until its line is written
    .lotus-batch/clips/ID/               the raw frames of a clip in work

An item is finished at the moment its line is in the journal. Its files are whole by then, in staging; moving them to
their places comes after, and is taken up again by the next run where a kill came between. So no file of the
destination is ever half-written, nothing finished is done again, and nothing unfinished counts as finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ..errors import LotusError
from ..files import atomic_path, claim, json_text
from .items import Item, id_of
from .reading import Stamp
from .settings import Settings

MANIFEST = "lotus-batch.json"
_HIDDEN = ".lotus-batch"


@dataclass
class Finished:
    """What is known of an item that was worked on.

    facts: for the manifest; the same wherever the item was made. trace: for the journal: worker, seconds. at: when.
    files: path relative to the destination → SHA-256. reason: why it failed, None where it did not.
    """

    key: str
    stamp: Stamp
    staging: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    trace: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    at: float = field(default_factory=lambda: round(time.time(), 3))

    def to_json(self) -> dict[str, Any]:
        kind = "done" if self.reason is None else "failed"
        line: dict[str, Any] = {kind: self.key, "at": self.at, "source": self.stamp.to_json()}
        if self.reason is not None:
            return {**line, "reason": self.reason, **self.trace}
        return {**line, "facts": self.facts, "files": self.files, "staging": self.staging, **self.trace}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Finished:
        key = line["done"] if "done" in line else line["failed"]
        finished = cls(key, Stamp(**line["source"]), reason=line.get("reason"), at=line["at"])
        if "done" in line:
            finished.facts, finished.files, finished.staging = line["facts"], line["files"], line["staging"]
        return finished


class Record:
    """The record of one run into `destination`; use as a context manager.

    shard: which (I, N) of the shards this run is; each has a journal of its own, and all are read.

    Raises LotusError where the destination holds other settings, is being written by another run, or cannot be written.
    """

    def __init__(self, destination: Path, settings: Settings, shard: tuple[int, int] = (1, 1)) -> None:
        self.destination, self.settings = destination, settings
        self.hidden = destination / _HIDDEN
        name = "journal" if shard == (1, 1) else f"journal-{shard[0]}-of-{shard[1]}"
        self.staging, self.clips = self.hidden / "staging" / name, self.hidden / "clips"
        self._journal = self.hidden / f"{name}.jsonl"
        self._lock = self._lock_of(name)
        self._items: dict[str, Finished] = {}

    def __enter__(self) -> Record:
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
            self.clips.mkdir(exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LotusError(
                f"Another lotus batch is writing into {self.destination}: wait for it, or stop it."
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(f"Cannot write into {self.destination}: {reason}; choose another folder.") from error
        try:
            claim(
                self.hidden / "settings.json",
                self.settings.deciding(),
                f"{self.destination} holds a batch",
                "choose another folder, or the same options",
                self.hidden,
            )
            self._read()
            self._clear()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    # -- what is done ----------------------------------------------------------------------------------------------

    def open_items(self, items: Sequence[Item], retry: bool = False) -> Iterator[Item]:
        """Those that are still to be done: not in the record, changed since, with missing files, or failed where
        `retry` asks for those again."""
        for item in items:
            known = self._items.get(item.key)
            if known is None or not known.stamp.still_of(item.files) or not self._is_settled(item, known, retry):
                yield item

    def failures(self, items: Sequence[Item]) -> dict[str, str]:
        """Key → reason of the items that failed."""
        known = ((item.key, self._items.get(item.key)) for item in items)
        return {key: found.reason for key, found in known if found is not None and found.reason is not None}

    def _is_settled(self, item: Item, known: Finished, retry: bool) -> bool:
        if known.reason is not None:
            return not retry
        return bool(known.files) and all(
            file.startswith(item.output) and (self.destination / file).is_file() for file in known.files
        )

    # -- writing ---------------------------------------------------------------------------------------------------

    def begin(self, **facts: Any) -> None:
        """Note in the journal that a run begins."""
        self._append({"run": facts})

    def finish(self, finished: Finished) -> None:
        """Enter an item: from here on it is done, whatever happens."""
        self._append(finished.to_json())
        self._items[finished.key] = finished
        self._move(finished, self.staging / finished.staging)
        shutil.rmtree(self.clips / id_of(finished.key), ignore_errors=True)

    def write_manifest(self) -> Path:
        """Write `lotus-batch.json` from all journals. The same items give the same bytes, whoever made them when."""
        from ..cli.record import versions

        self._read()
        done = {key: found for key, found in sorted(self._items.items()) if found.reason is None}
        failed = {key: found.reason for key, found in sorted(self._items.items()) if found.reason is not None}
        table = {
            "format": 1,
            "versions": versions(),
            "settings": self.settings.deciding(),
            "items": {
                key: {
                    "sha256": found.stamp.sha256,
                    **found.facts,
                    "files": dict(sorted(found.files.items())),
                }
                for key, found in done.items()
            },
            "failed": failed,
        }
        path = self.destination / MANIFEST
        with atomic_path(path) as temporary:
            temporary.write_text(json_text(table, indent=1) + "\n", encoding="utf-8")
        return path

    def forget_clips(self, items: Sequence[Item], todo: Sequence[Item]) -> None:
        """Delete the raw frames of clips that need no more work."""
        still = {item.id for item in todo}
        for item in items:
            if item.kind != "still" and item.id not in still:
                shutil.rmtree(self.clips / item.id, ignore_errors=True)

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with open(self._journal, "ab") as file:
                file.write(json_text(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LotusError(f"Cannot write {self._journal}: {error.strerror or error}; free some space.") from error

    def _move(self, finished: Finished, folder: Path) -> None:
        """Files of a finished item from its staging folder to their places; those that are there already stay."""
        if not finished.staging:
            return
        try:
            for file in sorted(finished.files):
                target = self.destination / file
                target.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    os.replace(folder / file.rpartition("/")[2], target)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(f"Cannot write into {self.destination}: {reason}; free it and run again.") from error
        shutil.rmtree(folder, ignore_errors=True)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take in all journals, and complete what a kill left between its line and its places."""
        _drop_torn_line(self._journal)
        for journal in sorted(self.hidden.glob("journal*.jsonl")):
            for line in _lines(journal):
                if "run" not in line:
                    finished = Finished.from_json(line)
                    known = self._items.get(finished.key)
                    if known is None or finished.at >= known.at:
                        self._items[finished.key] = finished
        owners = {found.staging: found for found in self._items.values()}
        for folder in self.staging.parent.glob("*/*"):
            if folder.name in owners:
                self._move(owners[folder.name], folder)

    def _clear(self) -> None:
        """Delete what killed runs had begun, this shard's and those of others that are not running."""
        for folder in self.staging.parent.iterdir():
            lock = self._lock if folder == self.staging else self._lock_of(folder.name)
            try:
                with lock.acquire(timeout=0):
                    for begun in folder.iterdir():
                        shutil.rmtree(begun, ignore_errors=True)
            except Timeout:
                continue

    def _lock_of(self, name: str) -> FileLock:
        return FileLock(self.hidden / f"{name}.lock")


def staged_hashes(folder: Path, parent: str) -> dict[str, str]:
    """Files of a staging folder by the path they will have in the destination, below `parent` ("" for the top)."""
    found = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[f"{parent}/{path.name}" if parent not in ("", ".") else path.name] = digest
    return found


def _drop_torn_line(path: Path) -> None:
    """Cut off what a kill left behind the last whole line, so that the next line begins on its own."""
    if not path.is_file():
        return
    with open(path, "rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for text in file:
            if text.endswith("\n"):  # another shard's journal may be in the middle of a line
                yield json.loads(text)
