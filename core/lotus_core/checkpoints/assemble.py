"""From configs and tensors to a network: built without memory, then given the tensors themselves."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open

from ..errors import LotusError
from ..model import Autoencoder

AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
ALIGNMENT = 64  # bytes: of torch's own memory on CPUs
NAMED_AT_MOST = 5  # tensors that an error message lists


def read_tensors(
    path: Path, names: Mapping[str, str], device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (new name, tensor on `device` in `dtype`) for every {name in the file: new name} of a safetensors file.

    Raises LotusError for unreadable data and for NaN or infinite values.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for stored, name in names.items():
                tensor = file.get_tensor(stored)
                yield name, finite(tensor, aligned(tensor.to(device=device, dtype=dtype)), stored, path)
    except (SafetensorError, OSError) as error:
        raise LotusError(f"{path} cannot be read ({error}): download or copy it again.") from None


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` where torch itself would have placed it.

    Matrix products start at the first aligned number and sum in another order from another place, so weights read at
    odd offsets of a file would give results that depend on the file they came in, by 1e-6.
    """
    return tensor.clone() if tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNMENT else tensor


def finite(stored: torch.Tensor, tensor: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    """`tensor`, which is `stored` in another dtype, or LotusError where it is not finite everywhere."""
    if _all_finite(tensor):
        return tensor
    if _all_finite(stored):
        raise LotusError(f"{path} holds weights too large for {tensor.dtype} ({name}): load it with dtype float32.")
    raise LotusError(
        f"{path} holds NaN or infinite weights ({name}): download it again or train on from an earlier one."
    )


def _all_finite(tensor: torch.Tensor) -> bool:
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor)  # one pass, no temporary the size of the tensor; NaN comes through both
    return bool(torch.isfinite(low) and torch.isfinite(high))


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


def assign(module: torch.nn.Module, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Give `module` the tensors themselves (no copy). The names must have passed `check_names`."""
    module.load_state_dict(dict(tensors), strict=True, assign=True)


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
    found = "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in problems.items() if names)
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


def _first(names: list[str]) -> str:
    return ", ".join(names[:NAMED_AT_MOST]) + (", …" if len(names) > NAMED_AT_MOST else "")


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
