"""From a photo to its map images: asks the backend, then takes the maps into Blender in small steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.textures import Meaning, coded, thumbnail, write_texture

from . import images, sequences, storage
from .backends.base import Backend, Job, Prediction, Task
from .exif import read_exif
from .preferences import preferences
from .properties import LotusSettings
from .thumbnails import set_thumbnail

_FAST = 384
_SAME_SHAPE = 0.02  # of the ratio of the sides; maps may be smaller than the photo, and then rounded


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
        self._folder = storage.workspace(self._place)
        try:
            self._frames = self._sources(photo, settings)
        except LotusError:
            self._clean()
            raise
        except OSError as error:
            self._clean()
            reason = error.strerror or "the disk is full"  # which numpy tells in numbers of its own
            raise LotusError(f"{self._folder.parent} cannot take the photo ({reason}): free some space.") from None
        self._work = self._all_frames() if photo.source == "SEQUENCE" else self._still()

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
        if not bpy.data.filepath:
            raise LotusError("Save the .blend first: the maps of a sequence are files beside it.")
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

    def _still(self) -> Iterator[None]:
        yield from self._predict(self._frames[0][1], 0.0, 0.98)
        self.fraction, self.text = 0.98, "Taking the maps over"
        prediction = self._prediction
        for kind in prediction.files:
            yield
            photo = self._photo()
            model, stem = _model_of(prediction, kind), f"{storage.file_stem(photo)}_{kind}"
            if texture := prediction.textures.get(kind):
                image, note = storage.adopt(texture.file, f"{photo.name} {kind}", stem, place=self._place)
                images.describe(image, texture.meaning, model)
                set_thumbnail(image, np.load(texture.thumbnail, allow_pickle=False))
                attach(photo, kind, image)
            else:
                value = prediction.load_one(kind)
                image = put_map(photo, kind, value, model)
                note = storage.keep(image, stem, place=self._place, suffix=self._suffix)
            if note and note not in self.notes:
                self.notes.append(note)
        photo = self._photo()
        photo.lotus.focal_35mm = focal_35mm_of(photo)

    def _all_frames(self) -> Iterator[None]:
        stem = storage.file_stem(self._photo())
        folder = Path(bpy.data.filepath).parent / storage.FOLDER
        first, count = self._frames[0][0], len(self._frames)
        made: dict[str, tuple[Path, Meaning, np.ndarray, str]] = {}  # of the first frame
        for done, (number, picture) in enumerate(self._frames):
            yield from self._predict(picture, done / count, 1 / count)
            prediction = self._prediction
            for kind in prediction.files:
                yield
                texture = prediction.textures.get(kind) or write_texture(
                    prediction.load_one(kind), self._folder / f"{kind}{self._suffix}"
                )
                path = folder / f"{stem}_{kind}_{number:04d}{texture.file.suffix}"
                storage.move(texture.file, path)
                if kind not in made:
                    small = np.load(texture.thumbnail, allow_pickle=False)
                    made[kind] = path, texture.meaning, small, _model_of(prediction, kind)
        photo = self._photo()
        for kind, (path, meaning, small, model) in made.items():
            image = sequences.load_sequence(path, f"{photo.name} {kind}", count, first)
            images.describe(image, meaning, model)
            set_thumbnail(image, small)
            attach(photo, kind, image)
        photo.lotus.frames, photo.lotus.frame_offset = count, first - 1
        photo.lotus.focal_35mm = focal_35mm_of(photo)


class _Stopped(Exception):
    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state, self.message = state, message


def put_map(
    photo: bpy.types.Image, kind: str, value: Depth | Normals | Uncertainty, model: str = ""
) -> bpy.types.Image:
    """Store a map as an image of the photo. An earlier one of the same size is overwritten, so that what uses it
    follows; one of another size is replaced wherever it is used. Raises LotusError where the map is of another shape
    than the photo.
    """
    old = images.map_of(photo, kind)
    height, width = (value.std if isinstance(value, Uncertainty) else value.values).shape[:2]
    size = width, height
    _check_shape(photo, kind, size)
    if old is not None and old.source != "SEQUENCE" and tuple(old.size) == size and old.is_float:
        images.write_pixels(old, *coded(value))
        images.describe(old, Meaning.of(value), model)
        image = old
    else:
        image = images.image_of_map(f"{photo.name} {kind}", value, model)
        attach(photo, kind, image)
    set_thumbnail(image, thumbnail(value))
    return image


def _check_shape(photo: bpy.types.Image, kind: str, size: tuple[int, int]) -> None:
    width, height = images.size_of(photo)
    if abs(size[0] * height - size[1] * width) > _SAME_SHAPE * size[1] * width:
        raise LotusError(
            f"The {kind} map is {size[0]}×{size[1]} pixels, which is another shape than the photo's {width}×{height}:"
            " crop or turn one of them. (Blender does not turn photos as their EXIF data ask.)"
        )


def attach(photo: bpy.types.Image, kind: str, image: bpy.types.Image) -> None:
    """Make an image the photo's map of this kind, wherever its predecessor was used."""
    old = images.map_of(photo, kind)
    if old is not None and old != image:
        name = old.name
        old.user_remap(image)
        bpy.data.images.remove(old)
        image.name = name
    setattr(photo.lotus, kind, image)


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
    if settings.quality == "FAST":
        options["res"] = _FAST
    elif settings.quality == "FULL":
        options["res"] = 0
    elif settings.quality == "CUSTOM":
        options["res"] = settings.resolution
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
