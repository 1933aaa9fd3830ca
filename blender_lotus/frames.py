"""The maps of a sequence, frame by frame. They become the photo's at the end, all at once."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import bpy
import numpy as np

from lotus_core.errors import LotusError
from lotus_core.maps.textures import Texture

from . import images, sequences, storage
from .attaching import attach
from .backends.base import Backend
from .pictures import Picture, picture_of_frame
from .prediction import MAPS, PredictionRun
from .properties import LotusSettings
from .timeline import follow_span, span_of

Frames = list[tuple[int, Path]]  # number and file of each


class _First(NamedTuple):
    """Of the first frame that has a kind of map."""

    texture: Texture
    thumbnail: np.ndarray
    model: str


def run_for(photo: bpy.types.Image, settings: LotusSettings, backend: Backend) -> PredictionRun:
    """The prediction of a photo or of a sequence. Raises LotusError."""
    kind = SequenceRun if photo.source == "SEQUENCE" else PredictionRun
    return kind(photo, settings, backend)


class SequenceRun(PredictionRun):
    """Predicts the maps of every frame of a sequence. See `jobs.Run`."""

    def _workspace(self) -> Path:
        return storage.workspace_beside()

    def _begin(self, photo: bpy.types.Image, settings: LotusSettings) -> Generator[None, None, None]:
        there, gap = sequences.frames_of(photo), sequences.gap_of(photo)
        start, count = settings.frame_start, settings.frame_count
        frames = there[start - 1 :][: count or None]
        if not frames:
            raise LotusError(f"{photo.name} has no frame {start}; choose an earlier first frame. {gap}".rstrip())
        if gap and (count == 0 or len(frames) < count):
            self.notes.append(gap)
        self._finished: dict[str, list[Path]] = {}
        self._first: dict[str, _First] = {}
        return self._all(frames)

    def _all(self, frames: Frames) -> Generator[None, None, None]:
        count = len(frames)
        for done, (number, file) in enumerate(frames):
            try:
                yield from self._one(number, file, done / count, 1 / count)
            except LotusError as error:
                frames = self._kept(frames, done, error)
                break
        self.text = "Taking the maps over"
        whole = self._whole(len(frames))
        placed = yield from storage.adopt_frames(whole, storage.file_stem(self._photo()), self._photo)
        # Only now, and all at once: who cancels or meets an error keeps the maps there were.
        photo = self._photo()
        count, number = len(frames), frames[0][0]
        for kind, paths in placed.items():
            first = self._first[kind]
            image = sequences.load_sequence(paths[0], f"{photo.name} {kind}", count, number)
            image.filepath_raw = storage.relative(paths[0])
            attach(photo, kind, image, first.texture.meaning, first.thumbnail, first.model)
        earlier = span_of(photo)
        photo.lotus.frames, photo.lotus.frame_offset = count, number - 1
        follow_span(photo, earlier)
        self._tell(placed, f", {count} frames")

    def _one(self, number: int, file: Path, start: float, share: float) -> Generator[None, None, None]:
        """Predict one frame, and put its maps aside."""
        pixels = self._folder / "photo.npy"
        picture = Picture(file) if self._by_name else picture_of_frame(self._photo(), file, pixels)
        yield from self._predict(picture, start, share)
        moved: dict[str, Path] = {}
        for kind in self._prediction.files:
            yield
            texture = self._texture(kind, picture)
            if kind not in self._first:
                small = np.load(texture.thumbnail, allow_pickle=False)
                self._first[kind] = _First(texture, small, self._model_of(kind))
            moved[kind] = self._folder / "frames" / f"{kind}_{number:04d}{texture.file.suffix}"
            storage.move(texture.file, moved[kind])
        for kind, path in moved.items():  # once it has all of them
            self._finished.setdefault(kind, []).append(path)
        storage.clear(self._folder / MAPS)  # what else came with them, several times their size

    def _check_size(self, kind: str) -> None:
        """Blender reads the files of frames anew when it shows them."""

    def _kept(self, frames: Frames, done: int, error: LotusError) -> Frames:
        """The frames that keep their maps although the one after them failed. Raises LotusError where none do."""
        if done == 0:
            raise error
        which = f"Frame {done + 1} of {len(frames)}, {frames[done][1].name}, failed"
        photo = self._photo()
        if any(images.map_of(photo, kind) is not None for kind in self._kinds):
            raise LotusError(f"{which}, and the maps that there were stay. {error}") from None
        before = "the frame" if done == 1 else f"the {done} frames"
        self.notes.append(f"{which}, so only {before} before it got maps. {error}")
        return frames[:done]

    def _whole(self, count: int) -> dict[str, list[Path]]:
        """The maps of those kinds that every frame has. Raises LotusError where there are none."""
        whole: dict[str, list[Path]] = {}
        notes = []
        for kind in self._kinds:
            paths = self._finished.get(kind, [])
            if len(paths) == count:
                whole[kind] = paths
            elif paths:
                notes.append(
                    f"Only {len(paths)} of {count} frames have a {kind} map, so it was left out: add the others."
                )
            else:
                notes.append(self._lack(kind))
        if not whole:
            raise LotusError(" ".join(notes))
        self.notes += notes
        return whole
