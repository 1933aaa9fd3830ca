"""Weights in the CPU's memory, and on the device while they are needed: the meta device stands in for a small GPU.

No machine of this project has a GPU. The meta device allocates nothing but says where every tensor would be, and a
layer whose weights were elsewhere than its input would fail on it as on a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lotus_core as lotus
from lotus_core import precision
from lotus_core.checkpoints.load import choose_device
from lotus_core.cli import main
from lotus_core.cli.predictors import load_for_maps
from lotus_core.memory import take_less, weight_bytes
from lotus_core.model import device_of
from lotus_core.offload import Offloaded

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


def test_nothing_moves_any_more_once_it_was_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")
    predictor = lotus.LotusPredictor(model)
    expected = predictor.depth(PHOTO)
    model.offload()
    model.end_offload()
    assert not model.offloaded

    def moved(*_: Any) -> None:
        raise AssertionError("weights moved")

    monkeypatch.setattr(Offloaded, "bring", moved)
    assert np.array_equal(predictor.depth(PHOTO).values, expected.values)
    model.offload()
    with pytest.raises(AssertionError, match="weights moved"):
        predictor.depth(PHOTO)


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


def test_a_compiled_model_cannot_be_offloaded_nor_an_offloaded_one_compiled() -> None:
    model = tiny_model("g")
    model.fold(compile="eager")
    with pytest.raises(lotus.LotusError, match="is compiled"):
        model.offload()
    model = tiny_model("g")
    model.offload()
    with pytest.raises(lotus.LotusError, match="is offloaded"):
        model.fold(compile="eager")
    assert not model.folded
    with pytest.raises(lotus.LotusError, match="choose compile or offload"):
        lotus.load_model("lotus-tiny-depth-g", "cpu", compile=True, offload=True)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@torch.no_grad()
def test_weights_that_will_be_offloaded_never_come_to_the_device_as_a_whole(dtype: str) -> None:
    """Numbers that were on the meta device are lost: what is there after loading was on the CPU all the time."""
    args = argparse.Namespace(
        device="meta", dtype=dtype, offload=True, fast_decoder="lotus-tiny-decoder", space=None, vae=None
    )
    model = load_for_maps("lotus-tiny-depth-g", args, ())
    plain = lotus.load_model("lotus-tiny-depth-g", "cpu", dtype, fast_decoder="lotus-tiny-decoder", fold=True)
    assert (model.offloaded, device_of(model)) == (True, META)
    assert on_device(model) == model.prompt_embeds.nbytes
    weights = model.state_dict()
    assert model.prompt_embeds.dtype == plain.prompt_embeds.dtype == getattr(torch, dtype)
    for name, tensor in plain.state_dict().items():
        assert name == "prompt_embeds" or torch.equal(weights[name], tensor), name

    seen = watch(model)
    latents = model.encode(torch.empty(1, 3, 48, 64, device=META))
    predicted = model(latents, torch.empty_like(latents))
    assert predicted.device == META
    if dtype == "float32":  # the meta device has no autocast, which half precision needs at the decoder's end
        assert model.decode(predicted, decoder="fast", mean=True).device == META
    assert 0 < max(seen) < 0.5 * weight_bytes(plain)
    assert on_device(model) == model.prompt_embeds.nbytes


def test_the_precision_is_that_of_the_device_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA, where "auto" means float16 and the CPU float32; no device here but the CPU has one of its own."""
    monkeypatch.setattr(precision, "auto_dtype", lambda device, _: torch.float16 if device == META else torch.float32)
    model = lotus.load_model("lotus-tiny-depth-g", META, offload=True)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float16}


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 26.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
    ],
)
def test_memory_that_runs_out_while_loading_is_one_sentence_with_the_ways_out(
    error: Exception, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is a mock because only a full GPU raises it; it comes where the weights come to their device."""
    no_room_on(META, error, monkeypatch)
    out = tmp_path / "out"
    assert main(["predict", photo, "-o", str(out), "--device", "meta", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not enough memory on meta for the weights of lotus-tiny-depth-g" in said
    assert "--offload" in said
    assert "load_model(offload=True)" in said
    assert not out.exists()
    assert lotus.load_model("lotus-tiny-depth-g", META, offload=True).offloaded  # which fits


def no_room_on(device: torch.device, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights find none there."""
    empty = torch.empty

    def full(*args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs.get("device") == device and "memory_format" in kwargs:
            raise error
        return empty(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", full)


def test_the_cpu_s_memory_that_runs_out_while_loading_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    no_room_on(torch.device("cpu"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), monkeypatch)
    with pytest.raises(lotus.LotusError, match="not enough memory for the weights of lotus-tiny-depth-g: close other"):
        lotus.load_model("lotus-tiny-depth-g", "cpu", "float32")


def test_a_device_that_is_full_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA fails so at the first allocation, where another program has all of the GPU's memory."""

    def full(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(lotus.LotusError, match="The memory of cuda is full"):
        choose_device("cuda")
