"""Predictions against a plain composition of diffusers' own parts, on the official folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

import lotus_core as lotus
from benchmarks import plain
from lotus_core.sampling import draw_noise

from .models import official_folder

SEED = 11
HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module", params=["g", "d"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return official_folder(tmp_path_factory.mktemp("official") / "model", request.param), request.param


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(5).random((HEIGHT, WIDTH, 3), dtype=np.float32)


def compose(folder: Path, variant: str, image: torch.Tensor) -> torch.Tensor:
    """encode(mode) → one U-Net call → decode, in diffusers alone. `image` 1×3×H×W in [−1, 1]."""
    unet, vae, prompt = plain.from_pretrained(folder)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    shape = (1, vae.config.latent_channels, image.shape[2] // factor, image.shape[3] // factor)
    noise = draw_noise(SEED, 0, 0, shape) if variant == "g" else None
    return plain.compose(unet, vae, prompt, image, noise)[0]


def to_input(photo: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)[None] * 2 - 1


def predictor(folder: Path, **meaning: Any) -> lotus.LotusPredictor:
    return lotus.LotusPredictor(lotus.load_model(folder, device="cpu", **meaning))


def test_depth_equals_the_plain_composition(folder: tuple[Path, str], photo: np.ndarray) -> None:
    path, variant = folder
    depth = predictor(path, task="depth", space="disparity").depth(photo, resolution=0, seed=SEED)
    expected = (compose(path, variant, to_input(photo)).mean(dim=0) + 1) / 2
    assert depth.space == "disparity"
    assert ((expected > 0) & (expected < 1)).float().mean() > 0.9  # else clamping would hide differences
    assert expected.std() > 1e-3
    np.testing.assert_allclose(depth.values, expected.clamp(0, 1).numpy(), atol=1e-5, rtol=0)


def test_normals_equal_the_plain_composition(folder: tuple[Path, str], photo: np.ndarray) -> None:
    path, variant = folder
    normals = predictor(path, task="normal").normal(photo, resolution=0, seed=SEED)
    expected = compose(path, variant, to_input(photo))
    length = expected.norm(dim=0)
    # Near zero length a rounding error turns a vector by any angle, in either code.
    error = np.abs(normals.values - (expected / length).permute(1, 2, 0).numpy()).max(axis=2) * length.numpy()
    assert error.max() < 1e-5
    assert np.abs(np.linalg.norm(normals.values, axis=2) - 1).max() < 1e-6


def test_reference_depth_reproduces_the_original_arithmetic(folder: tuple[Path, str]) -> None:
    """Longest edge with truncation, no padding, every channel clamped before the mean, nearest on the way back."""
    path, variant = folder
    photo = np.random.default_rng(6).random((61, 97, 3), dtype=np.float32)
    depth = predictor(path, task="depth", space="depth").depth(photo, resolution=72, seed=SEED, reference=True)
    size = (int(61 * 72 / 97), 72)
    assert size == (45, 72)
    image = torch.nn.functional.interpolate(to_input(photo), size, mode="bilinear", antialias=True)
    clamped = (compose(path, variant, image) / 2 + 0.5).clamp(0, 1)
    assert clamped.shape == (3, 40, 72)  # the original loses what is left over of a latent pixel
    back = torch.nn.functional.interpolate(clamped[None], (61, 97), mode="nearest-exact")[0]
    np.testing.assert_allclose(depth.values, back.mean(dim=0).numpy(), atol=1e-5, rtol=0)


def test_half_precision_copies_of_the_weights_are_found_and_stay_close(
    folder: tuple[Path, str], photo: np.ndarray, tmp_path: Path
) -> None:
    path, _ = folder
    half = official_folder(tmp_path / "half", folder[1])
    for part, cls in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        (half / part / "diffusion_pytorch_model.safetensors").unlink()
        cls.from_pretrained(path / part).half().save_pretrained(half / part, variant="fp16")
    full = predictor(path, task="depth", space="depth").depth(photo, resolution=0, seed=SEED)
    close = predictor(half, task="depth", space="depth").depth(photo, resolution=0, seed=SEED)
    assert 0 < np.abs(full.values - close.values).max() < 0.02


def test_sharded_weights_equal_a_single_file(folder: tuple[Path, str], photo: np.ndarray, tmp_path: Path) -> None:
    path, _ = folder
    sharded = official_folder(tmp_path / "sharded", folder[1])
    (sharded / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    UNet2DConditionModel.from_pretrained(path / "unet").save_pretrained(sharded / "unet", max_shard_size="200KB")
    assert len(list((sharded / "unet").glob("*.safetensors"))) > 1
    whole = predictor(path, task="normal").normal(photo, resolution=0, seed=SEED)
    parts = predictor(sharded, task="normal").normal(photo, resolution=0, seed=SEED)
    np.testing.assert_array_equal(whole.values, parts.values)
