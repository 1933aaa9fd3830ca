"""The network's part of a map to the map itself: at the photo's size, in its units, with its meaning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch

from .framing import Frame
from .maps import Depth, Normals, Uncertainty
from .maps.depth import Space
from .maps.normals import Convention
from .model_info import ModelInfo
from .running import KeptTensors, Level, MeanAngle, MeanDirection, RunningSpread, unit


def finished(info: ModelInfo, frame: Frame, decoded: torch.Tensor) -> torch.Tensor:
    """Decoded 1×C×h×w, nominally in [−1, 1], to float32 at the photo's size: depth 1×H×W in [0, 1], unit normals 3×H×W.

    Depth is decoded to the mean over its channels (C = 1), but with the original code's arithmetic to all three.
    """
    if info.task == "normal":
        return unit(frame.from_network(decoded.clamp(-1, 1) if frame.reference else decoded)[0])
    picture = frame.from_network((decoded / 2 + 0.5).clamp(0, 1))
    return picture.mean(dim=1) if frame.reference else picture[0].clamp(0, 1)


def with_mirrored(info: ModelInfo, values: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """Mean of a finished map and of that of the mirror image, turned back: what pointed left there points right.

    Both 1×H×W depth or 3×H×W unit normals as `finished` gives them, and so the result; `values` is changed in place.
    """
    back = mirrored.flip(-1)
    if info.task == "depth":
        return values.add_(back).div_(2)
    back[0].neg_()
    return unit(values.add_(back))


def depth_map(info: ModelInfo, values: torch.Tensor, valid: np.ndarray | None) -> Depth:
    """Of finished depth 1×H×W; `valid`: bool H×W, None for all of it."""
    # ModelInfo lets no depth model be without a space.
    return Depth(values[0].numpy(), cast(Space, info.space), valid, copy=False)


def normal_map(info: ModelInfo, values: torch.Tensor, valid: np.ndarray | None) -> Normals:
    """Of finished normals 3×H×W; what is not `valid` is unknown."""
    if valid is not None:
        values = values * torch.from_numpy(valid)  # a zero normal is an unknown one
    vectors = values.permute(1, 2, 0).contiguous().numpy()
    return Normals(vectors, cast(Convention, info.normal_convention), copy=False)


def uncertainty_map(
    info: ModelInfo, samples: Iterable[torch.Tensor], count: int, valid: np.ndarray | None
) -> Uncertainty:
    """How far `count` finished samples are from each other, and their mean (`LotusPredictor.uncertainty`)."""
    if info.task == "depth":
        spread, level = RunningSpread(), Level(valid)
        for values in samples:
            spread.add(level.bring(values))
        return Uncertainty(spread.std[0].numpy(), depth_map(info, spread.mean.clamp_(0, 1), valid), count, "depth")
    direction = MeanDirection()
    with KeptTensors() as kept:
        for vectors in samples:
            direction.add(vectors)
            kept.append(vectors)
        angle = MeanAngle(direction.mean)
        for vectors in kept:
            angle.add(vectors)
    return Uncertainty(angle.mean[0].numpy(), normal_map(info, direction.mean, valid), count, "degrees")
