"""Names of tensors in other layouts → diffusers' names. No torch, no weights: names alone.

LDM is the layout of the original Stable Diffusion code, which ComfyUI keeps: blocks are counted through
(`input_blocks.4.1`), where diffusers counts levels and layers (`down_blocks.1.attentions.0`). diffusers' own conversion
takes whole state dicts and is private to it; this one lets each tensor be read straight to its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Inside a residual block of the U-Net.
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "class_embedding.linear_1",
    "label_emb.0.2": "class_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
_AUTOENCODER_PARTS = (
    (r"mid\.block_1\.", "mid_block.resnets.0."),
    (r"mid\.block_2\.", "mid_block.resnets.1."),
    (r"mid\.attn_1\.", "mid_block.attentions.0."),
    (r"attentions\.0\.norm\.", "attentions.0.group_norm."),
    (r"attentions\.0\.proj_out\.", "attentions.0.to_out.0."),
    (r"attentions\.0\.([qkv])\.", r"attentions.0.to_\1."),
    (r"nin_shortcut\.", "conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"down\.(\d+)\.block\.", r"down_blocks.\1.resnets."),
    (r"down\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0."),
)
# Attention of autoencoders saved before diffusers 0.18; Stable Diffusion 2 itself still has them.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_SQUARE_ATTENTION = re.compile(r".*\.attentions\.\d+\.(to_[qkv]|to_out\.0)\.weight")


def unet_names(names: Collection[str]) -> dict[str, str]:
    """{LDM name: diffusers name} of a U-Net's tensors, whose common prefix is cut off; unknown names stay."""
    blocks = {**_down_blocks(names), **_up_blocks(names), **_UNET_ENDS}
    return {name: _in_block(name, blocks) for name in names}


def autoencoder_names(names: Collection[str]) -> dict[str, str]:
    """{LDM name or one of older diffusers: diffusers name} of an autoencoder's tensors; unknown names stay."""
    levels = [int(match[1]) for name in names if (match := re.match(r"decoder\.up\.(\d+)\.", name))]
    return {name: _autoencoder_name(name, max(levels, default=0)) for name in names}


def is_ldm_autoencoder(names: Collection[str]) -> bool:
    """Whether an autoencoder's tensors, whose common prefix is cut off, have LDM names."""
    return any(name.startswith(("decoder.up.", "encoder.down.")) for name in names)


def autoencoder_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that diffusers expects of the tensor it calls `name`: attention is linear there, in LDM a convolution
    of 1×1 pixels."""
    return shape[:2] if shape[2:] == (1, 1) and _SQUARE_ATTENTION.fullmatch(name) else shape


def _in_block(name: str, blocks: dict[str, str]) -> str:
    parts = name.split(".")
    for depth in (4, 3, 2):
        block, inside = ".".join(parts[:depth]), ".".join(parts[depth:])
        if block in blocks and inside:
            if ".resnets." in blocks[block]:
                layer, _, kind = inside.rpartition(".")
                inside = f"{_RESNET.get(layer, layer)}.{kind}"
            return f"{blocks[block]}.{inside}"
    return name


def _down_blocks(names: Collection[str]) -> dict[str, str]:
    """Blocks 1, 2, … of the way down: residual blocks, each with its attention, then what halves the picture."""
    found: dict[str, str] = {}
    level = layer = 0
    for number in range(1, _count(names, "input_blocks")):
        block = f"input_blocks.{number}"
        if f"{block}.0.op.weight" in names:
            found[f"{block}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            level, layer = level + 1, 0
        else:
            found[f"{block}.0"] = f"down_blocks.{level}.resnets.{layer}"
            found[f"{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
            layer += 1
    return found


def _up_blocks(names: Collection[str]) -> dict[str, str]:
    """Blocks 0, 1, … of the way up: what doubles the picture belongs to the last residual block of its level."""
    found: dict[str, str] = {}
    level = layer = 0
    for number in range(_count(names, "output_blocks")):
        block = f"output_blocks.{number}"
        found[f"{block}.0"] = f"up_blocks.{level}.resnets.{layer}"
        found[f"{block}.1"] = f"up_blocks.{level}.attentions.{layer}"
        layer += 1
        for place in (1, 2):
            if f"{block}.{place}.conv.weight" in names:
                found[f"{block}.{place}"] = f"up_blocks.{level}.upsamplers.0"
                level, layer = level + 1, 0
    return found


def _count(names: Collection[str], blocks: str) -> int:
    found = re.compile(rf"{blocks}\.(\d{{1,4}})\.")
    return 1 + max((int(match[1]) for name in names if (match := found.match(name))), default=-1)


def _autoencoder_name(name: str, top: int) -> str:
    for pattern, new in _AUTOENCODER_PARTS:
        name = re.sub(pattern, new, name)
    name = re.sub(r"up\.(\d+)\.block\.", lambda found: f"up_blocks.{top - int(found[1])}.resnets.", name)
    name = re.sub(r"up\.(\d+)\.upsample\.", lambda found: f"up_blocks.{top - int(found[1])}.upsamplers.0.", name)
    for old, new in _OLD_ATTENTION.items():
        name = re.sub(rf"(attentions\.\d+)\.{old}\.(weight|bias)$", rf"\1.{new}.\2", name)
    return name
