"""A U-Net alone in a file, as ComfyUI's diffusion_models/ has it, or inside a whole Stable Diffusion checkpoint."""

from __future__ import annotations

import shlex

import torch

from ..errors import LotusError
from ..model import Autoencoder, LotusModel, variant_of
from .assemble import Unfilled, build_unet, unfilled
from .autoencoders import bare_autoencoder
from .configs import SCHEDULER, unet_config
from .format import not_ours
from .header import Header
from .layouts import Contents, contents_of
from .meaning import settle_info
from .registry import hub_id, place_of, published_name

EXAMPLE = "lotus-depth-g-v2-1-disparity"


def load_bare(
    header: Header,
    device: torch.device,
    dtype: torch.dtype,
    *,
    task: str | None,
    space: str | None,
    vae: Unfilled[Autoencoder] | None,
    prompt: torch.Tensor | None,
    channels_last: bool = False,
) -> LotusModel:
    """The model whose U-Net is in the file of `header`, in diffusers or LDM names.

    Args:
        vae: the autoencoder; None takes the file's own.
        prompt: the embedding of the empty prompt.

    Raises LotusError for another model, and for what is missing, with the ways to get it.
    """
    contents = contents_of(header)
    unet_part, where = contents.unet, str(header.path)
    if unet_part is None or not unet_part.is_lotus:
        raise not_ours(header)
    unet = build_unet(unet_config(unet_part.shapes, where), where)
    variant = variant_of(unet.config.in_channels, unet.config.out_channels)
    info = settle_info(place_of(header.path), variant, task, space, {}, dict(SCHEDULER))
    _check_complete(header, contents, vae, prompt)
    assert prompt is not None
    filled = unfilled(unet, unet_part, "U-Net", where)
    if vae is None:
        assert contents.vae is not None
        vae = bare_autoencoder(contents.vae, where)
    return LotusModel(
        filled.fill(device, dtype, channels_last),
        vae.fill(device, dtype, channels_last),
        prompt.to(device=device, dtype=dtype),
        info,
    )


def _check_complete(
    header: Header, contents: Contents, vae: Unfilled[Autoencoder] | None, prompt: torch.Tensor | None
) -> None:
    """Raise LotusError where autoencoder or prompt are missing, with the two ways out."""
    lacking = [
        words
        for words, there in (
            ("an autoencoder", vae or contents.vae),
            ("the empty prompt's embedding", prompt is not None),
        )
        if not there
    ]
    if not lacking:
        return
    path, model = header.path, hub_id(published_name(place_of(header.path)) or EXAMPLE)
    if lacking == ["an autoencoder"]:
        raise LotusError(
            f"{path} is a U-Net without autoencoder: pass the one of Stable Diffusion, such as"
            " vae-ft-mse-840000-ema-pruned.safetensors, with --vae (vae= in Python)."
        )
    convert = f"lotus convert {shlex.quote(path.name)} whole.safetensors --vae VAE --text-encoder {model}"
    raise LotusError(
        f"{path} is a U-Net without {' and without '.join(lacking)}: make it a whole model once with `{convert}`,"
        f" or use a diffusers folder or hub id, such as {model}, instead."
    )
