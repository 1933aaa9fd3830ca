"""What Load Lotus lists: embedded checkpoints, published ones, and the Lotus files in ComfyUI's model folders."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import folder_paths

from lotus_core.checkpoints.header import read_header
from lotus_core.checkpoints.registry import PUBLISHED, embedded, hub_id
from lotus_core.errors import LotusError

# Folders that people keep Lotus files in; those that this ComfyUI does not know are skipped.
FOLDERS = ("diffusion_models", "geometry_estimation", "checkpoints", "controlnet", "depthanything")
DIFFUSERS = "diffusers"
SUFFIX = ".safetensors"
AUTOMATIC = "automatic"


def model_choices() -> list[str]:
    """Embedded names first, then local files and folders as "<model folder>/<path in it>", then hub ids."""
    return [*embedded(), *sorted(local_models()), *(hub_id(name) for name in PUBLISHED)]


def local_models() -> dict[str, str]:
    """What a Lotus file or diffusers folder is listed as, and its path."""
    found = {}
    for folder in FOLDERS:
        for name in _files(folder):
            path = folder_paths.get_full_path(folder, name)
            if path is not None and _is_lotus(path, *_stamp(path)):
                found[f"{folder}/{name}".replace("\\", "/")] = path
    for path in _diffusers_folders():
        found[f"{DIFFUSERS}/{path.name}"] = str(path)
    return found


def model_path(choice: str) -> str:
    """What `load_model` takes for a choice of the list: a name, a path or a hub id.

    Raises LotusError for a file that is not there any more.
    """
    if choice in embedded() or choice in {hub_id(name) for name in PUBLISHED}:
        return choice
    local = local_models()
    choice = choice.replace("\\", "/")
    if choice in local:
        return local[choice]
    same_name = [path for listed, path in local.items() if listed.rsplit("/", 1)[-1] == choice.rsplit("/", 1)[-1]]
    if len(same_name) == 1:  # a workflow from another machine, where the file lies in another folder
        return same_name[0]
    folder, _, name = choice.partition("/")
    path = folder_paths.get_full_path(folder, name) if folder in FOLDERS else None
    if path is not None:
        read_header(path)  # says what is wrong with it
        raise LotusError(f"{path} is not a Lotus model: choose another in Load Lotus.")
    raise LotusError(f"There is no Lotus model {choice!r} any more: choose another, or put it back and press R.")


def vae_choices() -> list[str]:
    """ "automatic", then the files in the vae folder."""
    return [AUTOMATIC, *(name.replace("\\", "/") for name in _files("vae"))]


def fast_decoder_choices() -> list[str]:
    """ "automatic", then the files in the vae_approx folder."""
    return [AUTOMATIC, *(name.replace("\\", "/") for name in _files("vae_approx"))]


def stamp_of(choice: str) -> str:
    """Changes when the file behind a choice does."""
    try:
        path = model_path(choice)
    except LotusError as error:
        return str(error)
    path = str(embedded().get(path, path))
    return f"{path} {_stamp(path)}"


def _files(folder: str) -> list[str]:
    try:
        return [name for name in folder_paths.get_filename_list(folder) if name.endswith(SUFFIX)]
    except KeyError:
        return []


def _diffusers_folders() -> list[Path]:
    roots = [Path(root) for root in folder_paths.get_folder_paths(DIFFUSERS)]
    found = [index.parent for root in roots for index in sorted(root.glob("**/model_index.json"))]
    return [path for path in found if _is_lotus_folder(path)]


def _is_lotus_folder(path: Path) -> bool:
    weights = sorted((path / "unet").glob(f"*{SUFFIX}"))
    return bool(weights) and _is_lotus(str(weights[0]), *_stamp(str(weights[0])))


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=4096)
def _is_lotus(path: str, modified: int, size: int) -> bool:
    """Whether the header is that of a Lotus model; read once for each state of the file."""
    try:
        header = read_header(path)
    except LotusError:
        return False
    entry = next((e for name, e in header.tensors.items() if name.endswith("class_embedding.linear_1.weight")), None)
    return entry is not None and entry.shape[-1:] == (4,)
