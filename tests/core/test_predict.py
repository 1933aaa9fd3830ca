"""What an artist gets from a photo, and what they are told when it cannot be had."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lotus_core as lotus
from lotus_core.encoded import EncodedImage
from lotus_core.framing import MAX_NETWORK_PIXELS
from lotus_core.memory import network_bytes, samples_at_once, weight_bytes
from lotus_core.sampling import draw_noise

from .models import PROMPT_WIDTH, tiny_model, tiny_unet, wide_autoencoder

RNG = np.random.default_rng(9)
PHOTO = RNG.random((40, 56, 3), dtype=np.float32)
OTHER = RNG.random((64, 33, 3), dtype=np.float32)
DEPTH_G, NORMAL_G, DEPTH_D = tiny_model("g"), tiny_model("g", "normal"), tiny_model("d")


def depth_of(*args: Any, **options: Any) -> Any:
    return lotus.LotusPredictor(DEPTH_G).depth(*args, **options)


def test_depth_has_the_photos_size_the_models_space_and_values_in_0_to_1() -> None:
    for photo in (PHOTO, OTHER):
        depth = depth_of(photo)
        assert depth.values.dtype == np.float32
        assert depth.values.shape == photo.shape[:2]
        assert depth.space == "disparity"
        assert 0 <= depth.values.min() < depth.values.max() <= 1


def test_normals_have_unit_length_in_the_models_convention() -> None:
    normals = lotus.LotusPredictor(NORMAL_G).normal(PHOTO)
    assert normals.convention == "lotus"
    assert normals.values.shape == PHOTO.shape
    np.testing.assert_allclose(np.linalg.norm(normals.values, axis=2), 1, atol=1e-5)


def test_where_the_network_gives_no_direction_normals_face_the_camera() -> None:
    model = tiny_model("d", "normal")
    with torch.no_grad():
        model.vae.decoder.conv_out.weight.zero_()
        model.vae.decoder.conv_out.bias.zero_()
    assert (lotus.LotusPredictor(model).normal(PHOTO).values == (0, 0, 1)).all()


def test_any_kind_of_image_gives_the_same_depth(tmp_path: Path) -> None:
    pixels = (PHOTO * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = depth_of(pixels).values
    for source in (tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(pixels), tensor):
        np.testing.assert_array_equal(depth_of(source).values, expected)


def test_a_list_equals_its_images_alone_to_the_bit() -> None:
    both = depth_of([PHOTO, OTHER, PHOTO], seed=4)
    for index, photo in enumerate((PHOTO, OTHER, PHOTO)):
        np.testing.assert_array_equal(both[index].values, depth_of(photo, seed=4, index=index).values)
    assert (both[0].values != both[2].values).any()  # another index, another noise
    assert depth_of([]) == []


def test_arrays_with_a_batch_axis_are_lists() -> None:
    batch = np.stack([PHOTO, PHOTO[::-1]])
    expected = [depth.values for depth in depth_of(list(batch))]
    for source in (batch, torch.from_numpy(batch), torch.from_numpy(batch).permute(0, 3, 1, 2)):
        np.testing.assert_array_equal([depth.values for depth in depth_of(source)], expected)


def test_the_seed_settles_the_result_to_the_bit() -> None:
    first = depth_of(PHOTO, seed=1).values
    np.testing.assert_array_equal(depth_of(PHOTO, seed=1).values, first)
    torch.randn(5)  # the state of torch's own generator plays no part
    np.testing.assert_array_equal(depth_of(PHOTO, seed=1).values, first)
    for other in (0, 2, -1, 2**64 - 3, 2**32 + 1):
        assert (depth_of(PHOTO, seed=other).values != first).any()


def test_noise_is_standard_normal_and_differs_by_each_argument() -> None:
    shape = (1, 4, 64, 64)
    noise = draw_noise(0, 0, 0, shape)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    draws = [noise, *(draw_noise(*key, shape) for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32, 0, 0)))]
    correlation = np.corrcoef(torch.stack(draws).flatten(1).numpy())
    assert np.abs(correlation - np.eye(5)).max() < 0.05


def test_lotus_d_answers_the_same_for_every_seed() -> None:
    predictor = lotus.LotusPredictor(DEPTH_D)
    np.testing.assert_array_equal(predictor.depth(PHOTO, seed=1).values, predictor.depth(PHOTO, seed=2).values)


def test_resolution_none_is_the_checkpoints_own_and_0_the_images() -> None:
    np.testing.assert_array_equal(depth_of(PHOTO).values, depth_of(PHOTO, resolution=48).values)
    np.testing.assert_array_equal(depth_of(PHOTO, resolution=0).values, depth_of(PHOTO, resolution=56).values)
    assert (depth_of(PHOTO, resolution=0).values != depth_of(PHOTO).values).any()


def test_transparent_pixels_are_not_valid() -> None:
    alpha = np.ones((40, 56, 1), np.float32)
    alpha[:, :20] = 0
    cutout = np.concatenate([PHOTO, alpha], axis=2)
    depth = depth_of(cutout)
    np.testing.assert_array_equal(depth.valid, alpha[..., 0] > 0)
    normals = lotus.LotusPredictor(NORMAL_G).normal(cutout)
    np.testing.assert_array_equal(normals.valid, alpha[..., 0] > 0)
    assert depth_of(PHOTO).valid is None


def by_hand(model: lotus.LotusModel, samples: int) -> np.ndarray:
    """All samples kept: decoded 3 channels at the photo's own size, float64 N×3×40×56."""
    image = torch.from_numpy(PHOTO).permute(2, 0, 1)[None] * 2 - 1
    with torch.no_grad():
        latents = model.encode(image)
        noises = [draw_noise(6, 0, sample, latents.shape) for sample in range(samples)]
        return torch.cat([model.decode(model(latents, noise)) for noise in noises]).double().numpy()


@pytest.mark.parametrize("max_batch", [None, 1, 3])
def test_depth_uncertainty_is_mean_and_deviation_of_the_samples(max_batch: int | None) -> None:
    predictor = lotus.LotusPredictor(DEPTH_G, max_batch=max_batch)
    result = predictor.uncertainty(PHOTO, resolution=0, samples=7, seed=6)
    samples = np.clip(by_hand(DEPTH_G, 7).mean(axis=1) / 2 + 0.5, 0, 1)
    level, middle = samples.std(axis=(1, 2), keepdims=True), samples.mean(axis=(1, 2), keepdims=True)
    samples = (samples - middle) / level * level[0] + middle[0]
    assert (result.samples, result.unit, result.mean.space) == (7, "depth", "disparity")
    np.testing.assert_allclose(result.std, samples.std(axis=0), atol=2e-5)
    np.testing.assert_allclose(result.mean.values, np.clip(samples.mean(axis=0), 0, 1), atol=2e-5)
    assert result.std.mean() > 1e-3


def test_normal_uncertainty_is_the_mean_angle_to_the_mean_direction() -> None:
    result = lotus.LotusPredictor(NORMAL_G, max_batch=2).uncertainty(PHOTO, resolution=0, samples=5, seed=6)
    samples = by_hand(NORMAL_G, 5)
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    mean = samples.sum(axis=0)
    mean /= np.linalg.norm(mean, axis=0)
    angles = np.degrees(np.arccos(np.clip((samples * mean).sum(axis=1), -1, 1))).mean(axis=0)
    assert result.unit == "degrees"
    off = np.abs(result.std - angles)
    assert np.quantile(off, 0.99) < 0.01  # near zero length rounding turns a vector by any angle
    assert angles.mean() > 1
    assert np.quantile(np.abs(result.mean.values - mean.transpose(1, 2, 0)), 0.99) < 1e-3


def test_samples_of_small_images_share_passes_of_the_unet_in_the_memory_of_one() -> None:
    prompt = torch.randn(1, 2, PROMPT_WIDTH)
    model = lotus.LotusModel(tiny_unet("g"), wide_autoencoder(), prompt, DEPTH_G.info).eval()
    sizes: list[int] = []
    model.unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = [
        lotus.LotusPredictor(model, max_batch=batch).uncertainty(PHOTO, resolution=0, samples=7).std
        for batch in (None, 1)
    ]
    np.testing.assert_allclose(*found, atol=2e-5)
    assert sum(sizes) == 14
    assert len(sizes) < 7 + 7
    most = samples_at_once(model, torch.empty(1, 4, 5, 7), "exact", "exact")
    assert network_bytes(model, 40, 56, most) < 1.05 * (network_bytes(model, 40, 56) + weight_bytes(model))
    together = [samples_at_once(model, torch.empty(1, 4, edge, edge), "exact", "exact") for edge in (16, 64, 128)]
    assert together == sorted(together, reverse=True)
    assert together[-1] == 1


@pytest.mark.parametrize("model", [DEPTH_G, NORMAL_G])
def test_memory_does_not_grow_with_the_number_of_samples(model: lotus.LotusModel) -> None:
    """Counts what all living tensors hold: one kept map of this photo would add 35,840 bytes for every 4 samples."""
    early, late = "Predicting sample 8 of 24", "Predicting sample 24 of 24"
    held: dict[str, int] = {}

    def count(_: float, text: str) -> None:
        if text not in (early, late):
            return
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        held[text] = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())

    lotus.LotusPredictor(model, max_batch=4).uncertainty(PHOTO, samples=24, progress=count)
    assert held[late] - held[early] < 20_000


def test_an_image_is_encoded_once_for_all_its_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    encode = DEPTH_G.vae.encode
    monkeypatch.setattr(DEPTH_G.vae, "encode", lambda images: calls.append(1) or encode(images))
    predictor = lotus.LotusPredictor(DEPTH_G)
    encoded = predictor.encode(PHOTO, resolution=64)
    assert isinstance(encoded, EncodedImage)
    depth = predictor.depth(encoded, seed=2)
    predictor.uncertainty(encoded, samples=9)
    normals = lotus.LotusPredictor(NORMAL_G).normal(encoded, seed=2)  # the same autoencoder
    assert len(calls) == 1
    np.testing.assert_array_equal(depth.values, predictor.depth(PHOTO, resolution=64, seed=2).values)
    np.testing.assert_array_equal(
        normals.values, lotus.LotusPredictor(NORMAL_G).normal(PHOTO, resolution=64, seed=2).values
    )


def test_reconstruction_is_an_image_of_the_same_size() -> None:
    picture = lotus.LotusPredictor(DEPTH_G).reconstruct(PHOTO)
    assert picture.shape == PHOTO.shape
    assert 0 <= picture.min() <= picture.max() <= 1
    assert np.abs(picture.mean(axis=2) - depth_of(PHOTO).values).max() > 1e-3  # the other task of the same network


def test_progress_rises_to_one_and_says_what_is_done() -> None:
    seen: list[tuple[float, str]] = []
    predictor = lotus.LotusPredictor(NORMAL_G, max_batch=2)
    predictor.uncertainty(PHOTO, samples=4, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert seen[0][1] == "Encoding"
    assert "Predicting sample 4 of 4" in [text for _, text in seen]
    assert len(seen) == 1 + 2 * 2 + 1  # encoding, two passes of two samples, the end
    seen.clear()
    depth_of([PHOTO, OTHER], progress=lambda fraction, text: seen.append((fraction, text)))
    assert [round(fraction * 6) for fraction, _ in seen] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("polls", [1, 2, 3])
def test_cancelling_stops_before_the_next_part_of_the_network(polls: int) -> None:
    asked = iter([False] * (polls - 1) + [True])
    with pytest.raises(lotus.Cancelled):
        depth_of(PHOTO, cancel=lambda: next(asked))
    assert next(asked, None) is None


def test_uncertainty_of_a_lotus_d_model_says_why_there_is_none() -> None:
    with pytest.raises(lotus.LotusError, match=r"tiny-depth-d is a Lotus-D model, which takes no noise"):
        lotus.LotusPredictor(DEPTH_D).uncertainty(PHOTO)
    with pytest.raises(lotus.LotusError, match="at least 2 samples, not 1"):
        lotus.LotusPredictor(DEPTH_G).uncertainty(PHOTO, samples=1)


def test_asking_a_model_for_what_it_does_not_predict_is_refused() -> None:
    with pytest.raises(lotus.LotusError, match="predicts depth, not normal"):
        lotus.LotusPredictor(DEPTH_G).normal(PHOTO)
    with pytest.raises(lotus.LotusError, match="predicts normal, not depth"):
        lotus.LotusPredictor(NORMAL_G).depth(PHOTO)


@pytest.mark.parametrize("resolution", [-1, 1, 31])
def test_resolutions_without_a_scene_left_are_refused(resolution: int) -> None:
    with pytest.raises(lotus.LotusError, match="at least 32"):
        depth_of(PHOTO, resolution=resolution)


def test_images_and_resolutions_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(lotus.LotusError, match=f"at most {MAX_NETWORK_PIXELS:,} pixels.*lower resolution"):
        depth_of(PHOTO, resolution=100_000)
    with pytest.raises(lotus.LotusError, match="at least 16 pixels"):
        depth_of(np.zeros((10, 20_000, 3), np.uint8))
    with pytest.raises(lotus.LotusError, match="at least 16 pixels"):
        depth_of(np.zeros((1, 1, 3), np.uint8))
    strip = depth_of(np.zeros((16, 320, 3), np.uint8))
    assert strip.values.shape == (16, 320)


def test_a_network_that_overflows_says_what_to_do() -> None:
    model = tiny_model("d")
    with torch.no_grad():
        model.unet.conv_out.bias.fill_(3e38)
    with pytest.raises(lotus.LotusError, match="weights are damaged"):
        lotus.LotusPredictor(model).depth(PHOTO)
    with pytest.raises(lotus.LotusError, match="load it in float32"):
        lotus.LotusPredictor(model.bfloat16()).depth(PHOTO)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_stay_close(dtype: torch.dtype) -> None:
    exact = depth_of(PHOTO, seed=3).values
    other = lotus.LotusPredictor(tiny_model("g").to(dtype)).depth(PHOTO, seed=3)
    assert other.values.dtype == np.float32
    assert np.abs(other.values - exact).max() < (0.05 if dtype == torch.bfloat16 else 1e-4)
