"""The loss of Eq. 6, with the switches of Table 3."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ..model import task_embedding
from .config import ProtocolConfig
from .decoded import DecodedTruth
from .masks import masked_mean, masked_mse
from .order import ALONE, Process

if TYPE_CHECKING:
    from diffusers import DDPMScheduler


@dataclass(frozen=True)
class Losses:
    """Scalars, float32, whose means over all processes are the run's. `total` is what is differentiated: annotation +
    reconstruction (Eq. 6), and decoded and spread times their weights."""

    total: torch.Tensor
    annotation: torch.Tensor
    reconstruction: torch.Tensor | None
    spread: torch.Tensor | None = None
    decoded: torch.Tensor | None = None


def input_rows(count: int, protocol: ProtocolConfig, process: Process = ALONE) -> tuple[int, int, int]:
    """Rows of the U-Net's batch for a process's `count` pictures: annotations, those of them a second time,
    reconstructions. The latter two are of the first pictures of the global batch, and may be none."""
    second, again = (share_rows(share, count, process)[0] for share in _shares(protocol))
    return count, second, again


def _shares(protocol: ProtocolConfig) -> tuple[float, float]:
    return protocol.spread_share * bool(protocol.spread), protocol.reconstruction_share * protocol.detail_preserver


def share_rows(share: float, count: int, process: Process) -> tuple[int, float]:
    """How many of a process's `count` pictures are among the first `share` of the global batch, and the weight that
    makes the mean over processes of the means over them the mean over all of them."""
    if not share:
        return 0, 0.0
    chosen = max(1, round(share * count * process.world))
    rows = len(range(process.rank, chosen, process.world))
    return rows, rows * process.world / chosen


_SPREAD_SCALES = (1, 4, 16)  # edges of squares; errors of whole surfaces count as well as those of points


def spread_loss(
    first: torch.Tensor, second: torch.Tensor, error: torch.Tensor, mask: torch.Tensor, scale: float, unit: int = 1
) -> torch.Tensor:
    """How badly the difference of two samples of one picture matches the error of their mean; float32 scalar.

    The energy score (Gneiting & Raftery 2007, Eq. 22) of errors ±d against `error`, where d is the samples'
    difference divided by √2 · scale: smallest in expectation where samples spread by `scale` standard deviations of
    the error. Means over squares of several scales, each a vector over channels. The error gets no gradient.

    Args:
        first, second: B×C×h×w. error: of their mean, likewise. mask: B×1×h×w weights.
        unit: the edge of the smallest squares.
    """
    error = error.float().detach()
    spread = (first.float() - second.float()) / (math.sqrt(2) * scale)
    known = (mask > 0).float()
    total = error.new_zeros(())
    for size in _SPREAD_SCALES:
        size = min(size * unit, *error.shape[-2:])
        share = F.avg_pool2d(known, size)
        r, d = (F.avg_pool2d(x * known, size) for x in (error, spread))
        score = (_length(d - r) + _length(d + r)) / 2 - _length(d) / math.sqrt(2)
        total = total + masked_mean(score, share)
    return total / len(_SPREAD_SCALES)


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Euclidean length over channels, B×1×h×w, with a gradient at zero."""
    return (vectors.square().sum(1, keepdim=True) + 1e-8).sqrt()


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
    pixels: DecodedTruth | None = None,
    process: Process = ALONE,
) -> Losses:
    """All terms from one U-Net call on the concatenated batch: annotations, then images to reconstruct.

    Args:
        unet: (latents, timesteps, prompt, class_labels) → predicted latents.
        image, annotation: scaled latents, B×C×h×w.
        mask: B×1×h×w, weights of the annotation latents, 0 where not valid; the image is valid everywhere.
        prompt: 1×L×D.
        noise: as many rows as `input_rows` says in all, for Lotus-G; None for Lotus-D.
        timesteps: B, indices into the schedule.
        pixels: with it the decoded term is added, and samples are taught to spread in pixels instead of latents.
        process: whose pictures these are.
    """
    count = len(image)
    (second, second_weight), (again, again_weight) = (share_rows(share, count, process) for share in _shares(protocol))
    annotated = count + second
    clean = torch.cat([annotation, annotation[:second], image[:again]])
    condition = torch.cat([image, image[:second], image[:again]])
    timesteps = torch.cat([timesteps, timesteps[:second], timesteps[:again]])
    target = clean
    if noise is None:
        inputs = condition
    else:
        inputs = torch.cat([condition, scheduler.add_noise(clean, noise, timesteps)], dim=1)
        if protocol.prediction == "epsilon":
            target = noise
        elif protocol.prediction == "v":
            target = scheduler.get_velocity(clean, noise, timesteps)
    labels = torch.cat(
        [task_embedding("annotation").expand(annotated, -1), task_embedding("reconstruct").expand(again, -1)]
    )
    predicted = unet(inputs, timesteps, prompt.expand(len(inputs), -1, -1), labels.to(image.device))
    total = annotation_loss = masked_mse(predicted[:count], target[:count], mask)
    reconstruction = spread = decoded = None
    samples = predicted[:annotated]
    if pixels is not None:
        samples = pixels.maps(samples)
        decoded = pixels.error(samples[:count])
        total = total + protocol.decoded * decoded
    if protocol.detail_preserver:
        reconstruction = again_weight * masked_mse(predicted[annotated:], target[annotated:], None)
        total = total + reconstruction
    if protocol.spread:
        pair = samples[:second], samples[count:annotated]
        mean = (pair[0] + pair[1]) / 2
        if pixels is None:
            weights = torch.ones_like(image[:, :1]) if mask is None else mask
            spread = spread_loss(*pair, annotation[:second] - mean, weights[:second], protocol.spread_scale)
        else:
            known = pixels.first(second)
            unit = samples.shape[-1] // image.shape[-1]
            error = known.truth() - known.aligned(mean)
            pair = known.aligned_pair(*pair)
            spread = spread_loss(*pair, error, known.weight.unsqueeze(1), protocol.spread_scale, unit)
        spread = second_weight * spread
        total = total + protocol.spread * spread
    return Losses(total, annotation_loss, reconstruction, spread, decoded)
