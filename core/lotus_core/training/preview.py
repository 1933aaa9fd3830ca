"""A small network that decodes latents at their own resolution: errors of decoded maps without the decoder's cost.

It learns what the decoder makes of latents, averaged over the pixels of each. Its latents are those of the run's
annotations, and mixtures of two of them, which are as undecided as predictions are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..model import LotusModel, device_of
from .autoencoder import WITHOUT_EDGES, reconstruction_loss
from .order import derive

BATCHES = 24
_WIDTH, _STEPS, _RATE = 32, 1200, 8e-3


def fit_preview(model: LotusModel, batches: Iterable[dict[str, Any]], seed: int) -> nn.Module:
    """Fit it to what `model.decode` makes of the `annotation` pictures of `batches`, each of one size.

    Returns a frozen module, scaled latents B×C×h×w → pictures B×3×h×w in [−1, 1] as the decoder's, averaged over the
    latents' pixels; float32. The same seed and batches give the same one.
    """
    generator = torch.Generator().manual_seed(derive(seed, "preview"))
    pairs = [pair for batch in batches for pair in _examples(model, batch["annotation"], generator)]
    channels = pairs[0][0].shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "preview weights"))
        network = nn.Sequential(
            nn.Conv2d(channels, _WIDTH, 3, padding=1, padding_mode="replicate"),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, padding_mode="replicate"),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, 3, 1),
        ).to(pairs[0][0].device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, _STEPS)
    for step in range(_STEPS):
        if step % len(pairs) == 0:
            order = torch.randperm(len(pairs), generator=generator).tolist()
        latents, pictures = pairs[order[step % len(pairs)]]
        optimizer.zero_grad()
        reconstruction_loss(network(latents), pictures, WITHOUT_EDGES).backward()
        optimizer.step()
        schedule.step()
    return network.requires_grad_(False)


@torch.no_grad()
def _examples(
    model: LotusModel, pictures: torch.Tensor, generator: torch.Generator
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(latents, averaged decoded pictures) of annotations and of their mixtures with one another."""
    latents = model.encode(pictures.to(device_of(model))).float()
    part = torch.rand(len(latents), 1, 1, 1, generator=generator).to(latents.device)
    mixtures = part * latents + (1 - part) * latents.roll(1, 0)
    return [(z, F.avg_pool2d(model.decode(z).float(), model.latent_factor)) for z in (latents, mixtures)]
