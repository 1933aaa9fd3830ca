"""From a photo to its map images: asks the backend, then takes the maps into Blender in small steps."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from lotus_core.errors import LotusError
from lotus_core.maps.textures import Texture, write_texture

from . import images, sequences, storage
from .attaching import attach, check_shape, put_texture
from .backends.base import Backend, Job, Prediction, Task
from .exif import read_exif
from .preferences import preferences
from .properties import LotusSettings
from .resolution import chosen_resolution


class PredictionRun:
    """Predicts the maps of one photo, or of every frame of a sequence. See `jobs.Run`."""

    def __init__(self, photo: bpy.types.Image, settings: LotusSettings, backend: Backend) -> None:
        """Raises LotusError where the settings ask for nothing or the photo cannot be read."""
        kinds = tuple(kind for kind in images.KINDS if getattr(settings, f"use_{kind}"))
        if not kinds:
            raise LotusError("Nothing is chosen to predict; tick depth, normals or uncertainty.")
        self.title = photo.name
        self.state, self.message, self.text = "running", "", "Starting"
        self.fraction: float | None = 0.0
        self.notes: list[str] = []
        self.result = f"{photo.name}: {', '.join(kinds)} predicted"
        self._photo_uid = photo.session_uid
        self._kinds = kinds
        self._backend = backend
        self._task: Task | None = None
        self._log = ""
        self._options = _options(settings)
        self._models = tuple(
            model for kind, model in (("depth", settings.depth_model), ("normal", settings.normal_model)) if model
        )
        chosen = preferences()
        self._place, self._suffix = chosen.place, chosen.map_format
        self._by_name = chosen.backend == "FILES"
        sequence = photo.source == "SEQUENCE"
        self._folder = storage.workspace_beside() if sequence else storage.workspace(self._place)
        try:
            self._frames = self._sources(photo, settings)
        except LotusError:
            self._clean()
            raise
        except OSError as error:
            self._clean()
            reason = error.strerror or "the disk is full"  # which numpy tells in numbers of its own
            raise LotusError(f"{self._folder.parent} cannot take the photo ({reason}): free some space.") from None
        self._work = self._all_frames() if sequence else self._still()

    def step(self) -> bool:
        """A few milliseconds of work; True while it goes on."""
        if self.state != "running":
            return False
        try:
            next(self._work)
        except StopIteration:
            self._finish("done")
        except _Stopped as stopped:
            self._finish(stopped.state, stopped.message)
        except LotusError as error:
            self._finish("failed", str(error))
        except OSError as error:
            self._finish("failed", f"The maps could not be taken over: {error.strerror or error}.")
        except ReferenceError:
            self._finish("failed", "The photo was removed while its maps were being predicted.")
        return self.state == "running"

    def cancel(self) -> None:
        """Ask to stop; a few steps later the state is "cancelled"."""
        if self._task is not None and self._task.state == "running":
            self._task.cancel()
            self.text = "Cancelling"
        else:
            self._finish("cancelled")

    def log_tail(self, lines: int = 20) -> str:
        """The end of the backend's log."""
        return self._backend.log_tail(lines)

    def _finish(self, state: str, message: str = "") -> None:
        if self.state == "running":
            self.state, self.message = state, message
            self._work.close()
            self._clean()

    def _clean(self) -> None:
        storage.clear(self._folder)

    def _photo(self) -> bpy.types.Image:
        for image in bpy.data.images:
            if image.session_uid == self._photo_uid:
                return image
        raise LotusError(f"{self.title} was deleted while its maps were being predicted; they are dropped.")

    def _sources(self, photo: bpy.types.Image, settings: LotusSettings) -> list[tuple[int, Path]]:
        """Number and picture of each frame; (0, picture) for a still."""
        if photo.source != "SEQUENCE":
            if self._by_name:
                return [(0, photo_path(photo))]
            return [(0, picture_file(photo, self._folder / "photo.npy"))]
        frames = sequences.frames_of(photo)[settings.frame_start - 1 :]
        frames = frames[: settings.frame_count or None]
        if not frames:
            raise LotusError(f"{photo.name} has no frame {settings.frame_start}; choose an earlier first frame.")
        return frames

    def _predict(self, picture: Path, start: float, share: float) -> Iterator[None]:
        """Run the backend on one picture; `self._prediction` is what came of it."""
        job = Job(
            image=picture,
            folder=self._folder / "maps",
            maps=self._kinds,
            models=self._models,
            options=self._options,
            textures=self._suffix,
        )
        self._task = task = self._backend.start(job)
        while task.poll():
            self.fraction = None if task.fraction is None else start + share * task.fraction
            if self.text != "Cancelling":
                self.text = task.text
            yield
        if task.state != "done":
            raise _Stopped(task.state, task.message)
        assert task.prediction is not None
        self._prediction: Prediction = task.prediction

    def _still(self) -> Generator[None, None, None]:
        yield from self._predict(self._frames[0][1], 0.0, 0.98)
        self.fraction, self.text = 0.98, "Taking the maps over"
        prediction = self._prediction
        textures: dict[str, Texture] = {}
        for kind in prediction.files:
            yield
            textures[kind] = self._texture(kind, self._photo())
        for kind, texture in textures.items():  # once it is sure that all of them fit
            yield
            photo = self._photo()
            note = put_texture(photo, kind, texture, _model_of(prediction, kind), place=self._place)
            if note and note not in self.notes:
                self.notes.append(note)
        photo = self._photo()
        photo.lotus.focal_35mm = focal_35mm_of(photo)

    def _texture(self, kind: str, photo: bpy.types.Image) -> Texture:
        """The image of a predicted map. Raises LotusError."""
        if texture := self._prediction.textures.get(kind):
            return texture
        value = self._prediction.load_one(kind)
        check_shape(photo, kind, value)
        return write_texture(value, self._folder / f"{kind}{self._suffix}")

    def _all_frames(self) -> Generator[None, None, None]:
        count = len(self._frames)
        finished: dict[str, list[Path]] = {}
        made: dict[str, tuple[Texture, np.ndarray, str]] = {}  # of the first frame
        for done, (number, picture) in enumerate(self._frames):
            yield from self._predict(picture, done / count, 1 / count)
            for kind in self._prediction.files:
                yield
                texture = self._texture(kind, self._photo())
                if kind not in made:
                    small = np.load(texture.thumbnail, allow_pickle=False)
                    made[kind] = texture, small, _model_of(self._prediction, kind)
                path = self._folder / "frames" / f"{kind}_{number:04d}{texture.file.suffix}"
                storage.move(texture.file, path)
                finished.setdefault(kind, []).append(path)
        self.text = "Taking the maps over"
        placed = yield from storage.adopt_frames(finished, storage.file_stem(self._photo()), self._photo)
        # Only now, and all at once: who cancels or meets an error keeps the maps there were.
        photo = self._photo()
        first = self._frames[0][0]
        for kind, paths in placed.items():
            texture, small, model = made[kind]
            image = sequences.load_sequence(paths[0], f"{photo.name} {kind}", count, first)
            image.filepath_raw = storage.relative(paths[0])
            attach(photo, kind, image, texture.meaning, small, model)
        photo.lotus.frames, photo.lotus.frame_offset = count, first - 1
        photo.lotus.focal_35mm = focal_35mm_of(photo)


class _Stopped(Exception):
    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state, self.message = state, message


def photo_path(photo: bpy.types.Image) -> Path:
    """The file of a photo. Raises LotusError where it has none, or it is gone."""
    path = Path(bpy.path.abspath(photo.filepath_raw))
    if not photo.filepath_raw or not path.is_file():
        raise LotusError(f"{photo.name} has no file, and maps are found by its name; save it, or use Import Map.")
    return path.absolute()


def picture_file(photo: bpy.types.Image, pixels: Path) -> Path:
    """A file with what Blender shows of a photo: its own file where that is the same, else its pixels as .npy."""
    path = Path(bpy.path.abspath(photo.filepath_raw))
    eight_bit = not photo.is_float and photo.source == "FILE"
    untouched = photo.packed_file is None and not photo.is_dirty and path.is_file()
    # Blender ignores EXIF's orientation, which other programs apply.
    if eight_bit and untouched and read_exif(path).orientation == 1:
        return path.absolute()
    np.save(pixels, images.photo_pixels(photo))
    return pixels


def focal_35mm_of(photo: bpy.types.Image) -> float:
    """From the photo's EXIF data; 0 where unknown."""
    if not photo.filepath_raw or photo.packed_file is not None:
        return 0.0
    return read_exif(Path(bpy.path.abspath(photo.filepath_raw))).focal_35mm


def _model_of(prediction: Prediction, kind: str) -> str:
    made = prediction.record.get("maps", {})
    found = made.get(kind, {}) if isinstance(made, dict) else {}
    return str(found.get("model", "")) if isinstance(found, dict) else ""


def _options(settings: LotusSettings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    resolution = chosen_resolution(settings)
    if resolution is not None:
        options["res"] = resolution
    if settings.mirror:
        options["mirror"] = True
    if settings.seed:
        options["seed"] = settings.seed
    if settings.use_uncertainty:
        options["samples"] = settings.samples
    chosen = preferences()
    if chosen.device not in ("", "auto"):
        options["device"] = chosen.device
    if chosen.offload:
        options["offload"] = True
    return options
