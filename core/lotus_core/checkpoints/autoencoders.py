"""The autoencoder that goes with a bare U-Net: a file in any layout, or a diffusers folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import LotusError
from ..model import Autoencoder
from .assemble import Unfilled, build_autoencoder, unfilled
from .configs import LATENT_CHANNELS, LATENT_SCALE, autoencoder_config
from .diffusers_folder import folder_autoencoder
from .diffusers_layout import WEIGHTS, read_json
from .format import is_ours
from .header import read_header
from .layouts import Part, contents_of
from .rest import parts_of
from .single_file import header_config

WRONG = "Lotus uses the autoencoder of Stable Diffusion 1 and 2, such as vae-ft-mse-840000-ema-pruned.safetensors"


def find_autoencoder(path: Path, half: bool) -> Unfilled[Autoencoder]:
    """The autoencoder in a folder (its own, or a whole model's) or a file (in diffusers or LDM names, or one of ours).

    Reads headers only; of a folder's two precisions the lower one if `half`.

    Raises LotusError for anything else, and for autoencoders with other latents.
    """
    if path.is_dir():
        return _in_folder(path / "vae" if (path / "vae").is_dir() else path, half)
    header = read_header(path)
    ours = is_ours(header)
    part = parts_of(header).vae if ours else contents_of(header).vae
    if part is None or not part.shapes:
        raise LotusError(f"{path} holds no autoencoder: {WRONG}.")
    if ours:
        vae = build_autoencoder(header_config(header, "vae_config"), str(path))
        return unfilled(vae, part, "autoencoder", str(path))
    if path.name.startswith(WEIGHTS) and path.with_name("config.json").is_file():
        return _in_folder(path.parent, half)
    if "xl" in path.stem.lower():  # its tensors have the same names and shapes
        raise LotusError(f"{path} is named like the autoencoder of Stable Diffusion XL, whose latents differ: {WRONG}.")
    return bare_autoencoder(part, str(path))


def bare_autoencoder(part: Part, where: str) -> Unfilled[Autoencoder]:
    """The autoencoder whose tensors are `part`, with the scale of Stable Diffusion 1 and 2."""
    vae = build_autoencoder(autoencoder_config(part.shapes, where), where)
    if vae.config.latent_channels != LATENT_CHANNELS:
        raise LotusError(f"The latents of {where} have {vae.config.latent_channels} channels, not 4: {WRONG}.")
    return unfilled(vae, part, "autoencoder", where)


def _in_folder(folder: Path, half: bool) -> Unfilled[Autoencoder]:
    if not (folder / "config.json").is_file():
        raise LotusError(f"{folder} holds no autoencoder: it has neither vae/config.json nor config.json.")
    config = read_json(folder / "config.json")
    scale = config.get("scaling_factor", LATENT_SCALE)
    if scale != LATENT_SCALE and config.get("_class_name") == "AutoencoderKL":
        raise LotusError(f"The latents of {folder} are scaled by {scale}, not {LATENT_SCALE}: {WRONG}.")
    return folder_autoencoder(folder, config, half)
