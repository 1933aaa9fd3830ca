"""Ground truth → the 3-channel picture that the autoencoder encodes (paper, section 4: annotations)."""

from __future__ import annotations

import math
from typing import Literal

import torch

from ..data.sample import Sample

LOW_QUANTILE, HIGH_QUANTILE = 0.02, 0.98
"""Per-image normalisation range of depth (paper, implementation details)."""

MIN_RANGE = 1e-6
"""Below this spread an image is one flat plane and is annotated as 0 everywhere."""


def depth_annotation(
    depth: torch.Tensor, valid: torch.Tensor, space: Literal["disparity", "depth"] = "disparity"
) -> torch.Tensor:
    """Depth H×W (metres) → 3×H×W float32 in [−1, 1], affine-normalised between the quantiles of its valid pixels.

    In disparity (1 / depth) +1 is near; in depth +1 is far. The sky and missing pixels get the far end.
    """
    return _normalised(depth, valid, space)[0]


def disparity_annotation(depth: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, float]:
    """`depth_annotation` in disparity, and the value in it, ≤ −1, at which disparity would be 0 (infinitely far).

    The distance from that value is proportional to disparity, so that a share of it is a share of the depth. −inf for
    a flat plane and where nothing is known: all points are equally far there.
    """
    picture, low, spread = _normalised(depth, valid, "disparity")
    return picture, -1 - 2 * low / spread if spread else -math.inf


def _normalised(
    depth: torch.Tensor, valid: torch.Tensor, space: Literal["disparity", "depth"]
) -> tuple[torch.Tensor, float, float]:
    """The annotation, the value that became −1, and the range that became 2 (0 where there is none)."""
    far = -1.0 if space == "disparity" else 1.0
    result = torch.full(depth.shape, far, dtype=torch.float32)
    low = spread = 0.0
    if valid.any():
        values = depth[valid].float()
        if space == "disparity":
            values = 1.0 / values
        quantiles = torch.quantile(values, torch.tensor([LOW_QUANTILE, HIGH_QUANTILE], dtype=values.dtype))
        low, high = quantiles.tolist()
        if high - low > MIN_RANGE * abs(high):
            spread = high - low
            result[valid] = ((values - low) / spread * 2 - 1).clamp(-1, 1)
        else:
            result[valid] = 0.0
    return result.expand(3, *result.shape).clone(), low, spread


def annotation(sample: Sample, task: Literal["depth", "normal"], space: Literal["disparity", "depth"]) -> torch.Tensor:
    """The annotation of a sample, 3×H×W float32 in [−1, 1]; normals are used as they are."""
    if task == "depth":
        return depth_annotation(sample.depth, sample.valid, space)
    return sample.normals.float()


MAX_WEIGHT = 4.0
"""Bound of `annotation_weight`, above and (its inverse) below."""


def annotation_weight(sample: Sample, far_weight: float) -> torch.Tensor:
    """H×W float32, mean 1 over the solid points: (depth / median depth)^far_weight within [1/4, 4]; 1 on the sky.

    An error δ in disparity is a relative error of depth · δ, which is what AbsRel measures. 0 where nothing is known.
    """
    weight = annotation_mask(sample, "depth").float()
    if far_weight and sample.valid.any():
        depth = sample.depth[sample.valid].float()
        solid = ((depth / depth.median()) ** far_weight).clamp(1 / MAX_WEIGHT, MAX_WEIGHT)
        weight[sample.valid] = solid / solid.mean()
    return weight


def annotation_mask(sample: Sample, task: Literal["depth", "normal"]) -> torch.Tensor:
    """H×W bool: where the annotation means something. The sky has a depth (far) but no normal."""
    return (sample.valid | sample.sky) if task == "depth" else sample.valid
