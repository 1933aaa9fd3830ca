"""What is constant in the single step, computed once instead of in every prediction.

The time step is always T, the task one of two, and the prompt the empty one. So the time and task embeddings add one of
two constant vectors to each residual block, which go into the bias of its first convolution; and the keys and values
of cross-attention are constants, which leave of it two small matrices (see ConstantCrossAttention).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn


class CurrentTask:
    """Which of the folded tasks the next run is for; shared by all convolutions of one U-Net."""

    index = 0


class TaskConv2d(nn.Conv2d):
    """A convolution with a bias for each task: float tasks×C, the buffer `task_bias`."""

    task_bias: torch.Tensor

    def __init__(self, convolution: nn.Conv2d, task_bias: torch.Tensor, current: CurrentTask) -> None:
        nn.Module.__init__(self)
        self.__dict__.update({name: getattr(convolution, name) for name in _GEOMETRY})
        self.weight = convolution.weight
        self.register_parameter("bias", None)
        self.register_buffer("task_bias", task_bias)
        self.current = current

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight, self.task_bias[self.current.index])


_GEOMETRY = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "output_padding",
    "groups", "padding_mode", "_reversed_padding_repeated_twice",
)  # fmt: skip


class ConstantCrossAttention(nn.Module):
    """Attention to a constant prompt of L tokens, in place of diffusers' Attention.

    A head's scores are x Wqᵀ k: `queries` holds Wqᵀ k scaled, for each head and token. Its output is Wo v weighted by
    the softmax of the scores over the tokens: `values` holds Wo v. Both (heads·L)×C, with heads·L = 10 to 40 where the
    four matrices they replace had C = 320 to 1280 rows.
    """

    queries: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, attention: Any, prompt: torch.Tensor) -> None:
        super().__init__()
        self.heads = int(attention.heads)
        with torch.no_grad():  # in float64, on the CPU: Metal has none
            tokens = prompt[0].cpu().double()
            keys, values = _linear(attention.to_k, tokens), _linear(attention.to_v, tokens)  # L×(heads·d)
            split = (len(tokens), self.heads, -1)
            query = attention.to_q.weight.cpu().double().view(self.heads, -1, attention.to_q.in_features)  # heads×d×C
            queries = torch.einsum("lhd,hdc->hlc", keys.view(split), query) * float(attention.scale)
            out = attention.to_out[0]
            output = out.weight.cpu().double().view(out.out_features, self.heads, -1)  # C×heads×d
            folded = torch.einsum("lhd,chd->hlc", values.view(split), output)
        like = attention.to_q.weight
        self.register_buffer("queries", queries.flatten(0, 1).to(like))
        self.register_buffer("values", folded.flatten(0, 1).to(like))
        self.register_buffer("bias", None if out.bias is None else out.bias.detach().clone())

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
        """B×N×C to B×N×C. The prompt that diffusers passes as well is the constant one."""
        scores = nn.functional.linear(hidden_states, self.queries).unflatten(-1, (self.heads, -1))
        weights = scores.softmax(dim=-1).flatten(-2)
        return nn.functional.linear(weights, self.values.t(), self.bias)


class _NoProjection(nn.Module):
    """In place of the sinusoids of the time step."""

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        return timesteps


class _NoEmbedding(nn.Module):
    """In place of the time MLP: no embedding, so that residual blocks without a projection add none."""

    def forward(self, *_: Any) -> None:
        return None


def foldable(unet: UNet2DConditionModel) -> bool:
    """Whether `fold_unet` knows everything that depends on the constants in this U-Net (all of Lotus' it does)."""
    config = unet.config
    plain = (
        config.class_embed_type == "projection"
        and not config.class_embeddings_concat
        and config.addition_embed_type is None
        and config.time_embedding_act_fn is None
        and config.encoder_hid_dim_type is None
        and not config.dual_cross_attention
    )
    return plain and all(
        (not isinstance(part, ResnetBlock2D) or _plain_residual(part))
        and (not isinstance(part, BasicTransformerBlock) or _plain_transformer(part))
        for part in unet.modules()
    )


@torch.no_grad()
def fold_unet(unet: UNet2DConditionModel, prompt: torch.Tensor, timestep: int, switches: torch.Tensor) -> CurrentTask:
    """Fold the constants into `unet`, in place; afterwards it runs with class_labels None.

    Args:
        prompt: 1×L×C. switches: task embeddings, tasks×4.

    Returns what chooses the task by its row in `switches`.
    """
    current = CurrentTask()
    like = unet.conv_in.weight
    time = unet.time_embedding(unet.time_proj(torch.tensor([timestep], device=like.device)).to(like))
    embedding = time + unet.class_embedding(switches.to(like))  # tasks×width
    for part in unet.modules():
        if isinstance(part, ResnetBlock2D):
            projected = part.time_emb_proj(part.nonlinearity(embedding))
            part.conv1 = TaskConv2d(part.conv1, projected + part.conv1.bias, current)
            part.time_emb_proj = None
        elif isinstance(part, BasicTransformerBlock) and part.attn2 is not None:
            part.attn2 = ConstantCrossAttention(part.attn2, prompt)
    unet.time_proj, unet.time_embedding, unet.class_embedding = _NoProjection(), _NoEmbedding(), None
    return current


def _plain_residual(block: ResnetBlock2D) -> bool:
    return block.time_emb_proj is not None and block.time_embedding_norm == "default" and not block.skip_time_act


def _plain_transformer(block: BasicTransformerBlock) -> bool:
    attention = block.attn2
    if attention is None:
        return not block.only_cross_attention
    norms = (getattr(attention, name, None) for name in ("group_norm", "spatial_norm", "norm_q", "norm_k"))
    return (
        not block.only_cross_attention
        and all(norm is None for norm in norms)
        and not attention.norm_cross
        and not attention.residual_connection
        and attention.rescale_output_factor == 1
    )


def _linear(layer: nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    bias = None if layer.bias is None else layer.bias.cpu().double()
    return nn.functional.linear(inputs, layer.weight.cpu().double(), bias)
