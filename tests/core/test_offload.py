"""Weights in the CPU's memory, and on the device while they are needed: the meta device stands in for a small GPU.

No machine of this project has a GPU. The meta device allocates nothing but says where every tensor would be, and a
layer whose weights were elsewhere than its input would fail on it as on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lotus_core as lotus
from lotus_core.memory import take_less, weight_bytes

from .models import tiny_model

META = torch.device("meta")
PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def on_device(model: nn.Module) -> int:
    """Bytes of weights that lie on the meta device now."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.nbytes for tensor in tensors if tensor.device == META)


def watch(model: lotus.LotusModel) -> list[int]:
    """Bytes on the device at every convolution and matrix product from now on."""
    seen: list[int] = []

    def note(*_: Any) -> None:
        seen.append(on_device(model))

    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_pre_hook(note)
    return seen


@pytest.mark.parametrize("folded", [False, True])
@torch.no_grad()
def test_only_what_computes_is_on_the_device(folded: bool) -> None:
    model = tiny_model("g")
    if folded:
        model.fold()
    before = weight_bytes(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.prompt_embeds = model.prompt_embeds.to(META)  # where the model says that it computes
    model.offload()
    assert on_device(model) == model.prompt_embeds.nbytes
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items() if tensor.is_cpu)

    seen = watch(model)
    latents = model.encode(torch.empty(1, 3, 48, 64, device=META))
    predicted = model(latents, torch.empty_like(latents))
    between = on_device(model)
    decoded = model.decode(predicted, mean=True)
    assert decoded.shape == (1, 1, 48, 64)
    assert between == on_device(model) == model.prompt_embeds.nbytes
    assert len(seen) > 40
    assert 0 < max(seen) < 0.35 * before  # the tiny autoencoder is a fifth of it


@torch.no_grad()
def test_a_unet_layer_at_a_time() -> None:
    model = tiny_model("g")
    unet = sum(tensor.nbytes for tensor in model.unet.parameters())
    largest = max(
        sum(tensor.nbytes for tensor in layer.parameters())
        for layer in model.unet.modules()
        if type(layer).__name__ in ("ResnetBlock2D", "Transformer2DModel")
    )
    model.prompt_embeds = model.prompt_embeds.to(META)
    model.offload()
    seen = watch(model)
    model(torch.empty(1, 4, 16, 16, device=META), torch.empty(1, 4, 16, 16, device=META))
    assert max(seen) == largest + model.prompt_embeds.nbytes
    assert largest < 0.4 * unet


def test_the_results_are_the_same() -> None:
    model = tiny_model("g")
    predictor = lotus.LotusPredictor(model)
    expected = predictor.depth(PHOTO)
    model.offload()
    model.offload()
    assert model.offloaded
    assert np.array_equal(predictor.depth(PHOTO).values, expected.values)


def test_an_interrupted_layer_leaves_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")
    model.prompt_embeds = model.prompt_embeds.to(META)
    model.offload()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(model.unet.mid_block.resnets[0].nonlinearity, "forward", fail)
    with torch.no_grad(), pytest.raises(RuntimeError, match="a bug"):
        model(torch.empty(1, 4, 16, 16, device=META), torch.empty(1, 4, 16, 16, device=META))
    assert on_device(model) == model.prompt_embeds.nbytes


def test_memory_that_runs_out_takes_the_weights_off_a_gpu_but_not_off_the_cpu() -> None:
    model = tiny_model("g")
    take_less(model)
    assert (model.memory, model.offloaded) == ("least", False)
    model.prompt_embeds = model.prompt_embeds.to(META)
    take_less(model)
    assert model.offloaded


def test_a_compiled_model_cannot_be_offloaded() -> None:
    model = tiny_model("g")
    model.fold(compile="eager")
    with pytest.raises(lotus.LotusError, match="is compiled"):
        model.offload()
