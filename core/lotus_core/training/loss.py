"""The loss of Eq. 6 and its latent mask, with the switches of Table 3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ..model import task_embedding
from .config import ProtocolConfig

if TYPE_CHECKING:
    from diffusers import DDPMScheduler


@dataclass(frozen=True)
class Losses:
    """Scalars, float32. `total` is what is differentiated: annotation + reconstruction (Eq. 6)."""

    total: torch.Tensor
    annotation: torch.Tensor
    reconstruction: torch.Tensor | None


def latent_mask(valid: torch.Tensor, factor: int) -> torch.Tensor:
    """B×H×W bool pixels → B×1×h×w bool latents, true only where every pixel under the latent is valid."""
    invalid = (~valid).float().unsqueeze(1)
    return F.max_pool2d(invalid, factor) == 0


def masked_mse(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared error over the latent elements that `mask` (B×1×h×w) marks, in float32; 0 where it marks none."""
    squared = (prediction.float() - target.float()).square()
    if mask is None:
        return squared.mean()
    weight = mask.expand_as(squared)
    return torch.where(weight, squared, 0.0).sum() / weight.sum().clamp_min(1)


def training_timesteps(count: int, total: int) -> torch.Tensor:
    """Eq. 5: the T' = `count` time-steps trained on, evenly spaced and ending at T; indices into the schedule.

    One step gives [999] of 1000, i.e. t = T.
    """
    return torch.arange(1, count + 1) * total // count - 1


def protocol_losses(
    unet: Callable[..., torch.Tensor],
    image: torch.Tensor,
    annotation: torch.Tensor,
    mask: torch.Tensor | None,
    prompt: torch.Tensor,
    noise: torch.Tensor | None,
    timesteps: torch.Tensor,
    scheduler: DDPMScheduler,
    protocol: ProtocolConfig,
) -> Losses:
    """Both terms of Eq. 6 from one U-Net call on the concatenated batch.

    Args:
        unet: (latents, timesteps, prompt, class_labels) → predicted latents.
        image, annotation: scaled latents, B×C×h×w.
        mask: B×1×h×w, valid annotation latents; the image is valid everywhere.
        prompt: 1×L×D.
        noise: K·B×C×h×w for Lotus-G (K = 2 with the detail preserver, else 1; annotation rows first), None for Lotus-D.
        timesteps: B, indices into the schedule.
    """
    count = len(image)
    rows = 2 if protocol.detail_preserver else 1
    clean = torch.cat([annotation, image]) if rows == 2 else annotation
    condition = image.repeat(rows, 1, 1, 1)
    timesteps = timesteps.repeat(rows)
    target = clean
    if noise is None:
        inputs = condition
    else:
        inputs = torch.cat([condition, scheduler.add_noise(clean, noise, timesteps)], dim=1)
        if protocol.prediction == "epsilon":
            target = noise
        elif protocol.prediction == "v":
            target = scheduler.get_velocity(clean, noise, timesteps)
    labels = torch.cat([task_embedding(task).expand(count, -1) for task in ("annotation", "reconstruct")[:rows]])
    predicted = unet(inputs, timesteps, prompt.expand(len(inputs), -1, -1), labels.to(image.device))
    annotation_loss = masked_mse(predicted[:count], target[:count], mask)
    if rows == 1:
        return Losses(annotation_loss, annotation_loss, None)
    reconstruction_loss = masked_mse(predicted[count:], target[count:], None)
    return Losses(annotation_loss + reconstruction_loss, annotation_loss, reconstruction_loss)
