"""The record of a batch: its journals, and the manifest made of them.

In the destination:

    lotus-batch.json                     the manifest: settings, and for every item its source's and its files' SHA-256
    .lotus-batch/settings.json           what the destination was begun with; other settings and weights are refused
    .lotus-batch/journal[-I-of-N].jsonl  a line for each finished or failed item
    .lotus-batch/staging/JOURNAL/ID/     the files of an item until its line is written
    .lotus-batch/clips/ID/               the raw frames of a clip in work

An item is finished at the moment its line is in the journal. Its files are whole by then, in staging; moving them to
their places comes after, and is taken up again by the next run where a kill came between. So no file of the
destination is ever half-written, nothing finished is done again, and nothing unfinished counts as finished.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from ..errors import LotusError
from ..files import atomic_path, json_text
from .claims import claim_destination, weights_of
from .items import Item, id_of
from .journal import Finished, append_line, drop_torn_line, read_lines
from .settings import Settings

MANIFEST = "lotus-batch.json"
_HIDDEN = ".lotus-batch"
_PATIENCE = 2.0  # seconds: other shards that begin hold a lock only while they delete what it guards


class Record:
    """The record of one run into `destination`; use as a context manager.

    shard: which (I, N) of the shards this run is; each has a journal of its own, and all are read. source: what the
    items are found in: those of it that are no longer found leave the manifest, those of others stay. claims: what the
    destination must agree on besides the settings; of shards for training, which use no models of the settings.

    Raises LotusError where the destination holds other settings, is being written by another run, or cannot be written.
    """

    def __init__(
        self,
        destination: Path,
        settings: Settings,
        shard: tuple[int, int] = (1, 1),
        source: str = "",
        claims: dict[str, Any] | None = None,
    ) -> None:
        self.destination, self.settings = destination, settings
        self._source, self._claims = source, claims
        self._weights: dict[str, str] = {}
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
            self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise LotusError(
                f"Another lotus batch is writing into {self.destination}: wait for it, or stop it."
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(f"Cannot write into {self.destination}: {reason}; choose another folder.") from error
        try:
            self._weights = claim_destination(self.destination, self.hidden, self._options(), self._used_weights())
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
            if known is None or not known.stamp.still_of(item) or not self._is_settled(item, known, retry):
                yield item

    def failures(self, items: Sequence[Item]) -> dict[str, str]:
        """Key → reason of the items that failed."""
        known = ((item.key, self._items.get(item.key)) for item in items)
        return {key: found.reason for key, found in known if found is not None and found.reason is not None}

    def _is_settled(self, item: Item, known: Finished, retry: bool) -> bool:
        if known.reason is not None:
            return not retry
        # By their names, which change where a file of the same name and another suffix comes or goes.
        ours = re.compile(rf"{re.escape(item.output)}([/_].*)?", re.DOTALL)
        return bool(known.files) and all(ours.fullmatch(f) and (self.destination / f).is_file() for f in known.files)

    def _is_gone(self, known: Finished, found: Collection[str]) -> bool:
        """Whether an item was among the pictures of this source, and is no more. found: the keys of those that are."""
        return known.key not in found and bool(known.source) and known.source == self._source

    def _options(self) -> dict[str, Any]:
        return {**self.settings.deciding(), **(self._claims or {})}

    def _used_weights(self) -> dict[str, str]:
        return weights_of(self.settings) if self._claims is None else {}

    # -- writing ---------------------------------------------------------------------------------------------------

    def begin(self, **facts: Any) -> None:
        """Note in the journal that a run begins."""
        append_line(self._journal, {"run": facts})

    def finish(self, finished: Finished) -> None:
        """Enter an item: from here on it is done, whatever happens."""
        finished.source = self._source
        append_line(self._journal, finished.to_json())
        self._enter(finished)
        self._move(finished, self.staging / finished.staging)
        shutil.rmtree(self.clips / id_of(finished.key), ignore_errors=True)

    def write_manifest(self, items: Sequence[Item]) -> Path:
        """Write `lotus-batch.json` from all journals. The same items give the same bytes, whoever made them when.

        items: all of the source, of every shard.
        """
        # Else a shard that ends at the same time could write an older list over this one.
        with self._lock_of("manifest"):
            return self._write_manifest(items)

    def _write_manifest(self, items: Sequence[Item]) -> Path:
        from ..cli.record import versions

        self._read()
        found = {item.key for item in items}
        known = {key: entry for key, entry in sorted(self._items.items()) if not self._is_gone(entry, found)}
        done = {key: entry for key, entry in known.items() if entry.reason is None}
        failed = {key: entry.reason for key, entry in known.items() if entry.reason is not None}
        with suppress(LotusError):  # a model that was fetched in this run is known by now
            self._weights = {**self._used_weights(), **self._weights}
        table = {
            "format": 1,
            "versions": versions(),
            "settings": self._options(),
            "weights": self._weights,
            "items": {
                key: {
                    "sha256": entry.stamp.sha256,
                    **entry.facts,
                    "files": dict(sorted(entry.files.items())),
                }
                for key, entry in done.items()
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

    def delete_gone(self, items: Sequence[Item]) -> None:
        """Delete the results of what the source no longer has. items: all that it has, of every shard."""
        found = {item.key for item in items}
        gone = [entry for entry in self._items.values() if self._is_gone(entry, found)]
        kept = [entry for entry in self._items.values() if not self._is_gone(entry, found)]
        with self._writing():
            self._delete({file for entry in gone for file in (*entry.files, *entry.former)}, kept)

    def _enter(self, finished: Finished) -> None:
        known = self._items.get(finished.key)
        if known is not None:
            finished.former = frozenset(known.files) if known.reason is None else known.former
        self._items[finished.key] = finished

    def _move(self, finished: Finished, folder: Path) -> None:
        """Files of a finished item from its staging folder to their places; those that are there already stay, those of
        the entry before that it lacks are deleted."""
        if not finished.staging:
            return
        with self._writing():
            for file in sorted(finished.files):
                target = self.destination / file
                target.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    os.replace(folder / file.rpartition("/")[2], target)
            self._delete(finished.former, self._items.values())
        shutil.rmtree(folder, ignore_errors=True)

    def _delete(self, files: Collection[str], kept: Iterable[Finished]) -> None:
        """Delete files of the destination but those of `kept`."""
        if files:
            for file in sorted({*files}.difference(*(entry.files for entry in kept))):
                (self.destination / file).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(f"Cannot write into {self.destination}: {reason}; free it and run again.") from error

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take in all journals, and complete what a kill left between its line and its places."""
        drop_torn_line(self._journal)
        lines = [line for path in sorted(self.hidden.glob("journal*.jsonl")) for line in read_lines(path)]
        self._items = {}
        for finished in sorted(lines, key=lambda line: line.at):
            self._enter(finished)
        owners = {found.staging: found for found in self._items.values()}
        for folder in self.staging.parent.glob("*/*"):
            if folder.name in owners:
                self._move(owners[folder.name], folder)

    def _clear(self) -> None:
        """Delete what killed runs had begun, this shard's and those of others that are not running."""
        for folder in self.staging.parent.iterdir():
            if not any(folder.iterdir()):
                continue
            lock = self._lock if folder == self.staging else self._lock_of(folder.name)
            try:
                with lock.acquire(timeout=0):
                    for begun in folder.iterdir():
                        shutil.rmtree(begun, ignore_errors=True)
            except Timeout:
                continue

    def _lock_of(self, name: str) -> FileLock:
        return FileLock(self.hidden / f"{name}.lock")
