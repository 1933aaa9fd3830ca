"""What the worker does: `lotus predict`, with models that stay loaded."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, LotusError
from ..progress import Cancel, Progress

if TYPE_CHECKING:
    from ..images import LoadedImage
    from ..model import LotusModel

LOADED_AT_ONCE = 2  # one model for depth and one for normals
LOADING_SHARE = 0.3  # of the progress bar, where models have to be loaded
TEXTURES_SHARE = 0.05  # of it, for writing images where they are wanted
# Options that the request states otherwise, or that make no sense without a terminal.
RESERVED = ("output", "task", "model", "format", "quiet", "help")
# Options that change what is predicted from a loaded model, and not which model that is.
OF_THE_PREDICTION = {"image", "output", "task", "model", "format", "quiet", "run", "argv", "res", "seed", "samples",
                     "reference", "tile", "mirror", "fast_encoder", "exposure"}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request to predict, checked for its form."""

    id: str
    image: Path
    folder: Path
    maps: tuple[str, ...]
    models: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    textures: str = ""

    @classmethod
    def from_json(cls, message: dict[str, Any]) -> Request:
        """Raises LotusError for what is missing or of another type."""
        from ..cli.predictors import MAPS
        from ..maps.textures import SUFFIXES

        try:
            request = cls(
                str(message["id"]),
                Path(message["image"]),
                Path(message["folder"]),
                tuple(message["maps"]),
                tuple(message.get("models", [])),
                message.get("options", {}),
                message.get("textures", ""),
            )
        except (KeyError, TypeError) as error:
            raise LotusError(f"This request lacks a field or has one of another type ({error}).") from None
        if not request.maps or not set(request.maps) <= set(MAPS):
            raise LotusError(f"Ask for one or more of {', '.join(MAPS)}, not {list(request.maps)}.")
        if request.textures not in ("", *SUFFIXES):
            raise LotusError(f"Images of maps end in {' or '.join(SUFFIXES)}, not in {request.textures!r}.")
        return request

    def arguments(self) -> argparse.Namespace:
        """The parsed command line that means the same. Raises LotusError for options that `lotus predict` lacks."""
        from ..cli import parser

        argv = ["predict", str(self.image), "-o", str(self.folder), "--format", "npy"]
        for model in self.models:
            argv.append(f"--model={model}")
        for name, value in self.options.items():
            option = name.replace("_", "-")
            if option in RESERVED:
                raise LotusError(f"{name!r} is not an option of a request.")
            if value is True:
                argv.append(f"--{option}")
            elif value is not None and value is not False:
                argv.append(f"--{option}={value}")
        args = parser().parse_args(argv)
        args.argv = argv
        return args


class Jobs:
    """Carries requests out, one after the other."""

    def __init__(self) -> None:
        self._models: dict[tuple[Any, ...], LotusModel] = {}  # least recently used first

    def predict(self, request: Request, progress: Progress, cancel: Cancel) -> dict[str, Any]:
        """Write the maps of one image, all or none; returns the fields of "done".

        Raises LotusError for whatever the user can put right, and Cancelled.
        """
        from ..cli.outputs import OutputFolder
        from ..cli.predict import predict_image
        from ..cli.predictors import Predictors
        from ..memory import memory_as_lotus_error

        start = time.perf_counter()
        args = request.arguments()
        image = open_image(request.image, args.exposure or 0.0)  # before the models: a bad file name is told at once
        loaded = 0.0
        share = 1 - TEXTURES_SHARE if request.textures else 1.0

        def downloading(fraction: float, text: str) -> None:
            if cancel():
                raise Cancelled
            progress(fraction * LOADING_SHARE, text)

        def load(name: str, args: argparse.Namespace, maps: Sequence[str]) -> LotusModel:
            nonlocal loaded
            if cancel():
                raise Cancelled
            key = _key(name, args)
            if key not in self._models:
                loaded = LOADING_SHARE
                progress(0.0, f"Loading {Path(name).name}")
            return self._load(key, name, args, maps, downloading)

        try:
            with memory_as_lotus_error(), OutputFolder(request.folder) as folder:
                predictors = Predictors(args, request.models, request.maps, load=load, cancel=cancel)
                written = predict_image(
                    predictors,
                    image,
                    request.image,
                    folder,
                    args,
                    lambda fraction, text: progress(loaded + fraction * (share - loaded), text),
                )
                stem = request.image.stem
                at = {name: str(request.folder / name) for name in written}
                files = {map_: Path(at[f"{stem}_{map_}.npy"]) for map_ in request.maps}
                textures = write_textures(files, request.textures, progress, cancel) if request.textures else {}
        finally:
            _return_memory()
        return {
            **({"textures": textures} if textures else {}),
            "files": {map_: str(path) for map_, path in files.items()},
            "previews": {map_: at[f"{stem}_{map_}_preview.png"] for map_ in request.maps},
            "record": at[f"{stem}.json"],
            "notes": predictors.notes,
            "seconds": round(time.perf_counter() - start, 3),
        }

    def _load(
        self, key: tuple[Any, ...], name: str, args: argparse.Namespace, maps: Sequence[str], downloading: Progress
    ) -> LotusModel:
        from ..cli.predictors import load_for_maps

        model = self._models.pop(key, None)
        if model is None:
            while len(self._models) >= LOADED_AT_ONCE:
                del self._models[next(iter(self._models))]
            _return_memory()
            model = load_for_maps(name, args, maps, downloading)
        self._models[key] = model
        return model


def write_textures(files: dict[str, Path], suffix: str, progress: Progress, cancel: Cancel) -> dict[str, Any]:
    """The images of maps, beside their files: map → `Texture.to_dict()`. Raises LotusError and Cancelled."""
    from ..maps import TYPES
    from ..maps.textures import write_texture

    textures = {}
    for done, (map_, path) in enumerate(files.items()):
        if cancel():
            raise Cancelled
        progress(1 - TEXTURES_SHARE * (1 - done / len(files)), "Writing images")
        textures[map_] = write_texture(TYPES[map_].load(path), path.with_suffix(suffix)).to_dict()
    progress(1.0, "Writing images")
    return textures


def open_image(path: Path, exposure: float = 0.0) -> LoadedImage:
    """The photo: a picture file, or .npy pixels. Raises LotusError.

    exposure: stops for scene-linear files. Hosts show them unexposed, so that one frame of a sequence is like another.
    """
    from ..images import load_image

    if path.suffix.lower() != ".npy":
        return load_image(path, exposure=exposure)
    import numpy as np

    try:
        pixels = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise LotusError(f"There is no file {path}.") from None
    except (OSError, ValueError, EOFError) as error:
        raise LotusError(f"{path} is not a readable NPY file of pixels ({error}): write it again.") from None
    return load_image(pixels)


def _key(name: str, args: argparse.Namespace) -> tuple[Any, ...]:
    """What decides which model a name means: the options about it, and the age of its files, which may be replaced."""
    from ..checkpoints.rest import files_of

    changed = [path.stat().st_mtime_ns if path.exists() else 0 for path in files_of(Path(name).expanduser())]
    options = sorted((option, repr(value)) for option, value in vars(args).items() if option not in OF_THE_PREDICTION)
    return (name, *changed, *options)


def _return_memory() -> None:
    """Give what torch keeps in reserve back to the system: the host shares the GPU and the memory with us."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
