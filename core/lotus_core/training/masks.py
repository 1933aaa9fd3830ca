"""Which points of a picture or its latents count, and means over them."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def latent_mask(valid: torch.Tensor, factor: int) -> torch.Tensor:
    """B×H×W pixels, bool or weights ≥ 0 → B×1×h×w float32 latents: the mean, but 0 where any pixel under it is 0."""
    weight = valid.float().unsqueeze(1)
    return F.avg_pool2d(weight, factor) * (F.max_pool2d(-weight, factor) < 0)


def masked_mse(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared error over latent elements, weighted by `mask` (B×1×h×w), in float32; 0 where all weights are 0, or
    B is."""
    squared = (prediction.float() - target.float()).square()
    if mask is not None:
        return masked_mean(squared, mask)
    return squared.mean() if squared.numel() else squared.sum()


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of B×C×h×w values weighted by B×1×h×w; 0 where all weights are 0."""
    weight = mask.float().expand_as(values)
    return torch.where(weight > 0, values * weight, 0.0).sum() / weight.sum().clamp_min(1e-6)
