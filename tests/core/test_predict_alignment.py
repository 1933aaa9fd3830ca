"""Output pixel (i, j) belongs to input pixel (i, j), at any size and resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st

import lotus_core as lotus
from lotus_core.framing import Frame
from lotus_core.images import MAX_ASPECT
from lotus_core.model import LotusModel
from lotus_core.model_info import ModelInfo

from .models import PROMPT_WIDTH, tiny_unet


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose red is the column and whose green is the row of the pixel's centre, as a share of the size."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
    return np.stack([columns / width, rows / height, np.full((height, width), 0.5, np.float32)], axis=2)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(16, 200),
    width=st.integers(16, 200),
    resolution=st.sampled_from([0, 32, 77, 200]),
    multiple=st.sampled_from([8, 32, 64]),
)
def test_the_way_into_the_network_and_back_moves_no_pixel(
    height: int, width: int, resolution: int, multiple: int
) -> None:
    image = coordinates(height, width)
    frame = Frame.of(height, width, resolution, multiple)
    sent = frame.to_network(image)
    assert sent.shape == (1, 3, frame.padded_height, frame.padded_width)
    assert frame.padded_height % multiple == frame.padded_width % multiple == 0
    assert sent.abs().max() <= 1
    back = (frame.from_network(sent)[0].permute(1, 2, 0).numpy() + 1) / 2
    assert back.shape == image.shape
    error = np.abs(back - image)[..., :2] * (width, height)  # in pixels of the photo
    # Away from the border the filters reproduce a ramp (but for their few taps); at it they repeat its last value.
    across = np.array([width / frame.network_width, height / frame.network_height])
    margin = np.ceil(2 * np.maximum(across, 1 / across) * across + 2).astype(int)
    assert error[margin[1] : -margin[1], margin[0] : -margin[0]].max(initial=0) < 0.1
    assert (error.max(axis=(0, 1)) <= 0.55 * np.maximum(across, 1)).all()


@settings(max_examples=50, deadline=None)
@given(height=st.integers(16, 5000), width=st.integers(16, 5000), resolution=st.integers(32, 1024))
def test_the_aspect_ratio_is_kept_to_half_a_pixel(height: int, width: int, resolution: int) -> None:
    if max(height, width) > MAX_ASPECT * min(height, width):
        return
    frame = Frame.of(height, width, resolution, 64)
    scale = resolution / max(height, width)
    assert max(frame.network_height, frame.network_width) == resolution
    assert abs(frame.network_height - height * scale) <= 0.5
    assert abs(frame.network_width - width * scale) <= 0.5
    assert 0 <= frame.padded_height - frame.network_height < 64
    assert 0 <= frame.padded_width - frame.network_width < 64


def copying_model() -> LotusModel:
    """A real AutoencoderKL whose weights are set so that it copies, 4× down, and a U-Net that passes latents through.

    Random or trained networks would blur where a pixel comes from; these keep every position, so what moves a pixel can
    only be the code around them. SiLU is undone by silu(x) − silu(−x) = x; group normalisation of such pairs only
    scales.
    """
    width = 8  # red, green, blue, nothing, and the negatives of these
    vae = AutoencoderKL(
        block_out_channels=(width,) * 3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=1,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    ).eval()
    pairs = torch.cat([torch.eye(4), -torch.eye(4)])  # 8×4
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if "norm" not in name:
                parameter.zero_()
            if name.endswith("downsamplers.0.conv.weight"):
                parameter[:, :, :2, :2] = torch.eye(width)[:, :, None, None] / 4  # the mean of 2×2 pixels
            elif name.endswith("upsamplers.0.conv.weight"):
                parameter[:, :, 1, 1] = torch.eye(width)
        vae.encoder.conv_in.weight[:, :, 1, 1] = pairs[:, :3]
        vae.encoder.conv_out.weight[:4, :, 1, 1] = pairs.T
        vae.quant_conv.weight[:, :, 0, 0] = torch.eye(width)
        vae.post_quant_conv.weight[:, :, 0, 0] = torch.eye(4)
        vae.decoder.conv_in.weight[:, :, 1, 1] = pairs
        vae.decoder.conv_out.weight[:, :, 1, 1] = pairs.T[:3] / 4  # small enough not to be clamped
    unet = tiny_unet("d")
    unet.forward = lambda sample, *_, **__: (sample,)
    return LotusModel(unet, vae, torch.zeros(1, 2, PROMPT_WIDTH), ModelInfo("copy", "normal")).eval()


@pytest.mark.parametrize("size", [(64, 96), (61, 97), (131, 128), (200, 83)])
@pytest.mark.parametrize("resolution", [0, 96, 150])
def test_nothing_shifts_between_photo_and_map(size: tuple[int, int], resolution: int) -> None:
    height, width = size
    picture = lotus.LotusPredictor(copying_model()).reconstruct(coordinates(height, width), resolution=resolution)
    assert picture.shape == (height, width, 3)
    frame = Frame.of(height, width, resolution, 8)
    for channel, axis, length, seen in (
        (0, 1, width, frame.network_width),
        (1, 0, height, frame.network_height),
    ):
        block = 4 * length / seen  # photo pixels that share a latent pixel
        profile = picture[..., channel].mean(axis=1 - axis) - 0.5  # normalisation leaves a scale, but no offset
        position = np.arange(length) + 0.5 - length / 2
        inner = np.abs(position) < length / 2 - 1.5 * block
        assert inner.sum() > 5 * block
        found = profile * (position[inner] @ position[inner]) / (profile[inner] @ position[inner])
        assert np.abs(found - position)[inner].max() < 0.6 * block
        assert abs((found - position)[inner].mean()) < 0.12 * block
