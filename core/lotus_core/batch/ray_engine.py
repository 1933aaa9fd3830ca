"""The engine for a Ray cluster: Ray Data over a pool of actors, each with the models loaded.

Actors write into the destination's staging folder, which must be on a disk that all machines see, and send back what
they finished; this process alone enters it into the journal. An actor that dies is replaced, and its chunk is done
again; what other chunks finished stays.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LotusError
from .items import Item
from .journal import Finished
from .manifest import Record
from .pipeline import Limits
from .reading import Stamp, stamp
from .settings import Settings

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True)
class Cluster:
    """Where and how to run.

    address: of a Ray cluster ("auto" for the one this machine belongs to), None for a Ray of our own on this machine,
    which listens on localhost only. workers: actors; cpus and gpus: of each, fractions of a GPU let several share one.
    chunk: items that an actor gets at once, and that are lost with it. retries: of a chunk whose actor died.
    """

    address: str | None = None
    workers: int = 2
    cpus: float = 1
    gpus: float = 0
    chunk: int = 16
    retries: int = 3


def run_ray(
    items: Sequence[Item], record: Record, settings: Settings, limits: Limits, cluster: Cluster, threads: int | None
) -> Iterator[Finished]:
    """Work on `items` and enter each into the record as it comes back. Raises LotusError where nothing can go on.

    threads: of torch in each actor; None for one for each of its CPUs.
    """
    ray = require_ray()
    begun = _connect(ray, cluster)
    try:
        yield from _run(ray, items, record, settings, limits, cluster, threads or max(1, int(cluster.cpus)))
    finally:
        if begun:
            ray.shutdown()


def require_ray() -> Any:
    """Ray with Ray Data. Raises LotusError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # sends nothing anywhere
    try:
        import ray
        import ray.data
    except ImportError:
        raise LotusError("--engine ray needs Ray: pip install 'ray[data]'.") from None
    return ray


def _connect(ray: Any, cluster: Cluster) -> bool:
    """Connect, unless the process is connected; returns whether it was done here."""
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": True}
    try:
        if cluster.address is not None:
            ray.init(address=cluster.address, **quiet)
        else:
            # Ray's workers are nice to others by 15 steps, which on a busy machine leaves them nearly nothing.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ray.init(
                num_cpus=max(1, round(cluster.workers * cluster.cpus)) + 1,  # one for Ray Data's own tasks
                include_dashboard=False,
                _node_ip_address=LOCALHOST,
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LotusError(f"No Ray cluster answers at {cluster.address or LOCALHOST}: {error}") from None
    return True


def _run(
    ray: Any,
    items: Sequence[Item],
    record: Record,
    settings: Settings,
    limits: Limits,
    cluster: Cluster,
    threads: int,
) -> Iterator[Finished]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"item": json.dumps(item.to_json())} for item in items]
    chunks = max(1, -(-len(rows) // cluster.chunk))
    arguments = {
        "settings": settings.to_json(),
        "staging": str(record.staging.absolute()),
        "clips": str(record.clips.absolute()),
        "limits": (limits.threads, limits.bytes),
        "threads": threads,
        "retries": cluster.retries,
    }
    shutil.rmtree(_attempts(record.staging), ignore_errors=True)  # those of an earlier run
    results = (
        ray.data.from_items(rows, override_num_blocks=chunks)
        .map_batches(
            ChunkWorker,
            fn_constructor_kwargs=arguments,
            batch_size=None,  # a block is a chunk
            batch_format="pandas",
            compute=ray.data.ActorPoolStrategy(size=cluster.workers),  # which replaces actors that die
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
        )
        .iter_rows()
    )
    try:
        for row in results:
            finished = _from_row(row["finished"])
            if finished.reason is not None and finished.trace.get("fatal"):
                raise LotusError(finished.reason)
            record.finish(finished)
            yield finished
    except ray.exceptions.RayError as error:
        cause = str(error).strip().splitlines()[-1]
        raise LotusError(f"The Ray workers could not go on ({cause}); run the command again to resume.") from error


class ChunkWorker:
    """An actor: loads the models once, then works on one chunk after another with the local engine."""

    def __init__(
        self,
        settings: dict[str, Any],
        staging: str,
        clips: str,
        limits: tuple[int, int],
        threads: int,
        retries: int,
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._settings = Settings.from_json(settings)
        self._staging, self._clips, self._limits = Path(staging), Path(clips), Limits(*limits)
        self._retries = retries
        self._loaded: Any = None

    def __call__(self, chunk: Any) -> Any:
        """A table of items → a table of what became of them."""
        import pandas as pd

        items = [Item.from_json(json.loads(text)) for text in chunk["item"]]
        return pd.DataFrame({"finished": [json.dumps(line) for line in self._work(items)]})

    def _work(self, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
        from .local import process

        if self._died_often(items):
            for item in items:
                reason = (
                    f"The worker died {self._retries + 1} times on this file or one of the {len(items)} files it was"
                    " given with it: find it with --retry --chunk 1, or give workers more memory."
                )
                yield Finished(item.key, stamp(item), reason=reason).to_json()
            return
        try:
            for finished in process(items, self._predictors, self._settings, self._staging, self._clips, self._limits):
                yield {**finished.to_json(), **finished.trace}
        except LotusError as error:  # no disk, no model: nobody can go on, and a retry would not help
            stopped = Finished("", Stamp.missing(), reason=str(error), trace={"fatal": True})
            yield stopped.to_json()

    def _died_often(self, items: Sequence[Item]) -> bool:
        """Note that work on a chunk begins; whether it has begun, and not ended, too often already."""
        folder = _attempts(self._staging)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / items[0].id, "a+", encoding="utf-8") as file:
            file.seek(0)
            begun = len(file.readlines())
            file.write(json.dumps({"worker": os.getpid(), "keys": [item.key for item in items]}) + "\n")
        return begun > self._retries

    def _predictors(self) -> Any:
        from .local import load_predictors

        self._loaded = self._loaded or load_predictors(self._settings)
        return self._loaded


def _from_row(text: str) -> Finished:
    line = json.loads(text)
    finished = Finished.from_json(line)
    finished.trace = {name: line[name] for name in ("seconds", "worker", "fatal") if name in line}
    return finished


def _attempts(staging: Path) -> Path:
    """A file for each chunk with a line for each time that work on it began."""
    return staging.parent.parent / "attempts"
