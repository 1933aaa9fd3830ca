"""The engine for one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .clips import OnFrame, process_clip
from .items import Item
from .journal import Finished
from .manifest import Record
from .pipeline import Limits, process_stills
from .settings import Settings
from .shards import KINDS as SHARDS
from .shards import process_shards

if TYPE_CHECKING:
    from ..cli.predictors import Predictors


def run_local(
    items: Sequence[Item], record: Record, settings: Settings, limits: Limits, on_frame: OnFrame | None = None
) -> Iterator[Finished]:
    """Work on `items` and enter each into the record as it is finished. Raises LotusError where nothing can go on."""
    loaded: list[Predictors] = []

    def predictors() -> Predictors:
        if not loaded:
            loaded.append(load_predictors(settings))
        return loaded[0]

    for finished in process(items, predictors, settings, record.staging, record.clips, limits, on_frame):
        record.finish(finished)
        yield finished


def process(
    items: Sequence[Item],
    predictors: Callable[[], Predictors],
    settings: Settings,
    staging: Path,
    clips: Path,
    limits: Limits,
    on_frame: OnFrame | None = None,
) -> Iterator[Finished]:
    """Stills, then shards, then clips. What comes back lies in `staging`, for the caller to enter into a record."""
    yield from process_stills([item for item in items if item.kind == "still"], predictors, settings, staging, limits)
    yield from process_shards([item for item in items if item.kind in SHARDS], staging)
    for item in items:
        if item.kind in ("sequence", "video"):
            yield process_clip(item, predictors, settings, staging, clips, limits, on_frame)


def load_predictors(settings: Settings) -> Predictors:
    """The models that the settings name. Raises LotusError."""
    from ..cli.predictors import Predictors

    return Predictors(settings.namespace(), settings.models, settings.maps or None)
