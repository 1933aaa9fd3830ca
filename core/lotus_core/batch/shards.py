"""Shards for training made by `lotus batch CONFIG DST --task latents|samples`: each shard is one item of the batch.

latents: what the frozen autoencoder makes of every sample, for `[data] latents`. samples: the samples themselves, of
any source of the config, for sources of the name "cache", which are read shard after shard.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import LotusError
from .blame import no_fault_of_the_item, reason_of
from .items import Item
from .journal import Finished
from .reading import stamp
from .sinks import staged, staged_hashes

KINDS = ("latents", "samples")


def find_shards(config: str, kind: str) -> tuple[list[Item], dict[str, Any]]:
    """The shards of a training config's sources, and what a destination must agree on to hold them.

    Raises LotusError for configs that cannot be used, and data that cannot be read.
    """
    from ..training import require_accelerate

    require_accelerate()
    from ..data.cache import SHARD as SAMPLES
    from ..data.fingerprint import content_fingerprint
    from ..training.checks import placeless
    from ..training.latents import shard_name, shard_spans

    _job.cache_clear()  # the data may have changed
    job = _job(config)
    file = str(Path(config).absolute())
    encoding = job.encoding() if kind == "latents" else {}
    items, claims = [], {"task": kind, **encoding}
    for source, (data, table) in enumerate(zip(job.items.sources, job.run.data.sources, strict=True)):
        if kind == "latents":
            spans = [(first, last, shard_name(source, first, last)) for first, last in shard_spans(len(data))]
        else:
            firsts = range(0, len(data), SAMPLES)
            ends = [(first, min(first + SAMPLES, len(data))) for first in firsts]
            spans = [(a, b, f"source-{source}/scenes-{a:07d}-{b:07d}.safetensors") for a, b in ends]
        words = {"name": table.name, **placeless(table.args)}
        # All of a source's shards belong to one state of it. Where it lies does not decide what is in them.
        content = _digest({**encoding, "source": words, "samples": len(data), "content": content_fingerprint(data)})
        items += [
            Item(name, kind, (file,), name, (source, first, last), content)  # type: ignore[arg-type]
            for first, last, name in spans
        ]
        path = {"path": str(Path(table.path).absolute())} if table.path else {}
        claims[f"source-{source}"] = {"name": table.name, **path, **table.args}
    return items, claims


def process_shards(items: Sequence[Item], staging: Path) -> Iterator[Finished]:
    """Make shards; one whose samples cannot be read comes back with the reason. Raises LotusError."""
    for item in items:
        start, identity = time.perf_counter(), stamp(item)
        with no_fault_of_the_item():
            job = _job(item.files[0])
            if item.kind == "latents":
                job.load_model()
        try:
            content = job.latents(*item.numbers) if item.kind == "latents" else job.samples(*item.numbers)
        except LotusError as error:
            yield Finished(item.key, identity, reason=reason_of(error))
            continue
        except SafetensorError as error:
            reason = f"A file of the data is damaged ({error}): make or copy it again."
            yield Finished(item.key, identity, reason=reason)
            continue
        name = Path(item.output)
        from ..checkpoints.writing import write_tensors

        with staged(staging) as folder:
            write_tensors(folder / name.name, *content)
            files = staged_hashes(folder, name.parent.as_posix())
        facts = {"kind": item.kind, "samples": item.numbers[2] - item.numbers[1]}
        trace = {"seconds": round(time.perf_counter() - start, 3), "worker": os.getpid()}
        yield Finished(item.key, identity, folder.name, facts, files, trace)


class _Job:
    """The sources and, when latents are wanted, the autoencoder of a config."""

    def __init__(self, path: str) -> None:
        from ..training.config import RunConfig, load_config
        from ..training.sources import SampleItems, open_source

        run = load_config(path)
        if not isinstance(run, RunConfig):
            raise LotusError(f'{path} trains an autoencoder: shards are made for configs of kind = "lotus".')
        self.run = run
        sources = [open_source(source) for source in run.data.sources]
        self.items = SampleItems(sources, run.model.task, run.model.space, run.protocol.far_weight)
        self._model: Any = None

    def encoding(self) -> dict[str, Any]:
        """What decides latents besides the samples, by the names of the config's keys."""
        from ..checkpoints.identity import identify
        from ..checkpoints.registry import embedded

        name = self.run.model.autoencoder or self.run.model.base
        here = name in embedded() or Path(name).expanduser().exists()
        return {
            "model.task": self.run.model.task,
            "model.space": self.run.model.space,
            "model.autoencoder": identify(name)[1] if here else name,  # the hub's is not known before it is there
            "data.flip": self.run.data.flip,
            "protocol.far_weight": self.run.protocol.far_weight,
        }

    def load_model(self) -> None:
        import torch

        from ..training.base import build_model
        from ..training.latents import source_keys
        from ..training.loop import make_accelerator

        if self._model is None:
            accelerator = make_accelerator(self.run.optim)
            model = build_model(self.run, resolution=1).to(accelerator.device)  # which only checkpoints record
            if self.run.optim.channels_last:
                model.vae.to(memory_format=torch.channels_last)  # as the trainer has it
            self._model = model, accelerator, source_keys(self.items, model, self.run)

    def latents(self, source: int, first: int, last: int) -> tuple[dict[str, Any], dict[str, str]]:
        from ..training.latents import encoded_samples, stacked

        model, accelerator, keys = self._model
        samples = encoded_samples(self.items, model, accelerator, source, first, last, self.run.data.flip)
        return stacked(samples), {"key": keys[source]}

    def samples(self, source: int, first: int, last: int) -> tuple[dict[str, Any], dict[str, str]]:
        from ..data.cache import packed

        data = self.items.sources[source]
        words = {"source": str(self.run.data.sources[source].name), "first": str(first)}
        return packed([data[index] for index in range(first, last)]), words


@lru_cache(maxsize=1)
def _job(path: str) -> _Job:
    return _Job(path)


def _digest(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
