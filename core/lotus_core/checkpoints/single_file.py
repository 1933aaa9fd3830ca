"""Our own format: one safetensors file that holds everything a prediction needs.

Tensors `unet.*`, `vae.*` (diffusers names) and `prompt_embeds`; what the model is lies in the header as strings.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import LotusError
from ..files import atomic_path
from ..model import Autoencoder, LotusModel
from ..model_info import ModelInfo
from .assemble import Unfilled, build_autoencoder, build_unet, unfilled
from .format import FORMAT, FORMAT_VERSION, check_format
from .header import Header
from .layouts import PROMPT, SCALE, Part
from .quantise import quantised
from .reading import read_tensors


def save_model(model: LotusModel, path: str | os.PathLike[str], dtype: torch.dtype = torch.float16) -> None:
    """Write `model` to one .safetensors file, its weights as `dtype`. The file appears whole or not at all.

    torch.int8 keeps matrices and kernels in 8 bits (`quantise`), the rest in float16.

    Raises LotusError where the weights are not finite in `dtype` or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise LotusError(f"A checkpoint's name ends in .safetensors, but {path.name} does not.")
    if model.folded:
        raise LotusError(
            f"{model.info.name} is folded for prediction and cannot be saved: load it again and save that."
        )
    tensors = {f"unet.{name}": tensor for name, tensor in model.unet.state_dict().items()}
    tensors |= {f"vae.{name}": tensor for name, tensor in model.vae.state_dict().items()}
    tensors[PROMPT] = model.prompt_embeds
    if dtype == torch.int8:
        tensors = quantised(tensors)
    else:
        tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    broken = next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken is not None:
        raise LotusError(f"The model's weights are not finite as {dtype} ({broken}), so {path.name} was not written.")
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "variant": model.variant,
        "unet_config": _config_json(model.unet),
        "vae_config": _config_json(model.vae),
        **model.info.to_metadata(),
    }
    write_tensors(path, tensors, metadata)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with the permissions of any new file; it appears whole or not at all.

    Raises LotusError where it cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata)
            temporary.chmod(mode)  # safetensors makes files that only their owner can read
    except SafetensorError as error:
        raise LotusError(f"Cannot write {path} ({error}): free some space or choose another folder.") from None


def load_single_file(
    header: Header,
    device: torch.device,
    dtype: torch.dtype,
    *,
    vae: Unfilled[Autoencoder] | None = None,
    prompt: torch.Tensor | None = None,
) -> LotusModel:
    """The model in the file that `header` was read from; `vae` and `prompt` take the place of its own.

    Raises LotusError for a file that is not one of ours or lacks a part.
    """
    where = str(header.path)
    check_format(header)
    info = ModelInfo.from_metadata(header.metadata, where)
    unet = build_unet(header_config(header, "unet_config"), where)
    if PROMPT not in header.tensors and prompt is None:
        raise LotusError(f"{where} lacks the embedding of the empty prompt ({PROMPT}): convert the model again.")
    filled = unfilled(unet, _part(header, "unet."), "U-Net", where)
    if vae is None:
        own = build_autoencoder(header_config(header, "vae_config"), where)
        vae = unfilled(own, _part(header, "vae."), "autoencoder", where)
    if prompt is None:
        prompt = dict(read_tensors(header, {PROMPT: PROMPT}, device, dtype))[PROMPT]
    return LotusModel(filled.fill(device, dtype), vae.fill(device, dtype), prompt.to(device=device, dtype=dtype), info)


def _part(header: Header, prefix: str) -> Part:
    names = {
        name: name.removeprefix(prefix)
        for name in header.tensors
        if name.startswith(prefix) and not name.endswith(SCALE)
    }
    return Part.of([(header, names)], "diffusers", str(header.path))


def _config_json(module: torch.nn.Module) -> str:
    """A diffusers config as JSON, without what only says where it was loaded from."""
    config = json.loads(module.to_json_string())  # type: ignore[operator]
    return json.dumps({key: value for key, value in config.items() if key != "_name_or_path"}, sort_keys=True)


def header_config(header: Header, key: str) -> dict[str, Any]:
    """A network's diffusers config from the header of one of our files, or LotusError."""
    try:
        config = json.loads(header.metadata[key])
    except (KeyError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise LotusError(f"{header.path} lacks a readable {key} in its header: convert the model again.")
    return config
