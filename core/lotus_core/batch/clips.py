"""A clip from its frames to its maps: predict every frame, then bring the frames together.

The raw maps of every frame, and its motion, are kept in the clip's work folder as they are made, each file whole or
absent. A killed run goes on with the first frame that is missing; only bringing the frames together, which needs no
network, starts again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from ..files import atomic_path
from .blame import no_fault_of_the_item, reason_of
from .cuts import CutDetector
from .frames import ClipFrame, clip_exposure, clip_frames, load_motion
from .items import Item
from .journal import Finished
from .motion import ANALYSIS_EDGE
from .noise import FreshNoise, MovingNoise
from .pipeline import Limits, describe_maps
from .reading import Stamp, stamp
from .settings import Settings
from .timing import Timing, exact_rate

if TYPE_CHECKING:
    from ..cli.predictors import Predictors
    from ..maps import Depth, Normals, Uncertainty

OnFrame = Callable[[str, int, int], None]
"""(key of a clip, frames done, frames there are or 0 where that is not known)"""


def process_clip(
    item: Item,
    predictors: Callable[[], Predictors],
    settings: Settings,
    staging: Path,
    clips: Path,
    limits: Limits,
    on_frame: OnFrame | None = None,
) -> Finished:
    """Make the maps of one clip; a bad one comes back with its reason.

    Raises CannotGoOn where the clip is not to blame, LotusError where results cannot be written, and Cancelled.
    """
    from .assembling import assemble

    identity = stamp(item)
    folder = work_folder(clips, item)
    start = time.perf_counter()
    try:
        exposure = clip_exposure(item, settings)
        rate = _rate(item, settings)
        with no_fault_of_the_item():
            _open_folder(folder, identity)
        scenes, times, meaning = _predict_frames(item, predictors, settings, exposure, folder, limits, on_frame)
    except LotusError as error:
        return Finished(item.key, identity, reason=reason_of(error))
    facts = {"kind": item.kind, **meaning.sizes, "frames": len(scenes), "fps": str(rate), "maps": meaning.maps}
    if item.kind == "sequence":
        facts["numbers"] = list(item.numbers)
        if (gap := item.missing)[0]:
            facts["missing"] = {"frames": gap[0], "first": gap[1]}
    timing = Timing.of(rate, times)
    if timing.seconds is not None:
        facts["times"] = timing.seconds
    if exposure is not None:
        facts["exposure_stops"] = exposure
    finished = assemble(item, identity, facts, scenes, timing, settings, folder, staging)
    finished.trace = {"seconds": round(time.perf_counter() - start, 3), "worker": os.getpid()}
    return finished


def work_folder(clips: Path, item: Item) -> Path:
    """Where the raw frames of a clip are kept until it is finished."""
    return clips / item.id


def raw_path(folder: Path, map_: str, index: int) -> Path:
    """The raw map of one frame."""
    return folder / f"{map_}.{index:06d}.exr"


def _open_folder(folder: Path, identity: Stamp) -> None:
    """An empty work folder, or that of the same frames."""
    state = folder / "clip.json"
    if state.is_file() and json.loads(state.read_text()) != identity.sha256:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(state) as temporary:
        temporary.write_text(json.dumps(identity.sha256))


def _rate(item: Item, settings: Settings) -> Fraction:
    from .video import probe

    if item.kind == "video":
        return probe(Path(item.files[0])).rate
    return exact_rate(settings.fps)


def _predict_frames(
    item: Item,
    predictors: Callable[[], Predictors],
    settings: Settings,
    exposure: float | None,
    folder: Path,
    limits: Limits,
    on_frame: OnFrame | None,
) -> tuple[list[bool], list[Fraction | None], _Meaning]:
    """Raw maps of every frame into `folder`. Returns which frames begin a scene, when each is shown, and what their
    maps mean, which is kept in the folder as well."""
    with no_fault_of_the_item():
        loaded = predictors()
    names = loaded.maps
    total = len(item.files) if item.kind == "sequence" else 0
    scenes: list[bool] = []
    times: list[Fraction | None] = []
    detector = CutDetector()
    noise = _ClipNoise(loaded, settings, folder)
    meaning = _Meaning(folder)
    writing: deque[Future[None]] = deque()

    def missing(index: int) -> bool:
        return not all(raw_path(folder, name, index).is_file() for name in names)

    # Closed whatever happens: the predictors go on to other clips and to stills.
    with closing(noise), ThreadPoolExecutor(limits.threads, "write") as writers:
        for frame in clip_frames(item, exposure, folder, missing, limits):
            begins = frame.motion is None or (settings.cuts and detector.is_cut(frame.motion))
            scenes.append(begins)
            times.append(frame.time)
            noise.step(frame, begins)
            if missing(frame.index):
                assert frame.image is not None
                noise.place(frame.image.rgb.shape[0], frame.image.rgb.shape[1])
                maps = loaded.predict(frame.image)
                meaning.note(frame.image.rgb.shape, describe_maps(loaded, maps))
                writing.append(writers.submit(_write_raw, maps, folder, frame.index))
                while len(writing) > limits.threads:
                    writing.popleft().result()
            if on_frame is not None:
                on_frame(item.key, frame.index + 1, total)
        for left in writing:
            left.result()
    return scenes, times, meaning


def _write_raw(maps: dict[str, Depth | Normals | Uncertainty], folder: Path, index: int) -> None:
    with no_fault_of_the_item():
        for name, values in maps.items():
            values.save(raw_path(folder, name, index))


class _Meaning:
    """What the maps of a clip mean, noted with its first frame: a resumed run may predict no frame any more."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "maps.json"
        self.sizes: dict[str, Any] = {}
        self.maps: dict[str, Any] = {}
        if self._path.is_file():
            self.sizes, self.maps = json.loads(self._path.read_text())

    def note(self, shape: Sequence[int], maps: dict[str, Any]) -> None:
        if not self.maps:
            self.sizes, self.maps = {"width": shape[1], "height": shape[0]}, maps
            with no_fault_of_the_item(), atomic_path(self._path) as temporary:
                temporary.write_text(json.dumps([self.sizes, self.maps]))


class _ClipNoise:
    """The noise of the settings, given to every predictor for the time of a clip."""

    def __init__(self, predictors: Predictors, settings: Settings, folder: Path) -> None:
        self._predictors, self._kind, self._folder = predictors, settings.noise, folder
        self._index = self._begin = 0
        self._moving: dict[str, MovingNoise] = {}

    def step(self, frame: ClipFrame, begins: bool) -> None:
        self._index = frame.index
        if begins:
            self._begin = frame.index
            self._moving = {}

    def place(self, height: int, width: int) -> None:
        """Make ready for the frame that was stepped to, a picture of this size."""
        if self._kind == "fresh":
            fresh = FreshNoise()
            fresh.frame = self._index
            for kind in self._predictors.models:
                self._predictors.use_noise(kind, fresh)
        elif self._kind == "motion":
            for kind in self._predictors.models:
                moving = self._moving.get(kind) or self._of_scene(kind, height, width)
                moving.frame = self._index - self._begin
                self._moving[kind] = moving
                self._predictors.use_noise(kind, moving)

    def _of_scene(self, kind: str, height: int, width: int) -> MovingNoise:
        """The noise of one model, which reads the motion since the scene's first frame from the clip's folder."""
        frame = self._predictors.frame_of(kind, height, width)
        factor = self._predictors.models[kind].latent_factor
        longest = max(height, width)
        small = min(1.0, ANALYSIS_EDGE / longest)
        across = frame.network_width / max(1, round(width * small)) / factor
        down = frame.network_height / max(1, round(height * small)) / factor
        begin = self._begin
        return MovingNoise((across, down), lambda number: load_motion(self._folder, begin + number).flow)

    def close(self) -> None:
        for kind in self._predictors.models:
            self._predictors.use_noise(kind, None)
