"""Other light, colours, grain, borders for a picture whose geometry stays: what a network must not read shape from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .sample import Sample, SampleSource


class Varied:
    """A source whose pictures are varied, each always in the same way; depth, normals and masks stay as they are.

    seed:  of `vary`; 0 leaves light and colours alone. frame: which share of the pictures gets a border (`frame`).
    """

    def __init__(self, source: SampleSource, seed: int, frame: float = 0.0) -> None:
        self.source, self.seed, self.frame = source, seed, frame

    def __len__(self) -> int:
        return len(self.source)

    def files(self) -> Sequence[tuple[Path, ...]]:
        """Those of the pictures before they are varied."""
        return self.source.files()

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        image = vary(sample.image, np.random.default_rng((self.seed, index))) if self.seed else sample.image
        rng = np.random.default_rng((self.seed, index, 1))  # its own, so that `vary` gives what it gives without frames
        if rng.random() < self.frame:
            image = frame(image, rng)
        return replace(sample, image=image)


def vary(image: Tensor, rng: np.random.Generator) -> Tensor:
    """An image 3×H×W float32 in [−1, 1] in other light, with other colours, contrast, grain and sharpness; same range.

    Light and texture come from smooth random fields that know nothing of the scene (domain randomisation, Tobin et al.
    2017, arXiv 1703.06907). Every choice comes from `rng`.
    """
    height, width = image.shape[1:]
    linear = ((image + 1) / 2).clamp(0, 1) ** 2.2
    light = rng.uniform(0, 0.7) * _field(rng, height, width, rng.uniform(1.5, 5))
    if rng.random() < 0.5:
        light = light + rng.uniform(0, 0.25) * _field(rng, height, width, rng.uniform(8, 60))
    linear = linear * torch.exp(light)
    mixing = rng.normal(0, 0.12, (3, 3)) + np.diag(np.exp(rng.normal(0, 0.15, 3)))
    grey = np.full((3, 3), 1 / 3)
    saturation = 0.0 if rng.random() < 0.1 else rng.uniform(0.2, 1.4)
    colours = torch.from_numpy((saturation * np.eye(3) + (1 - saturation) * grey) @ mixing).float()
    linear = torch.einsum("ij,jhw->ihw", colours, linear).clamp_min(0)
    linear = linear * (rng.uniform(0.7, 1.15) / float(torch.quantile(linear.flatten()[::5], 0.97).clamp_min(1e-3)))
    shown = linear.clamp(0, 1) ** (np.exp(rng.uniform(-0.4, 0.4)) / 2.2)
    middle = shown.mean()
    shown = middle + (shown - middle) * rng.uniform(0.6, 1.3)
    if rng.random() < 0.3:
        shown = _softened(shown, rng.uniform(0.5, 0.95))
    if rng.random() < 0.3:
        noise = torch.from_numpy(rng.standard_normal((3, height, width), dtype=np.float32))
        shown = shown + rng.uniform(0, 0.06) * noise
    return (2 * shown - 1).clamp(-1, 1).float()


def frame(image: Tensor, rng: np.random.Generator) -> Tensor:
    """An image 3×H×W float32 in [−1, 1] with a border of one colour painted over its edges, mostly black or white.

    Up to 6 % of the edge on every side, as scans, slides and the labelled pictures of NYUv2 have it, or bars of up to
    12 % on two sides, as films have. The truth below stays, so what is learnt is to go on with the scene there: a
    network that never saw a border takes it for something near. Every choice comes from `rng`.
    """
    height, width = image.shape[1:]
    kind = rng.choice(3, p=(0.6, 0.25, 0.15))  # all round, above and below, left and right
    most = ((0.06, 0.06), (0.12, 0), (0, 0.12))[kind]
    top, bottom = (round(rng.uniform(0, most[0]) * height) for _ in range(2))
    left, right = (round(rng.uniform(0, most[1]) * width) for _ in range(2))
    colour = torch.tensor((-1.0, 1.0, *rng.uniform(-1, 1, 1))[rng.choice(3, p=(0.6, 0.25, 0.15))])
    framed = colour.expand_as(image).clone()
    inside = slice(None), slice(top, height - bottom), slice(left, width - right)
    framed[inside] = image[inside]
    return framed


def _field(rng: np.random.Generator, height: int, width: int, cells: float) -> Tensor:
    """A smooth random field 1×H×W of about unit variance, with so many cells along the longer edge."""
    rows, columns = (max(2, round(cells * edge / max(height, width))) + 1 for edge in (height, width))
    coarse = torch.from_numpy(rng.standard_normal((1, 1, rows, columns), dtype=np.float32))
    return 1.3 * F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]


def _softened(image: Tensor, scale: float) -> Tensor:
    """As if it had been stored at `scale` of its size."""
    height, width = image.shape[1:]
    small = F.interpolate(image[None], (round(height * scale), round(width * scale)), mode="area")
    return F.interpolate(small, (height, width), mode="bicubic", align_corners=False)[0]
