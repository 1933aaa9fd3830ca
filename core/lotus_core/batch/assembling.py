"""From the raw maps of a clip's frames to its files: one range, no flicker, frames or videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..maps import Depth, Normals, Uncertainty
from ..maps.colormap import colorize
from .clips import raw_path
from .flicker import FlickerMeter
from .frames import load_motion
from .items import Item
from .journal import Finished
from .motion import Motion
from .ranges import Affine, CausalRange, Comparison, compare, fit_into_unit, two_pass
from .reading import Stamp
from .settings import Settings
from .sinks import staged, staged_hashes
from .smoothing import SAME_DEGREES, SAME_VALUE, Smoother
from .timing import Timing
from .video import CODECS, PREVIEW, VideoWriter

AnyMap = Depth | Normals | Uncertainty
_LOADERS: dict[str, type[Depth] | type[Normals] | type[Uncertainty]] = {
    "depth": Depth,
    "normal": Normals,
    "uncertainty": Uncertainty,
}
_EXTREMES = (0.001, 0.999)  # quantiles of a frame that must stay in range
_DEGREES = 180.0  # what 1 in a video of angles means


def assemble(
    item: Item,
    identity: Stamp,
    facts: dict[str, Any],
    scenes: Sequence[bool],
    timing: Timing,
    settings: Settings,
    folder: Path,
    staging: Path,
) -> Finished:
    """Write the files of a clip whose raw maps are in `folder`. scenes: which frames begin one.

    Raises LotusError where they cannot be written.
    """
    names = tuple(facts["maps"])
    ranges = _Ranges(folder, scenes, settings) if "depth" in names else None
    smoothers: dict[str, Smoother] = {}
    before, after = FlickerMeter(), FlickerMeter()
    affines: list[Affine] = []
    parent = PurePosixPath(item.output).parent if settings.video else PurePosixPath(item.output)
    with staged(staging) as target:
        with ExitStack() as stack:
            sink = _ClipSink(item, target, timing, settings, stack)
            for index, begins in enumerate(scenes):
                motion = None if begins else load_motion(folder, index)
                maps = {name: _LOADERS[name].load(raw_path(folder, name, index)) for name in names}
                if ranges is not None:
                    depth = maps["depth"]
                    assert isinstance(depth, Depth)
                    affine = ranges.of(index, depth, motion)
                    affines.append(affine)
                    before.add(depth.values, motion, depth.valid)
                    maps = {name: _ranged(values, affine) for name, values in maps.items()}
                if not smoothers:  # whose kind the first maps tell
                    smoothers = {name: _smoother(values, settings.smooth) for name, values in maps.items()}
                maps = {name: _smoothed(values, smoothers[name], motion) for name, values in maps.items()}
                if ranges is not None:
                    depth = maps["depth"]
                    assert isinstance(depth, Depth)
                    after.add(depth.values, motion, depth.valid)
                for name, values in maps.items():
                    sink.write(name, values, index)
        files = staged_hashes(target, str(parent))
    facts = {**facts, "scenes": [index for index, begins in enumerate(scenes) if begins]}
    if affines:
        facts["range"] = [[round(a.scale, 6), round(a.shift, 6)] for a in affines]
        facts["flicker"] = {"raw": round(before.mean, 6), "written": round(after.mean, 6)}
    return Finished(item.key, identity, target.name, facts, files)


class _Ranges:
    """The range of each depth frame."""

    def __init__(self, folder: Path, scenes: Sequence[bool], settings: Settings) -> None:
        self._kind = settings.range
        self._causal = CausalRange()
        self._last: Depth | None = None
        self._known: list[Affine] = []
        if self._kind == "two-pass":
            for start, end in _scene_spans(scenes):
                self._known += _scene_ranges(folder, start, end)

    def of(self, index: int, depth: Depth, motion: Motion | None) -> Affine:
        if self._kind == "two-pass":
            return self._known[index]
        if self._kind == "frame":
            return Affine()
        if motion is None or self._last is None:
            self._causal.cut()
            affine = self._causal.next(None)
        else:
            affine = self._causal.next(_compared(depth, self._last, motion))
        self._last = depth
        return affine


def _compared(depth: Depth, before: Depth, motion: Motion) -> Comparison | None:
    return compare(depth.values, before.values, motion, depth.valid, before.valid)


def _scene_spans(scenes: Sequence[bool]) -> Iterator[tuple[int, int]]:
    starts = [index for index, begins in enumerate(scenes) if begins]
    yield from zip(starts, [*starts[1:], len(scenes)], strict=True)


def _scene_ranges(folder: Path, start: int, end: int) -> list[Affine]:
    """Frames start … end − 1, one in memory after the other."""
    comparisons: list[Comparison | None] = []
    lows, highs = [], []
    last: Depth | None = None
    for index in range(start, end):
        depth = Depth.load(raw_path(folder, "depth", index))
        comparisons.append(None if last is None else _compared(depth, last, load_motion(folder, index)))
        seen = depth.values[depth.mask]
        # Nothing links a frame that is all transparent to others, so it keeps its own range, which holds 0.
        low, high = np.quantile(seen, _EXTREMES) if seen.size else (0.0, 0.0)
        lows.append(float(low))
        highs.append(float(high))
        last = depth
    return fit_into_unit(two_pass(comparisons), lows, highs)


def _ranged(values: AnyMap, affine: Affine) -> AnyMap:
    if isinstance(values, Depth):
        ranged = np.clip(values.values * np.float32(affine.scale) + np.float32(affine.shift), 0, 1)
        return replace(values, values=ranged)
    if isinstance(values, Uncertainty) and values.unit == "depth":
        return replace(values, std=values.std * np.float32(affine.scale))
    return values


def _smoother(values: AnyMap, strength: float) -> Smoother:
    angles = isinstance(values, Uncertainty) and values.unit == "degrees"
    return Smoother(strength, SAME_DEGREES if angles else SAME_VALUE)


def _smoothed(values: AnyMap, smoother: Smoother, motion: Motion | None) -> AnyMap:
    if motion is None:
        smoother.cut()
    if isinstance(values, Uncertainty):  # which is known under transparent pixels too
        return replace(values, std=smoother.next(values.std, motion))
    return replace(values, values=smoother.next(values.values, motion, values.valid))


class _ClipSink:
    """Files of a clip: per map a file for every frame, or a video; and a video to look at."""

    def __init__(self, item: Item, folder: Path, timing: Timing, settings: Settings, stack: ExitStack) -> None:
        self._stem = PurePosixPath(item.output).name
        self._folder, self._timing, self._settings, self._stack = folder, timing, settings, stack
        self._numbers = item.numbers
        largest = max(item.numbers, default=0)
        self._digits = max(4, len(str(largest)))
        self._previews = settings.previews and find_spec("av") is not None  # sequences need no PyAV otherwise
        self._videos: dict[str, VideoWriter] = {}
        self._scales: dict[str, float] = {}

    def write(self, name: str, values: AnyMap, index: int) -> None:
        if self._settings.video:
            codec = CODECS[self._settings.video]
            self._video(f"{self._stem}_{name}{codec.suffix}", codec, _words(name, values)).write(_coded(values))
        else:
            number = self._numbers[index] if self._numbers else index + 1
            values.save(self._folder / f"{self._stem}_{name}.{number:0{self._digits}d}.{self._settings.format}")
        if self._previews:
            video = self._video(f"{self._stem}_{name}_preview{PREVIEW.suffix}", PREVIEW, {})
            video.write(self._preview(name, values))

    def _video(self, name: str, codec: Any, words: dict[str, str]) -> VideoWriter:
        if name not in self._videos:
            self._videos[name] = self._stack.enter_context(VideoWriter(self._folder / name, codec, self._timing, words))
        return self._videos[name]

    def _preview(self, name: str, values: AnyMap) -> np.ndarray:
        """As the previews of stills, but with one range for all frames."""
        if isinstance(values, Depth):
            picture = colorize(values.near_white(), "spectral")
            picture[~values.mask] = 0
            return picture
        if isinstance(values, Normals):
            return values.preview()
        return values.preview(self._scales.setdefault(name, values.scale()))


def _coded(values: AnyMap) -> np.ndarray:
    """In [0, 1]. A video keeps no mask, so transparent pixels of depth are far."""
    if isinstance(values, Depth):
        return np.where(values.mask, values.values, np.float32(0 if values.space == "disparity" else 1))
    if isinstance(values, Normals):
        return 0.5 * values.values + 0.5
    return values.std / np.float32(1 if values.unit == "depth" else _DEGREES)


def _words(name: str, values: AnyMap) -> dict[str, str]:
    fields = ("space", "convention", "unit")
    said = " ".join(f"{field}={getattr(values, field)}" for field in fields if hasattr(values, field))
    return {"title": f"lotus {name}", "comment": said}
