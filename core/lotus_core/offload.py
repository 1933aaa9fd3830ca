"""Weights that lie in the CPU's memory and come to the device a layer at a time, for GPUs too small to hold them.

A full-size U-Net takes 1.7 GB in half precision; of it, no more than its largest residual or transformer block is then
on the device at once, and the autoencoder (0.2 GB) only while it works. What a pass costs more is the transfer of the
weights. accelerate's hooks do the same for whole pipelines, but see only what is called as a module; the autoencoder's
strips (`vae_strips`) read weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

_GROUPS = ("down_blocks", "up_blocks", "mid_block")  # of a U-Net, whose own children are brought one by one


class Offloaded:
    """The weights of one module: on the CPU, and on `device` inside `present` alone."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device = device
        self._homes: list[tuple[dict[str, Any], str, torch.Tensor]] = []
        for part in module.modules():
            stores: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
            for tensors in stores:
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = _like(tensor, tensor.detach().to("cpu"))
                        self._homes.append((tensors, name, tensors[name]))

    def bring(self) -> None:
        """To the device."""
        for tensors, name, home in self._homes:
            tensors[name] = _like(home, home.detach().to(self._device, copy=True))

    def leave(self) -> None:
        """The device's copies are let go; nothing computed changes weights, so nothing is copied back."""
        for tensors, name, home in self._homes:
            tensors[name] = home

    @contextmanager
    def present(self) -> Iterator[None]:
        """On the device inside."""
        self.bring()
        try:
            yield
        finally:
            self.leave()


def _like(old: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    return nn.Parameter(data, requires_grad=False) if isinstance(old, nn.Parameter) else data


def offload_layers(unet: nn.Module, device: torch.device) -> list[RemovableHandle]:
    """Keep a U-Net's weights on the CPU and bring each layer to `device` for the time of its call.

    Returns the hooks that do it; without them the weights stay on the CPU.
    """
    hooks = []
    for layer in _layers(unet):
        weights = Offloaded(layer, device)
        hooks.append(layer.register_forward_pre_hook(lambda *_, weights=weights: weights.bring()))
        hooks.append(layer.register_forward_hook(lambda *_, weights=weights: weights.leave(), always_call=True))
    return hooks


def _layers(unet: nn.Module) -> Iterator[nn.Module]:
    """Residual, transformer and scaling blocks, and what lies beside the blocks: together all weights."""
    for name, child in unet.named_children():
        if name not in _GROUPS:
            yield child
            continue
        for block in child if isinstance(child, nn.ModuleList) else [child]:
            for group in block.children():
                yield from group if isinstance(group, nn.ModuleList) else [group]


def presence(weights: Offloaded | None) -> AbstractContextManager[None]:
    """`weights.present()`, or nothing where they are on the device all the time."""
    return nullcontext() if weights is None else weights.present()
