"""The official layout: a folder of unet/ vae/ text_encoder/ tokenizer/ scheduler/, each with its config and weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..errors import LotusError
from ..model import Autoencoder, LotusModel
from ..model_info import RELEASED_RESOLUTION, ModelInfo
from .assemble import assign, build_autoencoder, build_unet, check_names, read_tensors
from .header import read_header, refuse_pickle
from .prompt import empty_prompt_embedding
from .registry import meaning_of

WEIGHTS = "diffusion_pytorch_model"
INFO = "lotus.json"  # says what a folder predicts where its name does not: {"task": …, "space": …, "resolution": …}
# Attention of autoencoders saved before diffusers 0.18; Stable Diffusion 2 itself still has them.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_folder(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    task: str | None = None,
    space: str | None = None,
    name: str | None = None,
) -> LotusModel:
    """The model in a diffusers folder. `name`: what it is called where the folder's own name does not matter (hub id).

    Raises LotusError where parts are missing, do not fit, or nothing says what the model predicts.
    """
    unet_config = _config(folder, "unet")  # before asking for a task: a folder of anything else has no unet/
    info = _info(folder, name or folder.resolve().as_posix(), task, space)
    unet = build_unet(unet_config, str(folder / "unet"))
    _give_weights(unet, folder, "unet", device, dtype)
    vae = load_autoencoder(folder, device, dtype)
    prompt = empty_prompt_embedding(folder).to(device=device, dtype=dtype)
    return LotusModel(unet, vae, prompt, info)


def load_autoencoder(folder: Path, device: torch.device, dtype: torch.dtype) -> Autoencoder:
    """The autoencoder of a diffusers folder."""
    vae = build_autoencoder(_config(folder, "vae"), str(folder / "vae"))
    _give_weights(vae, folder, "vae", device, dtype)
    return vae


def _info(folder: Path, place: str, task: str | None, space: str | None) -> ModelInfo:
    """What the folder predicts: explicit arguments, else its lotus.json, else its published name."""
    stated = read_json(folder / INFO) if (folder / INFO).is_file() else {}
    meaning = meaning_of(place)
    known_task = meaning.task if meaning else None
    known_space = meaning.space if meaning else None
    task = task or stated.get("task") or known_task
    if task is None:
        raise LotusError(f"Nothing says what {place} predicts: pass --task depth or --task normal (task= in Python).")
    if task == "depth":
        space = space or stated.get("space") or known_space
        if space is None:
            raise LotusError(
                f"Nothing says whether the depth of {place} is disparity or depth: pass --space disparity or --space"
                " depth (space= in Python)."
            )
    scheduler = folder / "scheduler" / "scheduler_config.json"
    return ModelInfo(
        name=stated.get("name") or place.rstrip("/").rsplit("/", 1)[-1],
        task=task,
        space=space,
        resolution=stated.get("resolution", RELEASED_RESOLUTION),
        scheduler_config=read_json(scheduler) if scheduler.is_file() else {},
    )


def _give_weights(module: torch.nn.Module, folder: Path, part: str, device: torch.device, dtype: torch.dtype) -> None:
    """Fill a module on the meta device from the safetensors of `part`."""
    headers = [read_header(file) for file in _weight_files(folder / part)]
    names = {header.path: {name: _current_name(name) for name in header.tensors} for header in headers}
    shapes = {names[header.path][stored]: entry.shape for header in headers for stored, entry in header.tensors.items()}
    check_names(module, shapes, part, str(folder / part))
    assign(
        module,
        (pair for header in headers for pair in read_tensors(header.path, names[header.path], device, dtype)),
    )


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors of one part: a single file in full or half precision, or the shards that its index names."""
    for variant in ("", ".fp16"):
        single = folder / f"{WEIGHTS}{variant}.safetensors"
        if single.is_file():
            return [single]
        index = folder / f"{WEIGHTS}.safetensors.index{variant}.json"
        if index.is_file():
            shards = read_json(index).get("weight_map")
            if not isinstance(shards, dict) or not all(Path(str(shard)).name == shard for shard in shards.values()):
                raise LotusError(f"{index} does not list the files of the weights: download it again.")
            return [folder / shard for shard in sorted(set(shards.values()))]
    for pickled in sorted(folder.glob("*.bin")):
        refuse_pickle(pickled)
    raise LotusError(f"{folder} holds no {WEIGHTS}.safetensors: download the model again.")


def _current_name(name: str) -> str:
    for old, new in OLD_ATTENTION.items():
        for kind in ("weight", "bias"):
            if name.endswith(f".{old}.{kind}"):
                return name.removesuffix(f"{old}.{kind}") + f"{new}.{kind}"
    return name


def _config(folder: Path, part: str) -> dict[str, Any]:
    path = folder / part / "config.json"
    if not path.is_file():
        raise LotusError(
            f"{folder} is not a model in the diffusers layout: it lacks {part}/config.json; choose the folder that"
            " holds unet/, vae/, text_encoder/ and tokenizer/."
        )
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or LotusError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise LotusError(f"{path} cannot be read as a JSON object: download it again.")
    return value
