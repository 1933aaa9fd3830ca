"""From a photo to its map images: asks the backend, then takes the maps into Blender in small steps."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import bpy
import numpy as np

from lotus_core.errors import LotusError
from lotus_core.maps.textures import Texture, write_texture

from . import images, photos, storage
from .attaching import check_shape, put_texture
from .backends.base import Backend, Job, Prediction, Task
from .options import models_of, options_of
from .pictures import Picture, focal_35mm_of, photo_path, picture_of
from .preferences import preferences
from .properties import LotusSettings
from .turning import as_stored

MAPS = "maps"  # folder of the backend's files, in that of the run


class PredictionRun:
    """Predicts the maps of one photo. See `jobs.Run`, and `frames.SequenceRun` for sequences."""

    of_file = True

    def __init__(self, photo: bpy.types.Image, settings: LotusSettings, backend: Backend) -> None:
        """Raises LotusError where the settings ask for nothing or the photo cannot be read."""
        kinds = tuple(kind for kind in images.KINDS if getattr(settings, f"use_{kind}"))
        if not kinds:
            raise LotusError("Nothing is chosen to predict; tick depth, normals or uncertainty.")
        photos.check_own(photo)
        self.title = photo.name
        self.state, self.message, self.text = "running", "", "Starting"
        self.fraction: float | None = 0.0
        self.notes: list[str] = []
        self.result = ""
        self._photo_uid = photo.session_uid
        self._kinds = kinds
        self._backend = backend
        self._task: Task | None = None
        self._options, self._models = options_of(settings), models_of(settings)
        chosen = preferences()
        self._place, self._suffix = chosen.place, chosen.map_format
        self._by_name = chosen.backend == "FILES"
        self._folder = self._workspace()
        try:
            self._work = self._begin(photo, settings)
        except OSError as error:
            self._clean()
            reason = error.strerror or "the disk is full"  # which numpy tells in numbers of its own
            raise LotusError(f"{self._folder.parent} cannot take the photo ({reason}): free some space.") from None
        except BaseException:
            self._clean()
            raise

    def step(self) -> bool:
        """A few milliseconds of work; True while it goes on."""
        if self.state != "running":
            return False
        try:
            next(self._work)
        except StopIteration:
            self._finish("done")
        except _Cancelled:
            self._finish("cancelled")
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

    def _workspace(self) -> Path:
        """The folder for the run's files."""
        return storage.workspace(self._place)

    def _begin(self, photo: bpy.types.Image, _settings: LotusSettings) -> Generator[None, None, None]:
        """Take what is needed of the photo; returns the work to do. Raises LotusError and OSError."""
        photos.size_of(photo)
        picture = Picture(photo_path(photo)) if self._by_name else picture_of(photo, self._folder / "photo.npy")
        return self._still(picture)

    def _still(self, picture: Picture) -> Generator[None, None, None]:
        yield from self._predict(picture, 0.0, 0.98)
        self.fraction, self.text = 0.98, "Taking the maps over"
        textures: dict[str, Texture] = {}
        for kind in self._prediction.files:
            yield
            textures[kind] = self._texture(kind, picture)
        yield
        for kind, texture in textures.items():  # once it is sure that all of them fit, and without a place to cancel
            note = put_texture(self._photo(), kind, texture, self._model_of(kind), place=self._place)
            if note and note not in self.notes:
                self.notes.append(note)
        self.notes += [self._lack(kind) for kind in self._kinds if kind not in textures]
        self._tell(textures)

    def _predict(self, picture: Picture, start: float, share: float) -> Iterator[None]:
        """Run the backend on one picture; `self._prediction` is what came of it."""
        job = Job(
            image=picture.file,
            folder=self._folder / MAPS,
            maps=self._kinds,
            models=self._models,
            options=self._options,
            textures=self._suffix if picture.orientation == 1 else "",  # else once they are turned back
        )
        self._task = task = self._backend.start(job)
        while task.poll():
            self.fraction = None if task.fraction is None else start + share * task.fraction
            if self.text != "Cancelling":
                self.text = task.text
            yield
        if task.state == "cancelled":
            raise _Cancelled
        if task.state != "done":
            raise LotusError(task.message)
        assert task.prediction is not None
        self._prediction: Prediction = task.prediction

    def _texture(self, kind: str, picture: Picture) -> Texture:
        """The image of a predicted map. Raises LotusError where it does not fit the photo."""
        if texture := self._prediction.textures.get(kind):
            self._check_size(kind)
            return texture
        value = as_stored(self._prediction.load_one(kind), picture.orientation)
        check_shape(self._photo(), kind, value)
        return write_texture(value, self._folder / f"{kind}{self._suffix}")

    def _check_size(self, kind: str) -> None:
        """Raise LotusError where the backend saw another picture than Blender shows."""
        photo = self._photo()
        width, height = photos.size_of(photo)
        rows, columns = np.load(self._prediction.files[kind], mmap_mode="r", allow_pickle=False).shape[:2]
        if (columns, rows) != (width, height):
            raise LotusError(
                f"The file of {photo.name} is {columns}×{rows} pixels now and was {width}×{height} when Blender loaded"
                " it: reload it (image editor, Image › Reload), then predict again."
            )

    def _model_of(self, kind: str) -> str:
        made = self._prediction.record.get("maps", {})
        found = made.get(kind, {}) if isinstance(made, dict) else {}
        return str(found.get("model", "")) if isinstance(found, dict) else ""

    def _tell(self, arrived: Iterable[str], more: str = "") -> None:
        """Say what came of it, and write down what the photo's file tells."""
        photo = self._photo()
        if focal := focal_35mm_of(photo):  # else what was known before stays
            photo.lotus.focal_35mm = focal
        self.result = f"{photo.name}: {', '.join(arrived)} {'found' if self._by_name else 'predicted'}{more}"

    def _lack(self, kind: str) -> str:
        """The note on a map that the backend did not have."""
        return f"There is no {kind} map of {self.title}."

    def _photo(self) -> bpy.types.Image:
        for image in bpy.data.images:
            if image.session_uid == self._photo_uid:
                return image
        raise LotusError(f"{self.title} was deleted while its maps were being predicted; they are dropped.")

    def _finish(self, state: str, message: str = "") -> None:
        if self.state == "running":
            self.state, self.message = state, message
            self._work.close()
            self._clean()

    def _clean(self) -> None:
        storage.clear(self._folder)


class _Cancelled(Exception):
    """The backend has stopped because it was asked to."""
