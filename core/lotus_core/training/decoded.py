"""The error of what is decoded from predicted latents, measured as evaluation measures it; gradients flow through.

Fine-tuning end to end with such errors is that of Martin Garcia et al. 2024 (E2E-FT, arXiv 2409.11355); here they stand
beside the latents' error of Eq. 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F

from .autoencoder import WITHOUT_EDGES, reconstruction_loss
from .masks import latent_mask, masked_mean

_EPSILON = 1e-6


@dataclass(frozen=True)
class DecodedTruth:
    """Truth in pixels, and how latents become pixels.

    Attributes:
        decode: scaled latents B×C×h×w → pictures B×3×H×W.
        annotation: B×3×H×W float32 in [−1, 1]. weight: B×H×W ≥ 0, 0 where it says nothing.
        horizon: B, where disparity is 0 in each annotation (`disparity_annotation`): `error` is then one of depth.
    """

    task: Literal["depth", "normal"]
    decode: Callable[[torch.Tensor], torch.Tensor]
    annotation: torch.Tensor
    weight: torch.Tensor
    horizon: torch.Tensor | None = None

    def first(self, count: int) -> DecodedTruth:
        """That of the first `count` pictures."""
        horizon = None if self.horizon is None else self.horizon[:count]
        return replace(self, annotation=self.annotation[:count], weight=self.weight[:count], horizon=horizon)

    def averaged(self, factor: int, decode: Callable[[torch.Tensor], torch.Tensor]) -> DecodedTruth:
        """That at a resolution lower by `factor`, which `decode` yields; squares with an unknown point are unknown."""
        weight = latent_mask(self.weight, factor).squeeze(1)
        return replace(self, decode=decode, annotation=F.avg_pool2d(self.annotation, factor), weight=weight)

    def maps(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents → float32 maps: depth B×1×H×W, the mean of its channels as in `predict`; normals B×3×H×W, unit."""
        return self._as_maps(self.decode(latents).float())

    def truth(self) -> torch.Tensor:
        """The maps that were to be predicted, shaped as those of `maps`."""
        return self._as_maps(self.annotation.float())

    def _as_maps(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean(1, keepdim=True) if self.task == "depth" else F.normalize(pictures, dim=1)

    def aligned(self, maps: torch.Tensor) -> torch.Tensor:
        """`maps` as they are compared with the truth: depth after `align`, normals as they are."""
        return align(maps, self.truth(), self.weight.unsqueeze(1)) if self.task == "depth" else maps

    def aligned_pair(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two samples as uncertainty compares them, without scale and shift of depth: each brought to their mean."""
        if self.task == "normal":
            return first, second
        mean, weight = (first + second).detach() / 2, self.weight.unsqueeze(1)
        return align(first, mean, weight), align(second, mean, weight)

    def error(self, maps: torch.Tensor) -> torch.Tensor:
        """Weighted mean distance of aligned maps from the truth, float32 scalar.

        For depth the absolute difference, which aims at the median, as AbsRel does, where a squared one aims at the
        mean. For normals the length of the difference, 2 · sin(angle / 2): for small angles the angle in radians, whose
        mean is reported, and unlike it with a gradient everywhere.

        With `horizon` AbsRel itself: the error of the depth, 1 / disparity, as a share of the true one, all points
        alike. Where a point is put beyond twice its depth it grows with the disparity's error only, not without bound.
        """
        aligned, truth = self.aligned(maps), self.truth()
        length = ((aligned - truth).square().sum(1, keepdim=True) + _EPSILON).sqrt()
        weight = self.weight.unsqueeze(1)
        if self.horizon is None:
            return masked_mean(length, weight)
        zero = self.horizon.view(-1, 1, 1, 1)
        return masked_mean(length / torch.maximum(aligned - zero, (truth - zero) / 2), (weight > 0).float())


def autoencoder_error(
    decode: Callable[[torch.Tensor], torch.Tensor], latents: torch.Tensor, pictures: torch.Tensor
) -> torch.Tensor:
    """`reconstruction_loss` of what `decode` makes of pictures' own latents; 0 of none."""
    return reconstruction_loss(decode(latents), pictures, WITHOUT_EDGES) if len(latents) else latents.new_zeros(())


def align(values: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """B×1×H×W `values`, each picture by the scale and shift that fit it best to its `target`.

    Least squares over the points of weight > 0, all alike, as evaluation does (`evaluation.alignment`).
    """
    known = (weight > 0).float()
    count = known.sum((1, 2, 3), keepdim=True).clamp_min(1.0)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return (x * known).sum((1, 2, 3), keepdim=True) / count

    centred, middle = values - mean(values), mean(target)
    scale = mean(centred * (target - middle)) / (mean(centred.square()) + _EPSILON)
    return scale * centred + middle
