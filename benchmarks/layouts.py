"""The layouts in which people have Lotus weights, written from diffusers' state dicts: LDM names, bare files, ours.

The numbers of LDM's blocks are counted here from diffusers' levels and layers, the other way round from the loader.
"""

from __future__ import annotations

import re

import torch

State = dict[str, torch.Tensor]
UNET_PREFIX, AUTOENCODER_PREFIX = "model.diffusion_model.", "first_stage_model."

_UNET_ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "class_embedding.linear_1.": "label_emb.0.0.",
    "class_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}


def ldm_unet(state: State, layers: int, prefix: str = UNET_PREFIX) -> State:
    """A U-Net's tensors under their LDM names. `layers`: residual blocks at each level of the way down."""
    attending = {match[0] for name in state if (match := re.match(r"up_blocks\.\d+\.attentions", name))}

    def block(name: str) -> str:
        for start, new in _UNET_ENDS.items():
            if name.startswith(start):
                return new + name.removeprefix(start)
        way, level, kind, layer, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name).groups()  # type: ignore[union-attr]
        number = int(level) * (layers + 1) + int(layer)
        if kind == "downsamplers":
            return f"input_blocks.{(int(level) + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            place = 2 if f"up_blocks.{level}.attentions" in attending else 1
            return f"output_blocks.{number + layers}.{place}.{rest}"
        place = 0 if kind == "resnets" else 1
        return (
            f"input_blocks.{number + 1}.{place}.{rest}" if way == "down" else f"output_blocks.{number}.{place}.{rest}"
        )

    def named(name: str) -> str:
        new = block(name)
        if ".resnets." in name:
            for inside, other in _RESNET.items():
                new = new.replace(inside, other)
        return prefix + new

    return {named(name): tensor for name, tensor in state.items()}


def ldm_autoencoder(state: State, prefix: str = "") -> State:
    """An autoencoder's tensors under their LDM names, attention as convolutions of 1×1 pixels."""
    top = max(int(match[1]) for name in state if (match := re.match(r"decoder\.up_blocks\.(\d+)", name)))
    found = {}
    for name, tensor in state.items():
        if re.search(r"attentions\.0\.to_.*weight", name):
            tensor = tensor[:, :, None, None]
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
        name = name.replace("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out")
        name = re.sub(r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda number: f"mid.block_{int(number[1]) + 1}", name)
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda level: f"up.{top - int(level[1])}.block", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda level: f"up.{top - int(level[1])}.upsample", name)
        found[prefix + name] = tensor
    return found
