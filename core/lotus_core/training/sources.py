"""The data sets of a config, and the pictures (or latents) that training reads from them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, default_collate

from ..data.photometric import Varied
from ..data.sample import Sample, SampleSource, flip
from ..errors import LotusError
from .annotation import annotation, annotation_mask, annotation_weight, disparity_annotation
from .config import AnyRunConfig, SourceConfig
from .order import ALONE, DataOrder, Draw, Process
from .source_arguments import source_arguments, variations

log = logging.getLogger(__name__)

_CLASSES = {
    "synthetic": ("synthetic", "SyntheticScenes"),
    "cache": ("cache", "SceneCache"),
    "hypersim": ("hypersim", "Hypersim"),
    "vkitti": ("vkitti", "VirtualKitti"),
}

_STAND_INS = 3
"""How many samples after one that cannot be read are tried in its place."""


def open_source(config: SourceConfig) -> SampleSource:
    """The data set of one [[data.sources]] table. Raises LotusError for arguments it does not have, or not so."""
    module, name = _CLASSES[config.name]
    cls: Callable[..., Any] = getattr(importlib.import_module(f"lotus_core.data.{module}"), name)
    arguments, (seed, frame) = source_arguments(config, cls), variations(config)
    try:
        source: SampleSource = cls(**arguments)
    except TypeError as error:
        raise LotusError(f'The data source "{config.name}" is not set up fully: {error}.') from error
    if len(source) == 0:
        raise LotusError(f'The data source "{config.name}" {config.path} holds no samples.')
    return Varied(source, seed, frame) if seed or frame else source


class SampleItems(Dataset[dict[str, Any]]):
    """Draw → dict of `image`, `annotation` 3×H×W float32 in [−1, 1], `mask` and `valid` H×W, `number` int.

    The mask is bool, or with `far_weight` the weights of `annotation_weight`; `valid` is bool, without the sky. Of
    depth in disparity also `horizon`, float (`disparity_annotation`).
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        task: Literal["depth", "normal"],
        space: Literal["disparity", "depth"],
        far_weight: float = 0.0,
    ) -> None:
        self.sources, self.task, self.space, self.far_weight = sources, task, space, far_weight

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        sample = self.sources[draw.source][draw.item]
        if draw.flip:
            sample = flip(sample)
        return {
            "image": sample.image,
            **self._annotated(sample),
            "mask": annotation_weight(sample, self.far_weight)
            if self.far_weight
            else annotation_mask(sample, self.task),
            "valid": sample.valid,
            "number": draw.number,
        }

    def _annotated(self, sample: Sample) -> dict[str, Any]:
        if self.task == "depth" and self.space == "disparity":
            picture, horizon = disparity_annotation(sample.depth, sample.valid)
            return {"annotation": picture, "horizon": horizon}
        return {"annotation": annotation(sample, self.task, self.space)}

    def as_rendered(self) -> SampleItems:
        """The same without the variations of pictures, which take time and leave the geometry as it is."""
        plain = [source.source if isinstance(source, Varied) else source for source in self.sources]
        return SampleItems(plain, self.task, self.space, self.far_weight)


def batches_from(
    step: int,
    items: Dataset[Any],
    sources: Sequence[SampleSource],
    run: AnyRunConfig,
    accelerator: Accelerator,
    shard: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Collated micro-batches of this process from optimiser step `step` to the run's end.

    `[data] workers` processes read ahead; 0 reads in this one. shard: samples that are read together, None for any.
    Raises LotusError where samples cannot be read, several in a row; in place of a single one stands the next.
    """
    process = Process(accelerator.process_index, accelerator.num_processes)
    order = _order(sources, run, run.optim.batch_size, process, shard)
    accumulation = run.optim.gradient_accumulation
    readable = _Readable(items, [len(source) for source in sources])
    return _read(readable, order.batches(step * accumulation, run.optim.steps * accumulation), run)


def global_batches(
    count: int, items: Dataset[Any], sources: Sequence[SampleSource], run: AnyRunConfig, processes: int
) -> Iterator[dict[str, Any]]:
    """The run's first `count` micro-batches, each of all `processes` together: the same in every one of them."""
    readable = _Readable(items, [len(source) for source in sources])
    return _read(readable, _order(sources, run, run.optim.batch_size * processes).batches(0, count), run)


class _Readable(Dataset[Any]):
    """Draw → what `items` has there, or where that cannot be read, in its place the next sample's, and a warning.

    Where those cannot be read either, the LotusError is returned, not raised: out of a reading process an exception
    would come with that process's traceback for a message.
    """

    def __init__(self, items: Dataset[Any], lengths: Sequence[int]) -> None:
        self.items, self.lengths = items, lengths

    def __getitem__(self, draw: Draw) -> Any:
        failed: LotusError | None = None
        for number in range(1 + _STAND_INS):
            try:
                found = self.items[draw._replace(item=(draw.item + number) % self.lengths[draw.source])]
            except LotusError as error:
                failed = failed or error
                continue
            if failed:
                log.warning("%s The next sample stands in for it.", failed)
            return found
        return failed


def _collated(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, LotusError)), None) or default_collate(samples)


def _read(items: Dataset[Any], draws: Iterator[list[Draw]], run: AnyRunConfig) -> Iterator[dict[str, Any]]:
    pinned = torch.cuda.is_available()
    loader = DataLoader(
        items,
        batch_sampler=draws,
        num_workers=run.data.workers,
        collate_fn=_collated,
        pin_memory=pinned,
        generator=torch.Generator(),  # which else takes a number from torch's, of the first step after a resume only
    )
    for batch in loader:
        if isinstance(batch, LotusError):
            raise batch
        yield batch


def _order(
    sources: Sequence[SampleSource],
    run: AnyRunConfig,
    batch_size: int,
    process: Process = ALONE,
    shard: int | None = None,
) -> DataOrder:
    lengths = [len(source) for source in sources]
    probabilities = [source.probability for source in run.data.sources]
    return DataOrder(lengths, probabilities, batch_size, run.optim.seed, run.data.flip, *process, shard)
