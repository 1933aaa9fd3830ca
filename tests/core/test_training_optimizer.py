"""Muon: what its steps are, whatever the memory layout, and resumed runs that go on as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lotus_core.errors import LotusError
from lotus_core.training.config import OptimConfig
from lotus_core.training.optimizer import make_optimizer
from lotus_core.training.state import checkpoints, optimizer_tensors, restore_optimizer
from lotus_core.training.trainer import train_model

from .training_runs import losses, run_config

RATE = 1e-3


def network() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(4, 32, 3), nn.Conv2d(32, 48, 3), nn.GroupNorm(4, 48), nn.Conv2d(48, 3, 3))


def settings(optimizer: str) -> OptimConfig:
    return OptimConfig(steps=9, batch_size=1, lr=RATE, optimizer=optimizer, weight_decay=0.0)  # type: ignore[arg-type]


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Updates with gradients that depend on their number only."""
    for number in range(first, last):
        for index, p in enumerate(module.parameters()):
            gradient = torch.randn(p.shape, generator=torch.Generator().manual_seed(1000 * number + index)) * 0.01
            p.grad = torch.empty_like(p).copy_(gradient)  # in the layout of p, as autograd's are
        optimizer.step()


def changes(optimizer: str, channels_last: bool = False) -> dict[str, torch.Tensor]:
    module = network()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    made = make_optimizer(list(module.parameters()), settings(optimizer))
    if channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps(module, made, 0, 1)
    return {name: p.detach() - before[name] for name, p in module.named_parameters()}


def test_kernels_step_alike_in_all_directions_and_as_far_as_adamw() -> None:
    muon, adamw = changes("muon"), changes("adamw")
    kernel = muon["1.weight"].flatten(1)
    values = torch.linalg.svdvals(kernel)
    assert float(values.max() / values.min()) < 3  # a random matrix of this shape has 2 already; AdamW's first step:
    assert float(torch.linalg.cond(adamw["1.weight"].flatten(1))) > float(values.max() / values.min())
    assert float(kernel.square().mean().sqrt()) == pytest.approx(0.2 * RATE, rel=0.3)
    for name in ("0.weight", "0.bias", "1.bias", "2.weight", "2.bias", "3.weight", "3.bias"):
        assert torch.allclose(muon[name], adamw[name], atol=1e-8), name


def test_the_memory_layout_does_not_matter() -> None:
    plain, other = changes("muon"), changes("muon", channels_last=True)
    for name, change in plain.items():
        assert torch.allclose(change, other[name], atol=1e-7), name


@pytest.mark.parametrize("optimizer_name", ["adamw", "muon"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_restored_optimizer_goes_on_with_the_same_steps(optimizer_name: str, channels_last: bool) -> None:
    module, other = network(), network()
    if channels_last:
        for each in (module, other):
            each.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(list(module.parameters()), settings(optimizer_name))
    steps(module, optimizer, 0, 3)
    kept = {name: tensor.clone().contiguous() for name, tensor in optimizer_tensors(optimizer).items()}  # as files do
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    steps(module, optimizer, 3, 6)

    again = make_optimizer(list(other.parameters()), settings(optimizer_name))
    steps(other, again, 6, 8)  # what it knew before is forgotten
    other.load_state_dict(weights)
    restore_optimizer(again, kept)
    steps(other, again, 3, 6)
    for p, q in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_resumes_and_keeps_its_optimizer(ingredients: Path, tmp_path: Path, optimizer: str) -> None:
    optim = {"optimizer": optimizer, "channels_last": True}
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    path = train_model(run_config(ingredients, whole, optim=optim))
    expected = load_file(path)
    shutil.copytree(whole, halved)
    shutil.rmtree(checkpoints(halved / "checkpoints")[-1])
    resumed = run_config(ingredients, halved, optim=optim)
    assert losses(whole) == losses(halved)
    (halved / "tiny.safetensors").unlink()
    found = load_file(train_model(resumed, resume=True))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert losses(whole) == losses(halved)
    other = "adamw" if optimizer == "muon" else "muon"
    with pytest.raises(LotusError, match=r"\[optim\] optimizer differs"):
        train_model(run_config(ingredients, halved, optim={**optim, "optimizer": other, "steps": 6}), resume=True)
