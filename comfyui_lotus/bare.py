"""What a bare U-Net file lacks and ComfyUI has: the autoencoder in models/vae, and the empty prompt's embedding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotus_core.checkpoints.configs import LATENT_CHANNELS
from lotus_core.checkpoints.format import FORMAT
from lotus_core.checkpoints.header import read_header
from lotus_core.checkpoints.layouts import contents_of
from lotus_core.checkpoints.registry import embedded
from lotus_core.errors import LotusError

from .files import AUTOMATIC, VAE, vae_choices, vae_path

if TYPE_CHECKING:
    import torch

COMMON = "vae-ft-mse-840000-ema-pruned.safetensors"  # what ComfyUI's own Lotus template asks for


def other_parts(model: str, vae: str) -> dict[str, Any]:
    """Arguments of `load_model` for the choices in Load Lotus. Raises LotusError where models/vae has none fitting."""
    given = {} if vae == AUTOMATIC else {"vae": vae_path(vae)}
    if model in embedded() or not Path(model).is_file():
        return given
    header = read_header(model)
    contents = contents_of(header)
    if header.metadata.get("format") == FORMAT or contents.unet is None:
        return given
    if contents.vae is None and not given:
        given = {"vae": _automatic_vae(model)}
    return {**given, "prompt_embeds": _host_prompt()}


def _automatic_vae(model: str) -> str:
    """The file in models/vae that is an autoencoder of Stable Diffusion 1 or 2; of several the common one."""
    fitting = [choice for choice in vae_choices() if choice != AUTOMATIC and _fits(vae_path(choice))]
    if not fitting:
        raise LotusError(
            f"{Path(model).name} is a U-Net without VAE, and models/{VAE} holds none that fits: put {COMMON} there and"
            " press R."
        )
    return vae_path(next((choice for choice in fitting if choice.endswith(COMMON)), fitting[0]))


def _fits(path: str) -> bool:
    """By its tensors, and by its name: those of Stable Diffusion XL are alike."""
    try:
        part = contents_of(read_header(path)).vae
    except LotusError:
        return False
    shape = part.shapes.get("decoder.conv_in.weight", ()) if part else ()
    return shape[1:2] == (LATENT_CHANNELS,) and "xl" not in Path(path).stem.lower()


def _host_prompt() -> torch.Tensor:
    """The constant of ComfyUI's own Lotus node, 1×2×1024 float32 on the CPU."""
    from comfy_extras.nodes_lotus import LotusConditioning

    node: Any = LotusConditioning  # its form changed from one ComfyUI to the next
    output = node.execute() if hasattr(node, "execute") else node().conditioning()
    conditioning = getattr(output, "result", output)[0]
    embedding: torch.Tensor = conditioning[0][0].detach().float().cpu()
    return embedding
