"""The data sets of a config, and the pictures (or latents) that training reads from them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from ..data.photometric import Varied
from ..data.sample import SampleSource, flip
from ..errors import LotusError
from .annotation import annotation, annotation_mask, annotation_weight
from .config import AnyRunConfig, SourceConfig
from .order import ALONE, DataOrder, Draw, Process

_CLASSES = {
    "synthetic": ("synthetic", "SyntheticScenes"),
    "cache": ("cache", "SceneCache"),
    "hypersim": ("hypersim", "Hypersim"),
    "vkitti": ("vkitti", "VirtualKitti"),
}


_VARIATIONS = ("vary", "frame")


def open_source(config: SourceConfig) -> SampleSource:
    """The data set of one [[data.sources]] table. Raises LotusError for arguments it does not have."""
    module, name = _CLASSES[config.name]
    cls: Callable[..., Any] = getattr(importlib.import_module(f"lotus_core.data.{module}"), name)
    parameters = inspect.signature(cls).parameters
    arguments = {
        key: tuple(v) if isinstance(v, list) else v for key, v in config.args.items() if key not in _VARIATIONS
    }
    for key in arguments:
        if key not in parameters:
            near = difflib.get_close_matches(key, [*parameters, "probability", "path", *_VARIATIONS], n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(parameters)}."
            raise LotusError(f'The data source "{config.name}" has no argument {key}; {hint}')
    if config.path:
        arguments[next(iter(parameters))] = config.path  # every class that reads files takes their folder first
    try:
        source: SampleSource = cls(**arguments)
    except TypeError as error:
        raise LotusError(f'The data source "{config.name}" is not set up fully: {error}.') from error
    if len(source) == 0:
        raise LotusError(f'The data source "{config.name}" {config.path} holds no samples.')
    seed = config.args.get("vary", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise LotusError(f"vary is the seed of a source's variations, a whole number; 0 for none. It is {seed!r}.")
    frame = config.args.get("frame", 0.0)
    if not isinstance(frame, (int, float)) or isinstance(frame, bool) or not 0 <= frame <= 1:
        raise LotusError(f"frame is the share of a source's pictures that get a border, 0 to 1. It is {frame!r}.")
    return Varied(source, seed, frame) if seed or frame else source


class SampleItems(Dataset[dict[str, Any]]):
    """Draw → dict of `image`, `annotation` 3×H×W float32 in [−1, 1], `mask` and `valid` H×W, `number` int.

    The mask is bool, or with `far_weight` the weights of `annotation_weight`; `valid` is bool, without the sky.
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
            "annotation": annotation(sample, self.task, self.space),
            "mask": annotation_weight(sample, self.far_weight)
            if self.far_weight
            else annotation_mask(sample, self.task),
            "valid": sample.valid,
            "number": draw.number,
        }

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
    """
    process = Process(accelerator.process_index, accelerator.num_processes)
    order = _order(sources, run, run.optim.batch_size, process, shard)
    accumulation = run.optim.gradient_accumulation
    return _read(items, order.batches(step * accumulation, run.optim.steps * accumulation), run)


def global_batches(
    count: int, items: Dataset[Any], sources: Sequence[SampleSource], run: AnyRunConfig, processes: int
) -> Iterator[dict[str, Any]]:
    """The run's first `count` micro-batches, each of all `processes` together: the same in every one of them."""
    return _read(items, _order(sources, run, run.optim.batch_size * processes).batches(0, count), run)


def _read(items: Dataset[Any], draws: Iterator[list[Draw]], run: AnyRunConfig) -> Iterator[dict[str, Any]]:
    pinned = torch.cuda.is_available()
    return iter(DataLoader(items, batch_sampler=draws, num_workers=run.data.workers, pin_memory=pinned))


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
