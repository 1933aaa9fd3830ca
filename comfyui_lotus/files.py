"""What Load Lotus lists: embedded checkpoints, published ones, and the Lotus files in ComfyUI's model folders."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from lotus_core.checkpoints.format import is_ours
from lotus_core.checkpoints.header import read_header
from lotus_core.checkpoints.layouts import contents_of
from lotus_core.checkpoints.registry import PUBLISHED, embedded, embedded_decoders, hub_id
from lotus_core.errors import LotusError

# Folders that people keep Lotus files in; those that this ComfyUI does not know are skipped.
FOLDERS = ("diffusion_models", "geometry_estimation", "checkpoints", "controlnet", "depthanything")
DIFFUSERS, VAE, FAST = "diffusers", "vae", "vae_approx"
SUFFIX = ".safetensors"
INDEX = "model_index.json"
AUTOMATIC = "automatic"
GENERIC = re.compile(r"(diffusion_pytorch_)?model(\..*)?\.safetensors")
TAESD = re.compile(r"taesd(_decoder)?\.safetensors")  # that of SD 1 and 2, not taesdxl

if "geometry_estimation" not in folder_paths.folder_names_and_paths:  # as in ComfyUI 0.3.64; 0.30 knows it
    place = os.path.join(folder_paths.models_dir, "geometry_estimation")
    folder_paths.folder_names_and_paths["geometry_estimation"] = ([place], {SUFFIX})


def model_choices() -> list[str]:
    """Embedded names first, then local files and folders as "<model folder>/<path in it>", then hub ids."""
    return [*embedded(), *sorted(local_models()), *(hub_id(name) for name in PUBLISHED)]


def local_models() -> dict[str, str]:
    """What a Lotus file or diffusers folder is listed as, and its path."""
    found = {}
    for folder in FOLDERS:
        for name in _files(folder):
            path = folder_paths.get_full_path(folder, name)
            if path is not None and _is_lotus(path):
                found[f"{folder}/{_slashes(name)}"] = path
    for root in _roots(DIFFUSERS):
        for place in _diffusers_folders(root):
            if _is_lotus(str(place)):
                found[f"{DIFFUSERS}/{place.relative_to(root).as_posix()}"] = str(place)
    return found


def model_path(choice: str) -> str:
    """What `load_model` takes for a choice of the list: a name, a path or a hub id.

    Raises LotusError for a file that is not there any more, damaged, or of another model.
    """
    if choice in embedded() or choice in {hub_id(name) for name in PUBLISHED}:
        return choice
    local = local_models()
    choice = _slashes(choice)
    if choice in local:
        return local[choice]
    same_name = [path for listed, path in local.items() if _own_name(listed) == _own_name(choice)]
    if len(same_name) == 1:  # a workflow from another machine, where the file lies in another folder
        return same_name[0]
    folder, _, name = choice.partition("/")
    path = folder_paths.get_full_path(folder, name) if folder in FOLDERS else None
    if path is not None:
        read_header(path)  # says what is wrong with it
        raise LotusError(f"{path} is not a Lotus model: choose another in Load Lotus.")
    raise LotusError(f"There is no Lotus model {choice!r} any more: choose another, or put it back and press R.")


def _own_name(choice: str) -> str:
    """The part of a choice that tells a model from others: diffusers calls every one's weights alike."""
    folders, _, name = choice.rpartition("/")
    return f"{_own_name(folders.removesuffix('/unet'))}/{name}" if GENERIC.fullmatch(name) and folders else name


def vae_choices() -> list[str]:
    """ "automatic", then the files in the vae folder."""
    return [AUTOMATIC, *(_slashes(name) for name in _files(VAE))]


def vae_path(choice: str) -> str:
    """The file behind a choice. Raises LotusError for one that is not there any more."""
    return _required(VAE, choice)


def fast_decoder_choices() -> list[str]:
    """ "automatic", then those that are included, then the files in the vae_approx folder."""
    return [AUTOMATIC, *embedded_decoders(), *(_slashes(name) for name in _files(FAST))]


def fast_decoder_path(choice: str, model: str) -> str | None:
    """What `load_model` takes as fast_decoder. Raises LotusError for a file that is not there any more.

    automatic: for an included model the included one; else TAESD, where it lies in the vae_approx folder.
    """
    if choice != AUTOMATIC:
        return choice if choice in embedded_decoders() else _required(FAST, choice)
    if model in embedded():
        return next(iter(embedded_decoders()), None)
    return next((_required(FAST, name) for name in _files(FAST) if TAESD.fullmatch(Path(name).name)), None)


def everything_listed() -> list[str]:
    """The paths of all models, VAEs and fast decoders in the model folders."""
    others = (folder_paths.get_full_path(folder, name) for folder in (VAE, FAST) for name in _files(folder))
    return [*local_models().values(), *(path for path in others if path is not None)]


def stamp(path: str) -> tuple[int, int]:
    """Changes when the file or folder does, or a file in it; that of a hub id or a name is always the same."""
    try:
        states = [file.stat() for file in (Path(path), *Path(path).glob("*"), *Path(path).glob("*/*"))]
    except OSError:
        return 0, 0
    # Sums, not the latest: a file put back from an archive is older than the one it replaces.
    return sum(state.st_mtime_ns for state in states), sum(state.st_size for state in states)


def _diffusers_folders(root: Path) -> Iterator[Path]:
    """Folders with a model_index.json, through links too, as ComfyUI lists files; none inside another."""
    seen = set()  # links may lead back
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if INDEX in files and Path(place) != root:
            yield Path(place)
        if INDEX in files or real in seen:
            folders.clear()
        seen.add(real)
        folders.sort()


def _is_lotus(path: str) -> bool:
    """Whether a file or diffusers folder is a Lotus model's; its header is read once for each state of it."""
    weights = sorted((Path(path) / "unet").glob(f"*{SUFFIX}")) if os.path.isdir(path) else [Path(path)]
    return bool(weights) and _holds_lotus(str(weights[0]), *stamp(str(weights[0])))


@functools.lru_cache(maxsize=4096)
def _holds_lotus(path: str, *_: int) -> bool:
    try:
        header = read_header(path)
    except LotusError:
        return False
    unet = contents_of(header).unet
    return is_ours(header) or (unet is not None and unet.is_lotus)


def _required(folder: str, name: str) -> str:
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise LotusError(f"There is no {name!r} in models/{folder} any more: choose another or put it back.")
    return str(path)


def _files(folder: str) -> list[str]:
    try:
        return [name for name in folder_paths.get_filename_list(folder) if name.endswith(SUFFIX)]
    except KeyError:
        return []


def _roots(folder: str) -> list[Path]:
    try:
        return [Path(root) for root in folder_paths.get_folder_paths(folder)]
    except KeyError:
        return []


def _slashes(name: str) -> str:
    return name.replace("\\", "/")  # a workflow is to mean the same on Windows
