"""diffusers configs of networks of which there is only the weights: the shapes of their tensors say them.

What shapes cannot say is as in Stable Diffusion 2, which all released Lotus weights come from: 64 channels to an
attention head, 32 groups to a normalisation, latents scaled by 0.18215.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import LotusError

HEAD_CHANNELS = 64  # SD 2: 5, 10, 20 and 20 heads at 320, 640, 1280 and 1280 channels
LATENT_SCALE, LATENT_CHANNELS = 0.18215, 4  # of the autoencoder of SD 1 and 2
# Noise schedule of SD 2. The single step does not use it; training on, and other programs, do.
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "sample",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}

Shapes = Mapping[str, tuple[int, ...]]


def unet_config(shapes: Shapes, where: str) -> dict[str, Any]:
    """Of a UNet2DConditionModel with these tensors. Raises LotusError, naming `where`, where they do not say it."""
    down, up = _levels(shapes, "down_blocks"), _levels(shapes, "up_blocks")
    widths = [_shape(shapes, f"down_blocks.{level}.resnets.0.conv1.weight", where)[0] for level in range(down)]
    attention = [name for name in shapes if name.endswith("attn2.to_k.weight")]
    if not attention or not widths:
        raise LotusError(f"{where} has no cross-attention to a prompt, as every Lotus U-Net has: it is another model.")
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": _shape(shapes, "conv_in.weight", where)[1],
        "out_channels": _shape(shapes, "conv_out.weight", where)[0],
        "block_out_channels": widths,
        "down_block_types": _block_types(shapes, "down_blocks", down, "DownBlock2D"),
        "up_block_types": _block_types(shapes, "up_blocks", up, "UpBlock2D"),
        "layers_per_block": _levels(shapes, "down_blocks.0.resnets"),
        "attention_head_dim": [max(1, width // HEAD_CHANNELS) for width in widths],
        "cross_attention_dim": _shape(shapes, attention[0], where)[1],
        "use_linear_projection": any(name.endswith("proj_in.weight") and len(shapes[name]) == 2 for name in shapes),
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": _shape(shapes, "class_embedding.linear_1.weight", where)[1],
    }


def autoencoder_config(shapes: Shapes, where: str) -> dict[str, Any]:
    """Of an AutoencoderKL with these tensors. Raises LotusError where they are too few to say."""
    levels = _levels(shapes, "encoder.down_blocks")
    widths = [
        _shape(shapes, f"encoder.down_blocks.{level}.resnets.0.conv1.weight", where)[0] for level in range(levels)
    ]
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": _shape(shapes, "decoder.conv_in.weight", where)[1],
        "layers_per_block": _levels(shapes, "encoder.down_blocks.0.resnets"),
        "scaling_factor": LATENT_SCALE,
    }


def _block_types(shapes: Shapes, blocks: str, levels: int, plain: str) -> list[str]:
    crossed = [any(name.startswith(f"{blocks}.{level}.attentions.") for name in shapes) for level in range(levels)]
    return [f"CrossAttn{plain}" if attends else plain for attends in crossed]


def _levels(shapes: Shapes, blocks: str) -> int:
    """How many of `blocks`.0, `blocks`.1, … have tensors."""
    found = re.compile(rf"{re.escape(blocks)}\.(\d+)\.")
    numbers = {int(match[1]) for name in shapes if (match := found.match(name))}
    return next(count for count in range(len(numbers) + 1) if count not in numbers)


def _shape(shapes: Shapes, name: str, where: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise LotusError(f"{where} lacks the tensor {name}: it is another model, or only a part of one.")
    if len(shape) < 2:
        raise LotusError(f"{where} holds {name} with {len(shape)} axes, which is too few: it is another model.")
    return shape
