from __future__ import annotations

import math

import pytest
import torch
from diffusers import AutoencoderTiny

import lotus_core as lotus
from lotus_core.model import LotusModel, task_embedding
from lotus_core.model_info import ModelInfo

from .models import PROMPT_WIDTH, tiny_autoencoder, tiny_model, tiny_unet

DEPTH = ModelInfo("made", "depth", "disparity")
PROMPT = torch.zeros(1, 2, PROMPT_WIDTH)


def test_generative_and_discriminative_are_told_apart_by_the_weights() -> None:
    assert LotusModel(tiny_unet("g"), tiny_autoencoder(), PROMPT, DEPTH).variant == "g"
    assert LotusModel(tiny_unet("d"), tiny_autoencoder(), PROMPT, DEPTH).variant == "d"


def test_task_switch_is_sine_and_cosine_of_one_hot() -> None:
    sine, cosine = math.sin(1), math.cos(1)
    torch.testing.assert_close(task_embedding("annotation"), torch.tensor([[sine, 0, cosine, 1]]))
    torch.testing.assert_close(task_embedding("reconstruct"), torch.tensor([[0, sine, 1, cosine]]))


def test_tasks_of_one_batch_may_differ() -> None:
    model = tiny_model("g")
    latents, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    tasks = torch.cat([task_embedding("annotation"), task_embedding("reconstruct")])
    with torch.no_grad():
        both = model(latents.repeat(2, 1, 1, 1), noise.repeat(2, 1, 1, 1), tasks)
        for row, task in enumerate(("annotation", "reconstruct")):
            torch.testing.assert_close(both[row : row + 1], model(latents, noise, task), atol=1e-5, rtol=0)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_sizes_of_latents_and_padding_follow_the_networks() -> None:
    model = tiny_model("d")
    assert (model.latent_channels, model.latent_factor, model.multiple) == (4, 4, 8)
    with torch.no_grad():
        latents = model.encode(torch.zeros(2, 3, 24, 40))
        assert latents.shape == (2, 4, 6, 10)
        assert model(latents).shape == latents.shape
        assert model.decode(latents).shape == (2, 3, 24, 40)


def test_encoding_takes_the_mode_unless_a_generator_asks_for_a_sample() -> None:
    model = tiny_model("d")
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        mode = model.encode(image)
        assert torch.equal(mode, model.encode(image))
        sample = model.encode(image, sample_generator=torch.Generator().manual_seed(0))
        expected = model.vae.encode(image).latent_dist.sample(torch.Generator().manual_seed(0)) * 0.18215
    assert torch.equal(sample, expected)
    assert not torch.equal(sample, mode)


def test_tiny_autoencoder_works_in_place_of_the_large_one() -> None:
    torch.manual_seed(4)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        latent_channels=4,
        scaling_factor=0.5,
    ).eval()
    model = LotusModel(tiny_unet("g"), vae, PROMPT, DEPTH)
    image = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        latents = model.encode(image)
        assert (model.latent_factor, model.latent_scale, latents.shape) == (4, 0.5, (1, 4, 8, 12))
        torch.testing.assert_close(latents, vae.encode(image).latents * 0.5)
        torch.testing.assert_close(model.decode(latents), vae.decode(vae.encode(image).latents).sample)


def test_noise_is_for_the_generative_variant_only() -> None:
    latents = torch.zeros(1, 4, 8, 8)
    with pytest.raises(ValueError, match="needs noise"):
        tiny_model("g")(latents)
    with pytest.raises(ValueError, match="takes no noise"):
        tiny_model("d")(latents, latents)


def test_a_host_can_move_and_cast_it_as_any_module() -> None:
    model = tiny_model("g").to(torch.bfloat16)
    assert not hasattr(model, "device")
    assert {parameter.dtype for parameter in model.state_dict().values()} == {torch.bfloat16}
    with torch.no_grad():
        assert model.decode(model(model.encode(torch.zeros(1, 3, 16, 16)), torch.zeros(1, 4, 4, 4))).isfinite().all()


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(lotus.LotusError, match="7 and predicts 4"):
        unet = tiny_unet("g")
        unet.register_to_config(in_channels=7)
        LotusModel(unet, tiny_autoencoder(), PROMPT, DEPTH)
    with pytest.raises(lotus.LotusError, match="8 numbers wide but the U-Net's cross-attention 16"):
        LotusModel(tiny_unet("g"), tiny_autoencoder(), torch.zeros(1, 2, 8), DEPTH)
    with pytest.raises(lotus.LotusError, match="task switcher"):
        unet = tiny_unet("g")
        unet.register_to_config(class_embed_type=None)
        LotusModel(unet, tiny_autoencoder(), PROMPT, DEPTH)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"task": "depht", "space": "depth"}, "depht"),
        ({"task": "depth"}, "needs a space"),
        ({"task": "depth", "space": "metric"}, "metric"),
        ({"task": "normal", "space": "depth"}, "no depth space"),
        ({"task": "normal", "resolution": 0}, "positive"),
    ],
)
def test_model_info_refuses_what_makes_no_sense(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(lotus.LotusError, match=complaint):
        ModelInfo(name="made", **arguments)  # type: ignore[arg-type]


def test_model_info_survives_the_header() -> None:
    info = ModelInfo(
        "made", "depth", "depth", 256, training={"steps": 3, "data": ["a", "b"]}, scheduler_config={"b": 1}
    )
    assert ModelInfo.from_metadata(info.to_metadata()) == info
    normal = ModelInfo("made", "normal")
    assert ModelInfo.from_metadata(normal.to_metadata()) == normal
