"""What a run looks like on held-out samples: losses, accuracy of the decoded maps, a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDIMScheduler, DDPMScheduler

from ..data.sample import Sample, SampleSource
from ..evaluation.alignment import aligned_depth
from ..evaluation.metrics import depth_metrics, normal_metrics
from ..model import LotusModel
from .annotation import annotation, annotation_mask
from .config import RunConfig
from .latents import encode_batch
from .loss import training_timesteps
from .masks import masked_mse
from .order import noise
from .pictures import save_contact_sheet

SHEET_ROWS = 8
MAX_INFERENCE_STEPS = 50
"""DDIM steps for runs with more than one training time-step (Table 3's multi-step rows)."""


def validate(
    model: LotusModel,
    sources: Sequence[SampleSource],
    run: RunConfig,
    scheduler: DDPMScheduler,
    accelerator: Accelerator,
    sheet: Path | None,
) -> dict[str, float]:
    """Means over the first `validation_samples` samples of each source.

    Returns, each with the prefix validation_: annotation_loss and reconstruction_loss in latents, and what `map_error`
    measures. Noise is the same at every validation.
    """
    found: dict[str, list[float]] = {}
    rows: list[list[torch.Tensor]] = []
    count = 0
    for source in sources:
        for index in range(min(run.log.validation_samples, len(source))):
            sample = source[index]
            truth = annotation(sample, run.model.task, run.model.space)
            mask = annotation_mask(sample, run.model.task)
            batch = {"image": sample.image[None], "annotation": truth[None], "mask": mask[None]}
            latents = encode_batch(model, batch, accelerator)
            draws = None
            if model.variant == "g":
                draws = noise(run.optim.seed, [count], "validation", latents["image"].shape[1:]).to(accelerator.device)
            predicted = predict_latents(model, latents["image"], draws, run, scheduler, "annotation")
            again = predict_latents(model, latents["image"], draws, run, scheduler, "reconstruct")
            with accelerator.autocast():
                picture = model.decode(predicted)[0].float().cpu()
            values = {
                "annotation_loss": float(masked_mse(predicted, latents["annotation"], latents["mask"])),
                "reconstruction_loss": float(masked_mse(again, latents["image"], None)),
            }
            if sample.valid.any():
                values |= map_error(picture, sample, run)
            for name, value in values.items():
                found.setdefault(name, []).append(value)
            if len(rows) < SHEET_ROWS:
                shown = picture.mean(0).expand(3, -1, -1) if run.model.task == "depth" else F.normalize(picture, dim=0)
                rows.append([sample.image, truth, shown])
            count += 1
    if sheet is not None and rows:
        save_contact_sheet(rows, sheet)
    return {f"validation_{name}": sum(values) / len(values) for name, values in found.items()}


def predict_latents(
    model: LotusModel,
    image: torch.Tensor,
    draws: torch.Tensor | None,
    run: RunConfig,
    scheduler: DDPMScheduler,
    task: str,
    inspect: Callable[[int, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """One x0 step where that is what is trained, else deterministic DDIM from `draws` over the trained time-steps.

    `inspect` sees each time-step of DDIM and the clean latents predicted there.
    """
    protocol = run.protocol
    if protocol.training_timesteps == 1 and protocol.prediction == "x0":
        return model(image, draws, task).float()
    total = run.scheduler.num_train_timesteps
    sampler = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing", clip_sample=False)
    steps = training_timesteps(min(protocol.training_timesteps, MAX_INFERENCE_STEPS), total).flip(0)
    sampler.set_timesteps(len(steps))
    assert draws is not None  # the config refuses multi-step runs of Lotus-D
    state = draws
    for step in steps.tolist():
        output = model(image, state, task, timestep=step).float()
        moved = sampler.step(output, step, state)
        state = moved.prev_sample
        if inspect is not None:
            inspect(step, moved.pred_original_sample)
    return state


def map_error(picture: torch.Tensor, sample: Sample, run: RunConfig) -> dict[str, float]:
    """`abs_rel` of a decoded depth picture after affine alignment, or `mean_angle` in degrees of decoded normals."""
    mask = sample.valid.numpy()
    if run.model.task == "normal":
        normals, truth = (x.permute(1, 2, 0).numpy() for x in (picture, sample.normals))
        return {"mean_angle": normal_metrics(normals, truth, mask)["mean"]}
    depth = sample.depth.numpy()
    values = ((picture.mean(0) + 1) / 2).clamp(0, 1).numpy()
    near, far = float(depth[mask].min()), float(depth[mask].max())
    aligned = aligned_depth(values, run.model.space, depth, mask, near, far)
    return {"abs_rel": depth_metrics(aligned, depth, mask)["abs_rel"]}
