"""The official layout: a folder of unet/ vae/ text_encoder/ tokenizer/ scheduler/, each with its config and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import LotusError
from ..model import Autoencoder, LotusModel, variant_of
from .assemble import Unfilled, build_autoencoder, build_unet, unfilled
from .diffusers_layout import INFO, PROMPT_FILE, read_json, read_part
from .header import read_header
from .layouts import PROMPT
from .ldm import autoencoder_names
from .meaning import settle_info
from .prompt import empty_prompt_embedding
from .reading import read_tensors
from .registry import place_of


def load_folder(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    task: str | None = None,
    space: str | None = None,
    name: str | None = None,
    vae: Unfilled[Autoencoder] | None = None,
    prompt: torch.Tensor | None = None,
    channels_last: bool = False,
) -> LotusModel:
    """The model in a diffusers folder.

    Args:
        name: what it is called where the folder's own name does not matter (hub id).
        vae, prompt: in place of the folder's own autoencoder and text encoder.

    Raises LotusError where parts are missing, do not fit, or nothing says what the model predicts.
    """
    unet_config = _config(folder, "unet")  # before asking for a task: a folder of anything else has no unet/
    half = dtype.itemsize == 2
    network = build_unet(unet_config, str(folder / "unet"))
    unet = unfilled(network, read_part(folder / "unet", half), "U-Net", str(folder / "unet"))
    autoencoder = vae or folder_autoencoder(folder / "vae", _config(folder, "vae"), half)
    variant = variant_of(network.config.in_channels, network.config.out_channels)
    stated = read_json(folder / INFO) if (folder / INFO).is_file() else {}
    scheduler = folder / "scheduler" / "scheduler_config.json"
    schedule = read_json(scheduler) if scheduler.is_file() else {}
    info = settle_info(name or place_of(folder), variant, task, space, stated, schedule)
    # The text encoder first: it is gone before the weights come.
    prompt = _prompt(folder, prompt).to(device=device, dtype=dtype)
    return LotusModel(
        unet.fill(device, dtype, channels_last), autoencoder.fill(device, dtype, channels_last), prompt, info
    )


def folder_autoencoder(folder: Path, config: dict[str, Any], half: bool) -> Unfilled[Autoencoder]:
    """The autoencoder whose config and weights are in `folder`, whatever its attention is called."""
    part = read_part(folder, half, autoencoder_names)
    return unfilled(build_autoencoder(config, str(folder)), part, "autoencoder", str(folder))


def _prompt(folder: Path, given: torch.Tensor | None) -> torch.Tensor:
    if given is not None:
        return given
    kept = folder / PROMPT_FILE
    if not kept.is_file():
        return empty_prompt_embedding(folder)
    header = read_header(kept)
    if PROMPT not in header.tensors:
        raise LotusError(f"{kept} holds no {PROMPT}: convert the model again.")
    return dict(read_tensors(header, {PROMPT: PROMPT}, torch.device("cpu"), torch.float32))[PROMPT]


def _config(folder: Path, part: str) -> dict[str, Any]:
    path = folder / part / "config.json"
    if not path.is_file():
        raise LotusError(
            f"{folder} is not a model in the diffusers layout: it lacks {part}/config.json; choose the folder that"
            " holds unet/, vae/, text_encoder/ and tokenizer/."
        )
    return read_json(path)
