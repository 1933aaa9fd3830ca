"""Small autoencoders in place of the checkpoint's own: AutoencoderTiny, with the weights of TAESD or trained by us.

TAESD (madebyollin/taesd) stands in for the autoencoder of Stable Diffusion 1 and 2, whose latents Lotus uses. Its files
come in two layouts: diffusers' (`decoder.layers.N.*`) and the original one, a file each for encoder and decoder whose
tensors are called by their layer alone (`N.*`; the decoder's layer 0 is a clamp, which diffusers does not count).
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderTiny

from .checkpoints.assemble import build_autoencoder, unfilled
from .checkpoints.diffusers_layout import read_json
from .checkpoints.header import PICKLE_SUFFIXES, Header, read_header
from .checkpoints.hub import HUB_ID, download, matching
from .checkpoints.layouts import Part
from .checkpoints.registry import embedded_decoders
from .errors import LotusError
from .model import Decoder, LotusModel, latent_factor
from .upsampling import fold_upsampling

NAMES = {"taesd": "madebyollin/taesd"}  # short names of hub ids
HUB_FILES = matching("config.json", "*.safetensors")
CENTRE = 16  # latents along the edge of the part on which decoders are compared: 1.6 % of the work at 1024×1024
_BOTH: tuple[Decoder, Decoder] = ("exact", "fast")
_LAYER = re.compile(r"(?:taesd_(?:de|en)coder\.)?(\d+\..+)")


def attach_fast_decoder(model: LotusModel, source: str | os.PathLike[str]) -> LotusModel:
    """Load `source` (see `load_fast_decoder`) as the fast decoder of `model`, on its device, in its precision.

    Raises LotusError where it decodes other latents than those of `model`.
    """
    like = next(model.vae.parameters())
    fast = load_fast_decoder(source, like.device, like.dtype)
    if fast.config.latent_channels != model.latent_channels or latent_factor(fast) != model.latent_factor:
        raise LotusError(
            f"{source} decodes latents of {fast.config.latent_channels} channels, {latent_factor(fast)} times smaller"
            f" than the image, but those of {model.info.name} have {model.latent_channels} and are"
            f" {model.latent_factor} times smaller: it belongs to another model."
        )
    fold_upsampling(fast.decoder)
    model.fast_vae = fast.to(memory_format=torch.channels_last)
    model.fast_name = Path(source).name if Path(source).exists() else os.fspath(source)
    return model


def decoder_psnr(model: LotusModel, latents: torch.Tensor) -> float:
    """PSNR in dB of the map that the fast decoder makes of `latents` against the exact one's, over the map's range.

    Depth is compared in [0, 1], normals as unit vectors, whose components range over [−1, 1].
    """
    depth = model.info.task == "depth"
    exact, fast = (model.decode(latents, decoder=decoder, mean=depth).float() for decoder in _BOTH)
    if depth:
        exact, fast = ((decoded / 2 + 0.5).clamp(0, 1) for decoded in (exact, fast))
    else:
        exact, fast = (torch.nn.functional.normalize(decoded, dim=1) for decoded in (exact, fast))
    error = float((exact - fast).square().mean())
    return 10 * math.log10((1.0 if depth else 4.0) / max(error, 1e-12))


def centre(latents: torch.Tensor) -> torch.Tensor:
    """The middle of B×C×h×w, at most CENTRE along each edge."""
    height, width = (min(size, CENTRE) for size in latents.shape[-2:])
    top, left = (latents.shape[-2] - height) // 2, (latents.shape[-1] - width) // 2
    return latents[..., top : top + height, left : left + width]


def load_fast_decoder(source: str | os.PathLike[str], device: torch.device, dtype: torch.dtype) -> AutoencoderTiny:
    """An AutoencoderTiny from a name, a .safetensors file, a folder or a hub id.

    Where `source` holds no encoder (the original layout has it in a file of its own, which is read too if it lies
    beside it under the name with "encoder" for "decoder"), the result's `encoder` is None.

    Raises LotusError for anything else.
    """
    name = os.fspath(source)
    path = embedded_decoders().get(name, Path(name).expanduser())
    if not path.exists():
        hub_id = NAMES.get(name, name)
        if not HUB_ID.fullmatch(hub_id) or name.lower().endswith((".safetensors", *PICKLE_SUFFIXES)):
            known = ", ".join([*embedded_decoders(), *NAMES])
            raise LotusError(f"There is no fast decoder {name!r}: name a file, a folder or one of {known}.")
        path = download(hub_id, HUB_FILES)
    return _from_files(_files(path), device, dtype)


def _files(path: Path) -> list[Header]:
    """Headers of the file, or of those in a folder, that hold the autoencoder; the decoder's first."""
    if path.is_file():
        header = read_header(path)
        beside = path.with_name(path.name.replace("decoder", "encoder"))
        return [header, read_header(beside)] if beside != path and beside.is_file() and _original(header) else [header]
    for name in ("diffusion_pytorch_model.safetensors", "taesd_decoder.safetensors"):
        if (path / name).is_file():
            return _files(path / name)
    raise LotusError(f"{path} holds neither diffusion_pytorch_model.safetensors nor taesd_decoder.safetensors.")


def _original(header: Header) -> bool:
    return all(_LAYER.fullmatch(name) for name in header.tensors)


def _from_files(headers: list[Header], device: torch.device, dtype: torch.dtype) -> AutoencoderTiny:
    where = str(headers[0].path)
    named = [_diffusers_names(header) for header in headers]
    part = Part.of(zip(headers, named, strict=True), "diffusers", where)
    vae = cast(AutoencoderTiny, build_autoencoder(_config(part.shapes, headers[0]), where))
    if not any(name.startswith("encoder.") for name in part.shapes):
        vae.encoder = None
    return unfilled(vae, part, "fast decoder", where).fill(device, dtype).eval().requires_grad_(False)


def _diffusers_names(header: Header) -> dict[str, str]:
    """Name in the file → name in diffusers."""
    if not _original(header):
        return {name: name for name in header.tensors}
    layers = {name: cast(re.Match[str], _LAYER.fullmatch(name))[1] for name in header.tensors}
    if "0.weight" in layers.values():
        return {name: f"encoder.layers.{layer}" for name, layer in layers.items()}
    shifted = (layer.split(".", 1) for layer in layers.values())
    return {name: f"decoder.layers.{int(n) - 1}.{rest}" for name, (n, rest) in zip(layers, shifted, strict=True)}


def _config(shapes: dict[str, tuple[int, ...]], header: Header) -> dict[str, Any]:
    """The config beside the file, or the arguments of AutoencoderTiny as the tensors show them."""
    decoder = _stages(shapes, "decoder")
    if not decoder:
        raise LotusError(f"{header.path} holds no decoder of an AutoencoderTiny (as TAESD is): it is another model.")
    beside = header.path.with_name("config.json")
    if beside.is_file():
        return read_json(beside)
    encoder = _stages(shapes, "encoder") or decoder[::-1]
    first = shapes["decoder.layers.0.weight"]
    return {
        "_class_name": "AutoencoderTiny",
        "latent_channels": first[1],
        "encoder_block_out_channels": [first[0]] * len(encoder),
        "decoder_block_out_channels": [first[0]] * len(decoder),
        "num_encoder_blocks": encoder,
        "num_decoder_blocks": decoder,
        "scaling_factor": 1.0,  # TAESD decodes scaled latents as they are, and so do the decoders that we train
    }


def _stages(shapes: dict[str, tuple[int, ...]], part: str) -> list[int]:
    """Blocks at each resolution: every plain convolution but the one at the network's end opens or closes a stage."""
    found = re.compile(rf"{part}\.layers\.(\d+)\.(weight|conv\.0\.weight)")
    kinds = {int(match[1]): match[2] for name in shapes if (match := found.fullmatch(name))}
    if part == "decoder" and "decoder.layers.0.weight" not in shapes:
        return []
    stages: list[int] = []
    for layer in sorted(kinds):
        if kinds[layer] == "weight":
            stages.append(0)
        elif stages:
            stages[-1] += 1
    return stages[:-1]
