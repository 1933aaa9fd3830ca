"""One run of a batch: find what is to do, do it, say what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LotusError
from .clips import OnFrame
from .items import Item, find_items
from .journal import Finished
from .local import run_local
from .manifest import Record
from .pipeline import Limits
from .ray_engine import Cluster, run_ray
from .settings import Settings
from .sharding import of_shard
from .shards import find_shards

OnStart = Callable[[int, int], None]
"""(items to do, items that were done before)"""


@dataclass(frozen=True)
class Plan:
    """What to run. cluster: None for the local engine. threads: of torch, None for its own choice.
    shards: which of `shards.KINDS` to make of the training config that `source` is, None for maps."""

    source: str
    destination: Path
    settings: Settings
    limits: Limits
    cluster: Cluster | None = None
    shard: tuple[int, int] = (1, 1)
    sequences: bool = True
    retry: bool = False
    threads: int | None = None
    shards: str | None = None


@dataclass(frozen=True)
class Summary:
    """What became of it. failures: key → reason, also of earlier runs. ignored: files that are no pictures.
    gaps: key of a sequence → how many frames are missing in its midst, and the first of them."""

    done: int
    before: int
    failures: dict[str, str]
    ignored: int
    manifest: Path
    seconds: float
    gaps: dict[str, tuple[int, int]]


def run(
    plan: Plan,
    on_start: OnStart | None = None,
    on_item: Callable[[Finished], None] | None = None,
    on_frame: OnFrame | None = None,
) -> Summary:
    """Run to the end; on any error what is finished stays finished, and the manifest says so. Raises LotusError."""
    start = time.perf_counter()
    ignored, claims = 0, None
    if plan.shards:
        found, claims = find_shards(plan.source, plan.shards)
        source = "data"  # of whichever config: by the claims, all that a destination holds is of the same
    else:
        found, ignored = find_items(plan.source, plan.destination, plan.sequences)
        source = str(Path(plan.source).expanduser().absolute())
    items = of_shard(found, plan.shard)
    done = 0
    with Record(plan.destination, plan.settings, plan.shard, source, claims) as record:
        if plan.shards:
            record.delete_gone(found)  # those of data that was smaller would be read as well
        todo = list(record.open_items(items, plan.retry))
        record.forget_clips(items, todo)
        record.begin(engine="ray" if plan.cluster else "local", items=len(items), todo=len(todo))
        if on_start is not None:
            on_start(len(todo), len(items) - len(todo))
        try:
            for finished in _engine(plan, todo, record, on_frame):
                done += finished.reason is None
                if on_item is not None:
                    on_item(finished)
        finally:
            manifest = record.write_manifest(found)
        return Summary(
            done,
            len(items) - len(todo),
            record.failures(items),
            ignored,
            manifest,
            time.perf_counter() - start,
            {item.key: gap for item in items if (gap := item.missing)[0]},
        )


def _engine(plan: Plan, todo: list[Item], record: Record, on_frame: OnFrame | None) -> Iterator[Finished]:
    if not todo:
        return iter(())
    if plan.cluster is not None:
        return run_ray(todo, record, plan.settings, plan.limits, plan.cluster, plan.threads)
    if plan.threads is not None:
        import torch

        torch.set_num_threads(plan.threads)
    return run_local(todo, record, plan.settings, plan.limits, on_frame)


def check_destination(source: str, destination: Path) -> None:
    """Raise LotusError for a destination that is a file, or the source itself."""
    if destination.is_file():
        raise LotusError(f"{destination} is a file: name a folder for the results.")
    if Path(source).expanduser().is_dir() and Path(source).expanduser().resolve() == destination.resolve():
        raise LotusError("The results would lie among the pictures: choose another folder for them.")
