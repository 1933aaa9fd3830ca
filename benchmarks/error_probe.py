"""How well could uncertainty rank errors? A network that is shown the errors themselves, beside the spread of samples.

    python -m benchmarks.error_probe --report benchmarks/error-probe.md    # 10 minutes on one core

A small convolutional network is taught, on scenes of their own, to predict the depth errors of a Lotus-G checkpoint
from what its U-Net knows when it predicts: the activations before the last convolution, and the photograph's latents.
It sees the truth in training, so where it cannot rank errors either, the spread of samples can hardly be blamed. Both
are then compared on held-out scenes with the same errors, those of one prediction aligned in disparity.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

import lotus_core as lotus
from benchmarks.heading import heading
from benchmarks.tiny import MIN_VALID
from lotus_core.data.sample import Sample, to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.compose import FIRST_KINDS
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.evaluation.alignment import align_in_space
from lotus_core.evaluation.metrics import ause, spearman
from lotus_core.evaluation.scoring import picture_gradient
from lotus_core.evaluation.summary import markdown_table

SEED = 108  # of the scenes that the probe learns from: no checkpoint was trained on them
HEIGHT, WIDTH = 192, 256
HIDDEN, BATCH, RATE = 64, 8, 2e-3
DILATIONS = (1, 2, 4, 8)  # of the 3×3 convolutions: together they see 31 latents


class Seen(NamedTuple):
    """A scene's features C×h×w, absolute error of its disparity H×W (0 where invalid), and mask H×W, bool."""

    features: torch.Tensor
    error: torch.Tensor
    mask: torch.Tensor


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=800, help="scenes to learn from")
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--kinds", default=",".join(FIRST_KINDS), help="of scenes, with commas between")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--report", type=Path, help="also write the table to this Markdown file")
    a = parser.parse_args(argv)
    predictor = lotus.LotusPredictor(lotus.load_model(a.depth_model))
    torch.manual_seed(0)
    kinds = a.kinds.split(",")
    learnt = SyntheticScenes(a.count, HEIGHT, WIDTH, SEED, kinds=kinds)
    probe = fit(
        [one for i in trange(a.count, desc="scenes", disable=None) if (one := seen(predictor, learnt[i], i))], a.steps
    )
    rows: dict[str, list[tuple[float, float]]] = {"ten samples' spread": [], "the probe": [], "image gradient": []}
    held_out = SyntheticScenes(a.held_out, HEIGHT, WIDTH, HELD_OUT_SEED, kinds=kinds)
    for index in trange(a.held_out, desc="held-out scenes", disable=None):
        sample = held_out[index]
        one = seen(predictor, sample, index)
        if one is None:
            continue
        photo, mask = to_bytes(sample.image), one.mask.numpy()
        error = one.error.numpy()[mask]
        guesses = predictor.uncertainty(photo, samples=10, seed=index).std, guessed(probe, one), picture_gradient(photo)
        for found, guess in zip(rows.values(), guesses, strict=True):
            found.append((spearman(guess[mask], error), ause(error, guess[mask])))
    table: list[tuple[str, ...]] = [("ranked by", "Spearman with the error", "AUSE")]
    for name, found in rows.items():
        correlation, area = np.mean(found, axis=0)
        table.append((name, f"{correlation:.2f}", f"{area:.3f}"))
    text = f"{len(found)} held-out scenes of {WIDTH}×{HEIGHT} pixels ({a.kinds.replace(',', ', ')}); {a.depth_model},"
    text += f" errors of one prediction. The probe saw the errors of {a.count} other scenes.\n\n{markdown_table(table)}"
    print(text)
    if a.report:
        title = "What uncertainty could know: the errors themselves, learnt by a probe"
        a.report.write_text(heading(parser, a, "benchmarks.error_probe", title) + text, encoding="utf-8")


@torch.no_grad()
def seen(predictor: lotus.LotusPredictor, sample: Sample, seed: int) -> Seen | None:
    """What the network knew of a scene, and where it erred; None where too little of the scene is solid.

    The prediction has the noise of `predictor.uncertainty`'s first sample for that seed.
    """
    caught: dict[str, torch.Tensor] = {}
    mask = sample.valid.numpy()
    if mask.mean() < MIN_VALID:
        return None
    hook = predictor.model.unet.conv_norm_out.register_forward_hook(
        lambda _module, _inputs, output: caught.update(features=output.detach().float())
    )
    encoded = predictor.encode(to_bytes(sample.image))
    found = predictor.depth(encoded, seed=seed)
    hook.remove()
    aligned, truth = align_in_space(found.values, found.space, sample.depth.numpy(), mask)
    error = torch.from_numpy(np.abs(aligned - truth) * mask).float()
    return Seen(torch.cat([caught["features"], encoded.latents.float()], 1)[0], error, sample.valid)


def fit(scenes: list[Seen], steps: int) -> nn.Module:
    """A network from features to the logarithm of the expected error, fitted by the likelihood of a Laplace law.

    Each scene's errors are divided by their mean: it is their order within a picture that is asked for.
    """
    channels = len(scenes[0].features)
    layers: list[nn.Module] = []
    for dilation in DILATIONS:
        layers += [nn.Conv2d(channels, HIDDEN, 3, padding=dilation, dilation=dilation), nn.SiLU()]
        channels = HIDDEN
    probe = nn.Sequential(*layers, nn.Conv2d(HIDDEN, 1, 1))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    factor = scenes[0].error.shape[-1] // scenes[0].features.shape[-1]
    for _ in trange(steps, desc="learning", disable=None):
        batch = [scenes[i] for i in torch.randint(len(scenes), (BATCH,)).tolist()]
        features = torch.stack([one.features for one in batch])
        known = F.avg_pool2d(torch.stack([one.mask for one in batch])[:, None].float(), factor)
        error = F.avg_pool2d(torch.stack([one.error for one in batch])[:, None], factor)
        error = error * known.sum((1, 2, 3), keepdim=True) / error.sum((1, 2, 3), keepdim=True)
        if torch.rand(()) < 0.5:
            features, known, error = features.flip(3), known.flip(3), error.flip(3)
        expected = probe(features)  # log
        loss = (error * torch.exp(-expected) + expected * known).sum() / known.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return probe


@torch.no_grad()
def guessed(probe: nn.Module, scene: Seen) -> np.ndarray:
    """The expected error of each pixel, H×W, relative to the picture's mean."""
    expected: np.ndarray = (
        F.interpolate(probe(scene.features[None]), scene.error.shape, mode="bilinear")[0, 0].exp().numpy()
    )
    return expected


if __name__ == "__main__":
    main()
