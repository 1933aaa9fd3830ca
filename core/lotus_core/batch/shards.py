"""Shards for training made by `lotus batch CONFIG DST --task latents|samples`: each shard is one item of the batch.

latents: what the frozen autoencoder makes of every sample, for `[data] latents`. samples: the samples themselves, of
any source of the config, for sources of the name "cache", which are read shard after shard.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import LotusError
from .items import Item
from .manifest import Finished, staged_hashes
from .reading import stamp
from .sinks import staged

KINDS = ("latents", "samples")


def find_shards(config: str, kind: str) -> list[Item]:
    """The shards of a training config's sources. Raises LotusError for configs that cannot be used."""
    from ..training import require_accelerate

    require_accelerate()
    from ..data.cache import SHARD as SAMPLES
    from ..training.latents import shard_name, shard_spans

    job = _job(config)
    items = []
    for source, data in enumerate(job.items.sources):
        if kind == "latents":
            spans = [(first, last, shard_name(source, first, last)) for first, last in shard_spans(len(data))]
        else:
            firsts = range(0, len(data), SAMPLES)
            ends = [(first, min(first + SAMPLES, len(data))) for first in firsts]
            spans = [(a, b, f"source-{source}/scenes-{a:07d}-{b:07d}.safetensors") for a, b in ends]
        file = str(Path(config).absolute())
        items += [Item(name, kind, (file,), name, (source, first, last)) for first, last, name in spans]  # type: ignore[arg-type]
    return items


def process_shards(items: Sequence[Item], staging: Path) -> Iterator[Finished]:
    """Make shards; one whose samples cannot be read comes back with the reason. Raises LotusError."""
    for item in items:
        start, identity = time.perf_counter(), stamp(item.files)
        job = _job(item.files[0])
        try:
            content = job.latents(*item.numbers) if item.kind == "latents" else job.samples(*item.numbers)
        except LotusError as error:
            yield Finished(item.key, identity, reason=str(error))
            continue
        name = Path(item.output)
        with staged(staging) as folder:
            _save(folder / name.name, *content)
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

    def latents(self, source: int, first: int, last: int) -> tuple[dict[str, Any], dict[str, str]]:
        import torch

        from ..training.base import build_model
        from ..training.latents import encoded_samples, source_keys, stacked
        from ..training.loop import make_accelerator
        from ..training.order import Draw

        if self._model is None:
            accelerator = make_accelerator(self.run.optim)
            longest = max(max(self.items[Draw(s, 0, False, 0)]["image"].shape) for s in range(len(self.items.sources)))
            model = build_model(self.run, resolution=int(longest)).to(accelerator.device)
            if self.run.optim.channels_last:
                model.vae.to(memory_format=torch.channels_last)  # as the trainer has it
            self._model = model, accelerator, source_keys(self.items, model, self.run)
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


def _save(path: Path, tensors: dict[str, Any], words: dict[str, str]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path, words)
