"""The error of decoded predictions: that of evaluation, blind to scale and shift of depth, with gradients."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import lotus_core as lotus
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError
from lotus_core.evaluation.alignment import align_affine, aligned_depth
from lotus_core.evaluation.metrics import angular_error, depth_metrics
from lotus_core.training.config import parse_config
from lotus_core.training.decoded import DecodedTruth
from lotus_core.training.order import Draw
from lotus_core.training.preview import fit_preview
from lotus_core.training.sources import SampleItems
from lotus_core.training.trainer import train_model

from .training_runs import log_lines, losses, run_config, table


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def truth(task: str, annotation: torch.Tensor, weight: torch.Tensor) -> DecodedTruth:
    """One whose latents are pictures already."""
    return DecodedTruth(task, lambda latents: latents, annotation, weight)  # type: ignore[arg-type]


@given(st.integers(0, 10**6), st.floats(0.2, 3.0), st.floats(-2.0, 2.0))
def test_depth_counts_after_the_alignment_of_evaluation(seed: int, scale: float, shift: float) -> None:
    known = (random(2, 6, 7, seed=seed) > -0.5).float()
    weight = known * random(2, 6, 7, seed=seed + 1).abs()
    wanted = random(2, 1, 6, 7, seed=seed + 2).expand(2, 3, 6, 7)
    pixels = truth("depth", wanted, weight)
    assert float(pixels.error(pixels.maps(wanted * scale + shift))) < 2e-3

    found = pixels.maps(wanted + 0.7 * random(2, 3, 6, 7, seed=seed + 3))
    total = 0.0
    for row in range(2):
        mask = weight[row].numpy() > 0
        values, true = found[row, 0].numpy(), wanted[row, 0].numpy()
        a, b = align_affine(values, true, mask)
        total += float((np.abs(a * values + b - true) * weight[row].numpy())[mask].sum())
    assert float(pixels.error(found)) == pytest.approx(total / float(weight.sum()), abs=3e-3)


@given(st.integers(0, 10**6), st.floats(0.2, 3.0), st.floats(0.0, 2.0))
def test_with_a_horizon_depth_counts_by_the_absrel_of_evaluation(seed: int, scale: float, shift: float) -> None:
    """Of errors that put no point beyond twice its depth."""
    disparity = 0.5 + random(1, 1, 6, 7, seed=seed).abs()
    low, spread = float(disparity.min()), float(disparity.max() - disparity.min())
    wanted = ((disparity - low) / spread * 2 - 1).expand(1, 3, 6, 7)
    known = (random(1, 6, 7, seed=seed + 1) > -1).float()
    pixels = truth("depth", wanted, known * random(1, 6, 7, seed=seed + 2).abs().clamp_min(0.1))
    pixels = replace(pixels, horizon=torch.tensor([-1 - 2 * low / spread]))
    found = pixels.maps(wanted + 0.1 * random(1, 3, 6, 7, seed=seed + 3)) * scale + shift + 9
    mask, depth = known[0].numpy() > 0, 1 / disparity[0, 0].numpy()
    seen = aligned_depth(found[0, 0].numpy(), "disparity", depth, mask, 1e-6, math.inf)
    expected = depth_metrics(seen, depth, mask)["abs_rel"]
    assert float(pixels.error(found)) == pytest.approx(expected, abs=4e-3)


def test_a_point_put_behind_the_horizon_still_counts_by_a_bounded_gradient() -> None:
    wanted = torch.linspace(-1, 1, 36).view(1, 1, 6, 6)
    pixels = replace(truth("depth", wanted.expand(1, 3, 6, 6), torch.ones(1, 6, 6)), horizon=torch.tensor([-1.1]))
    found = wanted.clone()
    found[0, 0, 0, 0] = -1.5  # 0.1 in front of the horizon in truth
    found.requires_grad_()
    error = pixels.error(found)
    error.backward()
    assert found.grad is not None
    assert float(error.detach()) > 0.1
    assert found.grad[0, 0, 0, 0] < 0
    assert float(found.grad.abs().max()) < 2 / 0.1 / 36 * 1.1  # 2 / (its distance from the horizon), of 36 points
    flat = replace(pixels, annotation=torch.zeros(1, 3, 6, 6), horizon=torch.tensor([-math.inf]))
    assert float(flat.error(flat.maps(found.detach()))) == 0.0


@given(st.floats(0.01, 179.0))
def test_normals_count_by_their_angle(degrees: float) -> None:
    wanted = F.normalize(random(1, 3, 5, 5, seed=1), dim=1)
    axis = F.normalize(torch.linalg.cross(wanted, random(1, 3, 5, 5, seed=2), dim=1), dim=1)
    angle = math.radians(degrees)
    turned = math.cos(angle) * wanted + math.sin(angle) * torch.linalg.cross(axis, wanted, dim=1)
    pixels = truth("normal", wanted, torch.ones(1, 5, 5))
    found = pixels.maps(3.0 * turned)  # of any length
    assert float(pixels.error(found)) == pytest.approx(2 * math.sin(angle / 2), abs=2e-3)
    seen, true = (x[0].permute(1, 2, 0).numpy() for x in (found, wanted))
    assert angular_error(seen, true, np.ones((5, 5), bool)).mean() == pytest.approx(degrees, abs=0.1)


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_points_without_weight_say_nothing(task: str) -> None:
    weight = torch.ones(2, 8, 8)
    weight[:, :, :3] = 0
    weight[1] = 0  # a picture of which nothing is known
    wanted, pictures = random(2, 3, 8, 8, seed=3), random(2, 3, 8, 8, seed=4).requires_grad_()
    pixels = truth(task, wanted, weight)
    error = pixels.error(pixels.maps(pictures))
    error.backward()
    assert torch.isfinite(error)
    assert pictures.grad is not None
    assert float(pictures.grad[0, :, :, 3:].abs().sum()) > 0
    assert float(pictures.grad[0, :, :, :3].abs().max()) == 0.0
    assert float(pictures.grad[1].abs().max()) == 0.0


def test_samples_are_compared_without_what_a_scale_and_a_shift_explain() -> None:
    first, weight = random(2, 1, 9, 9, seed=7), torch.ones(2, 9, 9)
    depth = truth("depth", random(2, 3, 9, 9, seed=8), weight)
    pair = depth.aligned_pair(first, 0.7 * first + 0.3)
    assert float((pair[0] - pair[1]).abs().max()) < 1e-4
    other = first.clone()
    other[:, :, 4, 4] += 2.0
    pair = depth.aligned_pair(first, 0.7 * other + 0.3)
    assert (pair[0] - pair[1]).abs()[1, 0].argmax() == 4 * 9 + 4
    normals = truth("normal", random(2, 3, 9, 9, seed=8), weight)
    assert normals.aligned_pair(first, other) == (first, other)


def decoded_losses(folder: Path) -> list[float]:
    return [line["decoded_loss"] for line in log_lines(folder) if "decoded_loss" in line]


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_cached_latents_give_the_error_of_encoding_on_the_fly(ingredients: Path, tmp_path: Path, task: str) -> None:
    """Of varied pictures too, whose truth is read without making the pictures again."""
    protocol = {"decoded": 3.0, "spread": 0.5, "spread_share": 0.5}
    source = {"name": "cache", "path": str(ingredients / "scenes"), "vary": 2}
    curves = []
    for cached in (False, True):
        folder = tmp_path / str(cached)
        data = {"sources": [source], "cache_latents": cached}
        train_model(run_config(ingredients, folder, model={"task": task}, protocol=protocol, data=data))
        curves.append(decoded_losses(folder))
    assert curves[1] == pytest.approx(curves[0], rel=5e-3)  # float16 keeps 11 bits


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("task", ["depth", "normal"])
def test_a_run_lowers_what_it_counts(ingredients: Path, tmp_path: Path, task: str, preview: bool) -> None:
    model = {"task": task, "base": f"lotus-tiny-{task}-g", "unet": {}, "autoencoder": "", "cross_attention_dim": 64}
    optim = {"steps": 16, "lr": 1e-3, "batch_size": 8}  # all scenes at every step
    data = {"flip": False}
    protocol = {"decoded": 5.0, "preview": preview}
    train_model(run_config(ingredients, tmp_path, model=model, protocol=protocol, data=data, optim=optim))
    curve = decoded_losses(tmp_path)
    assert curve[-1] < 0.7 * curve[0]


@pytest.mark.parametrize("part", ["decoder", "both"])
@pytest.mark.parametrize("autoencoder", ["AutoencoderTiny", "AutoencoderKL"])
def test_a_run_trains_the_part_that_it_names(ingredients: Path, tmp_path: Path, part: str, autoencoder: str) -> None:
    """And goes on as it would have gone on."""
    model: dict[str, object] = {"task": "normal"}
    if autoencoder == "AutoencoderTiny":
        model |= {"base": "lotus-tiny-normal-g", "unet": {}, "autoencoder": "", "cross_attention_dim": 64}
    protocol = {"decoded": 3.0, "train": part, "reconstruction_share": 0.25}
    change: dict[str, dict[str, Any]] = {"model": model, "protocol": protocol}
    optim = {"steps": 8, "batch_size": 4, "lr": 2e-3}
    train_model(run_config(ingredients, tmp_path / "whole", optim=optim, **change))
    curve = log_lines(tmp_path / "whole")
    assert {"decoded_loss", "autoencoder_loss", "annotation_loss"} <= curve[0].keys()
    lowered = {"both": "loss", "decoder": "decoded_loss"}[part]
    assert sum(line[lowered] for line in curve[-3:]) < sum(line[lowered] for line in curve[:3])

    first = train_model(run_config(ingredients, tmp_path / "cut", optim=optim | {"steps": 1}, **change))
    before = {name: tensor.clone() for name, tensor in load_file(first).items()}
    last = train_model(run_config(ingredients, tmp_path / "cut", optim=optim, **change), resume=True)
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)
    after = load_file(last)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert any("decoder" in name for name in changed)
    assert not any("encoder." in name and "decoder." not in name for name in changed)
    assert any("diffusion_model" in name or name.startswith("unet") for name in changed) == (part == "both")


def test_averaged_truth_is_known_where_all_of_its_points_are() -> None:
    wanted, weight = random(1, 3, 8, 8, seed=3), torch.ones(1, 8, 8)
    weight[0, 0, 0], weight[0, 4:, 4:] = 0, 2
    small = truth("normal", wanted, weight).averaged(4, lambda latents: latents * 2)
    assert small.weight.tolist() == [[[0.0, 1.0], [1.0, 2.0]]]
    assert torch.allclose(small.annotation[0, :, 1, 0], wanted[0, :, 4:, :4].mean((1, 2)))
    assert torch.allclose(small.maps(wanted), F.normalize(wanted, dim=1))


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_the_preview_shows_what_the_decoder_would(task: str) -> None:
    """On pictures that it was not fitted to, and again the same one."""
    model = lotus.load_model(f"lotus-tiny-{task}-g")
    items = SampleItems([SyntheticScenes(20, 48, 64, seed=11, textures=None)], task, "disparity")  # type: ignore[arg-type]
    pictures = torch.stack([items[Draw(0, number, False, 0)]["annotation"] for number in range(20)])
    batches = [{"annotation": part} for part in pictures[:16].split(4)]
    preview, again = (fit_preview(model, batches, seed=2) for _ in range(2))
    with torch.no_grad():
        latents = model.encode(pictures[16:])
        shown, decoded = preview(latents), F.avg_pool2d(model.decode(latents), 4)
        assert torch.equal(shown, again(latents))
    assert float((shown - decoded).square().mean().sqrt()) < 0.25 * float(decoded.std())


def test_what_does_not_go_with_it_is_refused(ingredients: Path, tmp_path: Path) -> None:
    for protocol in ({"prediction": "epsilon"}, {"training_timesteps": 10}):
        with pytest.raises(LotusError, match="decoded needs prediction"):
            parse_config(table(ingredients, tmp_path, protocol={"decoded": 1.0, **protocol}))
    with pytest.raises(LotusError, match="preview is how decoded is measured"):
        parse_config(table(ingredients, tmp_path, protocol={"preview": True}))
    with pytest.raises(LotusError, match="relative measures decoded as a share of the depth"):
        parse_config(table(ingredients, tmp_path, model={"task": "normal"}, protocol={"decoded": 1, "relative": True}))
    for protocol in ({"train": "decoder"}, {"train": "both", "decoded": 1.0, "preview": True}):
        with pytest.raises(LotusError, match=r"train = .* needs decoded above 0, and no preview"):
            parse_config(table(ingredients, tmp_path, protocol=protocol))
    with pytest.raises(LotusError, match="needs the pictures"):
        change = {"protocol": {"train": "decoder", "decoded": 1.0}, "data": {"cache_latents": True}}
        parse_config(table(ingredients, tmp_path, **change))
    with pytest.raises(LotusError, match="decoded and spread must be ≥ 0"):
        parse_config(table(ingredients, tmp_path, protocol={"decoded": -1.0}))
