"""What a file with nothing but a U-Net lacks: the VAE from models/vae, the prompt from ComfyUI, its meaning by name."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotus_core.checkpoints.format import is_ours
from lotus_core.checkpoints.header import read_header
from lotus_core.checkpoints.layouts import contents_of
from lotus_core.checkpoints.load import stated_task
from lotus_core.checkpoints.registry import embedded
from lotus_core.errors import LotusError

from .files import AUTOMATIC, stamp, vae_choices, vae_path

if TYPE_CHECKING:
    import torch

KNOWN_VAE = re.compile(r"vae-ft-(mse|ema)|kl-f8|sd-?vae", re.IGNORECASE)  # published for Stable Diffusion 1 and 2
LATENT_CHANNELS = 4


def vae_for(path: str, choice: str) -> str | None:
    """The VAE file that goes with the model at `path` (or name, or hub id); None where that has its own.

    choice: of the VAE dropdown. Raises LotusError where it is automatic and models/vae has none that fits, or several.
    """
    if choice != AUTOMATIC:
        return vae_path(choice)
    if not os.path.isfile(path) or _is_whole(path) or contents_of(read_header(path)).vae is not None:
        return None
    fitting = [name for name in vae_choices() if name != AUTOMATIC and _fits(vae_path(name), *stamp(vae_path(name)))]
    known = [name for name in fitting if KNOWN_VAE.search(Path(name).name)]
    if known or len(fitting) == 1:
        return vae_path((known or fitting)[0])
    if fitting:
        several = ", ".join(fitting)
        raise LotusError(f"{path} has no VAE and models/vae has several ({several}): choose one in Load Lotus.")
    raise LotusError(
        f"{path} is a U-Net without VAE: put that of Stable Diffusion, vae-ft-mse-840000-ema-pruned.safetensors, into"
        " models/vae."
    )


def host_prompt(path: str) -> torch.Tensor | None:
    """ComfyUI's own embedding of the empty prompt, 1×2×1024, for a model that lacks it; None for one that has it.

    For hub ids too: their text encoder, most of a gigabyte, need not be downloaded.
    """
    if os.path.isfile(path):
        if _is_whole(path) or contents_of(read_header(path)).prompt is not None:
            return None
    elif path in embedded() or os.path.isdir(os.path.join(path, "text_encoder")):
        return None
    from comfy_extras.nodes_lotus import LotusConditioning

    conditioning: torch.Tensor = LotusConditioning.execute().args[0][0][0]
    return conditioning.detach().float().cpu()


def meaning_for(path: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """What `load_model` is told of the model's meaning: nothing where its file says it itself.

    chosen: task and space of the dropdown, empty where it is automatic. Raises LotusError where nothing says it.
    """
    if os.path.isfile(path) and _is_whole(path):
        return {}
    if not chosen and stated_task(path) is None:
        raise LotusError(
            f"The name {Path(path).name} does not say what the model predicts: choose it in Load Lotus (predicts)."
        )
    return chosen


def _is_whole(path: str) -> bool:
    """Whether a file is one of ours, which lacks nothing, or names the file that has it."""
    return is_ours(read_header(path))


@functools.lru_cache(maxsize=256)
def _fits(path: str, *_: int) -> bool:
    """Whether a file is the VAE of Stable Diffusion 1 or 2, as far as names and shapes tell."""
    try:
        vae = contents_of(read_header(path)).vae
    except LotusError:
        return False
    shape = vae.shapes.get("decoder.conv_in.weight", ()) if vae is not None else ()
    return shape[1:2] == (LATENT_CHANNELS,) and "xl" not in Path(path).stem.lower()
