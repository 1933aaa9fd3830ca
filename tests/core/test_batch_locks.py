"""Shards of one destination that begin or end at the same moment."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from filelock import FileLock

from lotus_core.batch.items import Item
from lotus_core.batch.journal import Finished
from lotus_core.batch.manifest import Record
from lotus_core.batch.reading import Stamp
from lotus_core.batch.settings import Settings


def test_a_shard_begins_while_another_one_tidies_up(tmp_path: Path) -> None:
    """Which holds its lock for that moment."""
    with Record(tmp_path, Settings(), (2, 2)):
        held = FileLock(tmp_path / ".lotus-batch" / "journal-1-of-2.lock", thread_local=False)
        held.acquire()
        threading.Timer(0.3, held.release).start()
        start = time.monotonic()
        with Record(tmp_path, Settings(), (1, 2)):
            assert 0.2 < time.monotonic() - start < 2


def test_the_last_manifest_has_what_every_shard_finished(tmp_path: Path) -> None:
    items = [Item(f"p{number}.png", "still", (f"p{number}.png",), f"p{number}") for number in range(2)]
    with Record(tmp_path, Settings(), (1, 2)) as first, Record(tmp_path, Settings(), (2, 2)) as second:
        first.finish(Finished(items[0].key, Stamp.missing()))
        with FileLock(tmp_path / ".lotus-batch" / "manifest.lock"):  # as another shard that writes its own
            writing = threading.Thread(target=first.write_manifest, args=(items,))
            writing.start()
            time.sleep(0.3)
            second.finish(Finished(items[1].key, Stamp.missing()))
        writing.join()
    written = json.loads((tmp_path / "lotus-batch.json").read_text())
    assert sorted(written["items"]) == ["p0.png", "p1.png"]
