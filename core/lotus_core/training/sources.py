"""The data sets of a config, and the pictures (or latents) that training reads from them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from ..data.sample import Sample, flip
from ..errors import LotusError
from .annotation import annotation, annotation_mask
from .config import SourceConfig
from .order import DataOrder, Draw

_CLASSES = {
    "synthetic": ("synthetic", "SyntheticScenes"),
    "cache": ("cache", "SceneCache"),
    "hypersim": ("hypersim", "Hypersim"),
    "vkitti": ("vkitti", "VirtualKitti"),
}


class SampleSource(Protocol):
    """A map-style data set of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def open_source(config: SourceConfig) -> SampleSource:
    """The data set of one [[data.sources]] table. Raises LotusError for arguments it does not have."""
    module, name = _CLASSES[config.name]
    cls: Callable[..., Any] = getattr(importlib.import_module(f"lotus_core.data.{module}"), name)
    parameters = inspect.signature(cls).parameters
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in config.args.items()}
    for key in arguments:
        if key not in parameters:
            near = difflib.get_close_matches(key, [*parameters, "probability", "path"], n=1)
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
    return source


class SampleItems(Dataset[dict[str, Any]]):
    """Draw → dict of `image`, `annotation` 3×H×W float32 in [−1, 1], `mask` H×W bool, `number` int."""

    def __init__(
        self,
        sources: Sequence[SampleSource],
        task: Literal["depth", "normal"],
        space: Literal["disparity", "depth"],
    ) -> None:
        self.sources, self.task, self.space = sources, task, space

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        sample = self.sources[draw.source][draw.item]
        if draw.flip:
            sample = flip(sample)
        return {
            "image": sample.image,
            "annotation": annotation(sample, self.task, self.space),
            "mask": annotation_mask(sample, self.task),
            "number": draw.number,
        }


def loader(items: Dataset[Any], order: DataOrder, start: int, end: int, workers: int) -> Iterator[dict[str, Any]]:
    """Collated micro-batches start … end − 1; `workers` processes read ahead, 0 reads in this one."""
    return iter(
        DataLoader(
            items,
            batch_sampler=order.batches(start, end),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
    )
