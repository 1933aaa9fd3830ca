"""Nearest-neighbour enlargement and the convolution after it, as four small convolutions on the small picture.

Of the nine pixels that a 3×3 convolution sees in a picture enlarged by two, only four differ. So every output pixel is
a 2×2 convolution of the small picture whose kernel sums those of the nine weights that meet the same pixel: one kernel
for each of the four places within a 2×2 block. 16 multiplications instead of 36, and the same result but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.nn import functional

# SUMS[i][a] says which rows of the 3×3 kernel meet row a of the small picture, for output rows i = 0, 1 of each pair.
SUMS = (((0,), (1, 2)), ((0, 1), (2,)))
PLACES = [(row, column) for row in (0, 1) for column in (0, 1)]


class FoldedUpsample2D(nn.Module):
    """B×C×H×W to B×K×2H×2W, in place of an enlargement by two and the 3×3 convolution (padding 1) after it.

    Buffers: `kernel_ij` K×C×2×2 for the output rows i, i + 2 ... and columns j, j + 2 ...; `bias` K or None.
    """

    kernel_00: torch.Tensor
    kernel_01: torch.Tensor
    kernel_10: torch.Tensor
    kernel_11: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        for row, column in PLACES:
            kernel = torch.empty_like(weight[:, :, :2, :2], memory_format=torch.channels_last)
            for a, b in PLACES:
                met = [weight[:, :, y, x].float() for y in SUMS[row][a] for x in SUMS[column][b]]
                kernel[:, :, a, b] = sum(met[1:], start=met[0])
            self.register_buffer(f"kernel_{row}{column}", kernel)
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())

    def forward(
        self, hidden_states: torch.Tensor, output_size: tuple[int, int] | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        batch, _channels, height, width = hidden_states.shape
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            enlarged = functional.interpolate(hidden_states, size=output_size, mode="nearest")
            return functional.conv2d(enlarged, self._weight(), self.bias, padding=1)
        last = hidden_states.is_contiguous(memory_format=torch.channels_last)
        result = torch.empty(
            (batch, self.kernel_00.shape[0], 2 * height, 2 * width),
            dtype=hidden_states.dtype,
            device=hidden_states.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )
        for row, column in PLACES:
            found = functional.conv2d(hidden_states, getattr(self, f"kernel_{row}{column}"), self.bias, padding=1)
            result[:, :, row::2, column::2] = found[:, :, row : row + height, column : column + width]
        return result

    def _weight(self) -> torch.Tensor:
        """The 3×3 kernel again, for sizes that are not twice the input's."""
        first, last = self.kernel_00, self.kernel_11  # hold the four sums that start, and that end, with one weight
        right, below = self.kernel_01, self.kernel_10
        top = [first[:, :, 0, 0], right[:, :, 0, 0] - first[:, :, 0, 0], right[:, :, 0, 1]]
        bottom = [below[:, :, 1, 0], last[:, :, 1, 0] - below[:, :, 1, 0], last[:, :, 1, 1]]
        left = below[:, :, 0, 0] - first[:, :, 0, 0]
        end = last[:, :, 0, 1] - right[:, :, 0, 1]
        middle = [left, last[:, :, 0, 0] - left - top[0] - top[1], end]
        return torch.stack([torch.stack(row, dim=-1) for row in (top, middle, bottom)], dim=-2)


def fold_upsampling(network: nn.Module) -> None:
    """Replace, in place, every enlargement by two with a 3×3 convolution after it: diffusers' Upsample2D, and
    nn.Upsample and nn.Conv2d in a sequence."""
    for module in list(network.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, Upsample2D) and _plain(part):
                setattr(module, name, FoldedUpsample2D(_convolution(part)))
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                first, second = module[index], module[index + 1]
                doubled = isinstance(first, nn.Upsample) and first.scale_factor == 2 and first.mode == "nearest"
                if doubled and isinstance(second, nn.Conv2d) and _three_by_three(second):
                    module[index], module[index + 1] = FoldedUpsample2D(second), nn.Identity()


def _convolution(upsample: Upsample2D) -> nn.Conv2d:
    found = upsample.conv if upsample.name == "conv" else upsample.Conv2d_0
    assert isinstance(found, nn.Conv2d)
    return found


def _plain(upsample: Upsample2D) -> bool:
    simple = upsample.use_conv and not upsample.use_conv_transpose and upsample.interpolate and upsample.norm is None
    return simple and _three_by_three(_convolution(upsample))


def _three_by_three(convolution: nn.Conv2d) -> bool:
    plain = convolution.groups == 1 and convolution.dilation == (1, 1) and convolution.stride == (1, 1)
    return plain and convolution.kernel_size == (3, 3) and convolution.padding == (1, 1)
