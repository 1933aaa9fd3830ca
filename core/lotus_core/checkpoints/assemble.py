"""From configs and tensors to a network: built without memory, then given the tensors themselves."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging

from ..errors import LotusError
from ..model import Autoencoder
from .header import name_some
from .layouts import SCALE, Part
from .quantise import dequantised
from .reading import read_tensors

Network = TypeVar("Network", bound=torch.nn.Module)
FOREIGN_SCALES = re.compile(r"\.(scale_weight|scale_input|weight_scale|input_scale|comfy_quant)$|^scaled_fp8$")
AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


def build_unet(config: dict[str, Any], where: str) -> UNet2DConditionModel:
    """A U-Net on the meta device. `where` names the file in errors."""
    return cast(UNet2DConditionModel, _build({"UNet2DConditionModel": UNet2DConditionModel}, config, where))


def build_autoencoder(config: dict[str, Any], where: str) -> Autoencoder:
    """An AutoencoderKL or AutoencoderTiny, as the config's `_class_name` says, on the meta device."""
    return cast(Autoencoder, _build(AUTOENCODERS, config, where))


def _build(classes: Mapping[str, Any], config: dict[str, Any], where: str) -> torch.nn.Module:
    name = str(config.get("_class_name"))
    if name not in classes:
        raise LotusError(f"{where} describes a {name}, but Lotus uses {' or '.join(classes)}: it is another model.")
    try:
        with torch.device("meta"), quiet_diffusers():
            return cast(torch.nn.Module, classes[name].from_config(config))
    except Exception as error:  # a config is free-form: diffusers raises whatever it trips over
        raise LotusError(f"{where} describes a {name} that cannot be built: {_first_line(error)}") from None


@dataclass(frozen=True)
class Unfilled(Generic[Network]):
    """A network on the meta device, and the tensors on the disk that are known to be its own."""

    network: Network
    part: Part

    def fill(self, device: torch.device, dtype: torch.dtype, channels_last: bool = False) -> Network:
        """The network with its tensors on `device` in `dtype`, each from its file in one step (`reading`).

        Raises LotusError for those that cannot be read or are not finite.
        """
        tensors: dict[str, torch.Tensor] = {}
        for header, names in self.part.sources:
            tensors |= read_tensors(header, names, device, dtype, self.part.shapes, channels_last=channels_last)
            scales = {name + SCALE: new for name, new in names.items() if name + SCALE in header.tensors}
            for new, scale in read_tensors(header, scales, device, torch.float32):
                tensors[new] = dequantised(tensors[new], scale, dtype)
        self.network.load_state_dict(tensors, strict=True, assign=True)
        return self.network


def unfilled(network: Network, part: Part, what: str, where: str) -> Unfilled[Network]:
    """Raises LotusError unless `part` is just the tensors of `network`, called `what`, and its place `where`."""
    check_names(network, part.shapes, what, where)
    return Unfilled(network, part)


def check_names(module: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]], part: str, where: str) -> None:
    """Raise LotusError unless `shapes` ({tensor name: shape}) are exactly those of `module`, naming the first five."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    misshaped = [
        f"{name} is {_times(shapes[name])}, not {_times(expected[name])}"
        for name in expected
        if name in shapes and shapes[name] != expected[name]
    ]
    problems = {
        "missing": [name for name in expected if name not in shapes],
        "unexpected": [name for name in shapes if name not in expected],
        "misshaped": misshaped,
    }
    scaled = [name for name in problems["unexpected"] if FOREIGN_SCALES.search(name)]
    if scaled:
        raise LotusError(
            f"The 8-bit weights of {where} come with another program's scales ({name_some(scaled)}), which are not"
            " read: use its file in fp16, bf16 or plain fp8."
        )
    found = "; ".join(f"{len(names)} {kind} ({name_some(names)})" for kind, names in problems.items() if names)
    if found:
        raise LotusError(f"{where} does not hold the weights of its {part}, tensors {found}: it is another model.")


@contextlib.contextmanager
def quiet_diffusers() -> Iterator[None]:
    """No advice from diffusers on the terminal while a model is built or read."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
