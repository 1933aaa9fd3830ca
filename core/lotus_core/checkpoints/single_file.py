"""Our own format: one safetensors file that holds everything a prediction needs, alone or with another one.

Tensors `unet.*`, `vae.*` (diffusers names) and `prompt_embeds`; what the model is lies in the header as strings. Large
files hold kernels O×H×W×I, and say so there (`header.KERNELS`), so that they need not be reordered for every start. A
file may lack tensors that another one in its folder has, and then names that one (`rest`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import LotusError
from ..model import Autoencoder, LotusModel
from ..model_info import ModelInfo
from ..precision import not_finite
from . import reading
from .assemble import Unfilled, build_autoencoder, build_unet, unfilled
from .format import FORMAT, WHOLE, WITH_REST
from .header import CHANNELS_LAST, KERNELS, Header, name_some, read_header
from .layouts import PROMPT, SCALE
from .quantise import quantised
from .reading import read_tensors
from .rest import parts_of, rest_metadata
from .writing import write_tensors

_SAVED = (torch.float16, torch.bfloat16, torch.float32, torch.int8)


def save_model(
    model: LotusModel,
    path: str | os.PathLike[str],
    dtype: torch.dtype = torch.float16,
    rest: str | os.PathLike[str] | None = None,
) -> None:
    """Write `model` to one .safetensors file, its weights as `dtype`. The file appears whole or not at all.

    torch.int8 keeps matrices and kernels in 8 bits (`quantise`), the rest in float16. `rest` is a whole file of ours in
    the same folder: tensors that it holds bit for bit are left out, and whoever loads the new file needs both.

    Raises LotusError for another dtype, where the weights are not finite in `dtype`, `rest` is no such file or shares
    less than half of the bytes, or writing fails.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise LotusError(f"A checkpoint's name ends in .safetensors, but {path.name} does not.")
    if dtype not in _SAVED:
        raise LotusError(f"Weights are saved as {', '.join(map(str, _SAVED))}, not as {dtype!r}.")
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
        tensors = {name: tensor.detach().to("cpu", dtype) for name, tensor in tensors.items()}
    broken = not_finite(tensors)
    if broken is not None:
        raise LotusError(f"The model's weights are not finite as {dtype} ({broken}), so {path.name} was not written.")
    layout: dict[str, str] = {}
    if rest is not None:
        tensors = _without(tensors, path, Path(rest))
        layout |= rest_metadata(Path(rest))
    elif dtype != torch.int8 and sum(tensor.nbytes for tensor in tensors.values()) >= reading.MAP_FROM:
        # A folded model can use them where they lie in the file.
        tensors = {name: tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor for name, tensor in tensors.items()}
        layout[KERNELS] = CHANNELS_LAST
    metadata = {
        **layout,
        "format": FORMAT,
        "format_version": WHOLE if rest is None else WITH_REST,
        "variant": model.variant,
        "unet_config": _config_json(model.unet),
        "vae_config": _config_json(model.vae),
        **model.info.to_metadata(),
    }
    write_tensors(path, tensors, metadata)


def load_single_file(
    header: Header,
    device: torch.device,
    dtype: torch.dtype,
    *,
    vae: Unfilled[Autoencoder] | None = None,
    prompt: torch.Tensor | None = None,
    channels_last: bool = False,
) -> LotusModel:
    """The model in the file that `header` was read from; `vae` and `prompt` take the place of its own.

    Raises LotusError for a file that is not one of ours or lacks a part.
    """
    where = str(header.path)
    parts = parts_of(header)
    info = ModelInfo.from_metadata(header.metadata, where)
    unet = build_unet(header_config(header, "unet_config"), where)
    if parts.prompt is None and prompt is None:
        raise LotusError(f"{where} lacks the embedding of the empty prompt ({PROMPT}): convert the model again.")
    filled = unfilled(unet, parts.unet, "U-Net", where)
    if vae is None:
        own = build_autoencoder(header_config(header, "vae_config"), where)
        vae = unfilled(own, parts.vae, "autoencoder", where)
    if prompt is None and parts.prompt is not None:
        prompt = dict(read_tensors(parts.prompt, {PROMPT: PROMPT}, device, dtype))[PROMPT]
    assert prompt is not None  # see above
    return LotusModel(
        filled.fill(device, dtype, channels_last),
        vae.fill(device, dtype, channels_last),
        prompt.to(device=device, dtype=dtype),
        info,
    )


def _without(tensors: dict[str, torch.Tensor], path: Path, rest: Path) -> dict[str, torch.Tensor]:
    """Those of `tensors` that `rest` holds differently or not. Raises LotusError unless it can go with `path`."""
    header = read_header(rest)
    if rest.parent.resolve() != path.parent.resolve() or rest.name == path.name:
        raise LotusError(f"{rest} cannot hold the rest of {path}: it has to be another file of the same folder.")
    if parts_of(header).rest is not None:
        raise LotusError(f"{rest} is not whole itself, so it cannot hold the rest of another file: name a whole one.")
    networks = {name for name in header.tensors if name.startswith(("unet.", "vae.")) and not name.endswith(SCALE)}
    if more := networks - tensors.keys():
        raise LotusError(f"{rest} holds another network, with {len(more)} tensors more ({name_some(sorted(more))}).")
    with safe_open(rest, "pt") as file:

        def there(name: str) -> bool:
            stored = file.get_tensor(name)
            stored = stored.permute(0, 3, 1, 2) if header.channels_last and stored.ndim == 4 else stored
            return same_bits(stored, tensors[name])

        differing = {name for name in tensors if name not in header.tensors or not there(name)}
    kept = {name.removesuffix(SCALE) for name in differing}  # numbers and their scale go together
    own = {name: tensor for name, tensor in tensors.items() if name.removesuffix(SCALE) in kept}
    if 2 * sum(tensor.nbytes for tensor in own.values()) > sum(tensor.nbytes for tensor in tensors.values()):
        raise LotusError(
            f"{rest} shares less than half of the weights: write them in the precision that it has (--dtype), or leave"
            " out --rest."
        )
    return own


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bits, so that NaN is NaN."""
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)))


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
