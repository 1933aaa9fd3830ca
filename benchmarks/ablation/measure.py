"""What a trained rung is worth on held-out scenes, and how its prediction changes along the denoising path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lotus_core.data.sample import Sample
from lotus_core.data.synthetic.render import FAR_M
from lotus_core.evaluation.alignment import aligned_depth
from lotus_core.evaluation.boundaries import BoundaryCounts, boundary_counts, thin_structures
from lotus_core.evaluation.metrics import depth_metrics
from lotus_core.model import LotusModel
from lotus_core.training.annotation import annotation, annotation_mask
from lotus_core.training.base import make_scheduler
from lotus_core.training.config import RunConfig
from lotus_core.training.masks import latent_mask, masked_mean
from lotus_core.training.order import noise
from lotus_core.training.validation import predict_latents

NEAR_M = 0.1
MIN_VALID = 0.05  # scenes with less than this share of solid pixels are left out
NOISE_SEED = 990_001


def evaluate(model: LotusModel, run: RunConfig, scenes: Sequence[Sample]) -> dict[str, Any]:
    """Scores of `score_maps` for one prediction of each scene."""
    return score_maps(predicted_maps(model, run, scenes), run.model.space, scenes)


@torch.no_grad()
def predicted_maps(model: LotusModel, run: RunConfig, scenes: Sequence[Sample]) -> torch.Tensor:
    """Depth or disparity N×H×W in [0, 1], sampled as the run was trained; the same noise every time."""
    latents = model.encode(torch.stack([scene.image for scene in scenes]))
    draws = noise(NOISE_SEED, range(len(scenes)), "evaluation", latents.shape[1:]) if model.variant == "g" else None
    predicted = predict_latents(model, latents, draws, run, make_scheduler(run), "annotation")
    return (model.decode(predicted, mean=True)[:, 0] / 2 + 0.5).clamp(0, 1)


def score_maps(maps: torch.Tensor, space: Any, scenes: Sequence[Sample]) -> dict[str, Any]:
    """Maps N×H×W in [0, 1] against the scenes.

    Returns abs_rel and delta1, means over the scenes after alignment by scale and shift in `space`; boundary_* and
    thin_* (f1, recall and precision at each of `thresholds`, and mean_f1), pooled over the scenes; and how many scenes
    had enough solid pixels to count.
    """
    rows: list[tuple[float, float]] = []
    every: list[BoundaryCounts] = []
    thin: list[BoundaryCounts] = []
    for values, scene in zip(maps.numpy(), scenes, strict=True):
        mask, sky, truth = scene.valid.numpy(), scene.sky.numpy(), scene.depth.numpy()
        if mask.mean() < MIN_VALID:
            continue
        depth = aligned_depth(values, space, truth, mask, NEAR_M, FAR_M)
        found = depth_metrics(depth, truth, mask)
        rows.append((found["abs_rel"], found["delta1"]))
        every.append(boundary_counts(depth, truth, mask | sky))
        thin.append(boundary_counts(depth, truth, mask | sky, front=thin_structures(truth)))
    abs_rel, delta1 = np.mean(rows, axis=0).tolist()
    pooled = {"boundary": sum(every[1:], every[0]), "thin": sum(thin[1:], thin[0])}
    return {
        "abs_rel": abs_rel,
        "delta1": delta1,
        "scenes": len(rows),
        "thresholds": list(every[0].thresholds),
        **{f"{name}_mean_f1": counts.mean_f1 for name, counts in pooled.items()},
        **{
            f"{name}_{what}": getattr(counts, what).tolist()
            for name, counts in pooled.items()
            for what in ("f1", "recall", "precision")
        },
        **{f"{name}_true": counts.true.tolist() for name, counts in pooled.items()},
    }


@torch.no_grad()
def references(model: LotusModel, scenes: Sequence[Sample]) -> dict[str, Any]:
    """What to hold the scores against, in either space: the truth after the autoencoder, and a vertical ramp."""
    found = {}
    count, (height, width) = len(scenes), scenes[0].depth.shape
    down = torch.arange(1, height + 1)[None, :, None].expand(count, height, width) / height
    for space in ("depth", "disparity"):
        pictures = torch.stack([annotation(scene, "depth", space) for scene in scenes])
        decoded = (model.decode(model.encode(pictures), mean=True)[:, 0] / 2 + 0.5).clamp(0, 1)
        found[f"autoencoder, {space}"] = score_maps(decoded, space, scenes)
        # Depth grows toward the top of a picture, disparity toward its bottom; alignment takes no negative scale.
        found[f"ramp, {space}"] = score_maps(down if space == "disparity" else down.flip(1), space, scenes)
    return found


@torch.no_grad()
def denoising_path(model: LotusModel, run: RunConfig, scenes: Sequence[Sample], noise_seeds: int) -> dict[str, Any]:
    """Fig. 5 and 6: the clean latents predicted at every DDIM step, from `noise_seeds` noises for each scene.

    Returns timesteps, error (mean squared, against the annotation's latents) and variance (over the noises, mean over
    latents and scenes), each as long as the path, over the valid latents.
    """
    space = run.model.space
    image = model.encode(torch.stack([scene.image for scene in scenes]))
    truth = model.encode(torch.stack([annotation(scene, "depth", space) for scene in scenes]))
    solid = torch.stack([annotation_mask(scene, "depth") for scene in scenes])
    mask = latent_mask(solid, model.latent_factor)
    seen: dict[int, list[torch.Tensor]] = {}
    for seed in range(noise_seeds):
        draws = noise(NOISE_SEED, range(len(scenes)), f"path {seed}", image.shape[1:])

        def inspect(step: int, clean: torch.Tensor) -> None:
            seen.setdefault(step, []).append(clean)

        predict_latents(model, image, draws, run, make_scheduler(run), "annotation", inspect)
    stacks = {step: torch.stack(clean) for step, clean in seen.items()}
    return {
        "timesteps": list(stacks),
        "error": [float(masked_mean((stack - truth).square().mean(0), mask)) for stack in stacks.values()],
        "variance": [float(masked_mean(stack.var(0), mask)) for stack in stacks.values()],
    }
