"""From raw values to the brightness of an IMAGE: over one frame, the whole batch, or not at all."""

from __future__ import annotations

import torch

RANGES = ("raw", "per image", "whole batch", "per image, 2-98 %", "whole batch, 2-98 %")
QUANTILES = (0.02, 0.98)  # those that Lotus was trained with (the annotations' normalisation per image)
MAX_QUANTILE_VALUES = 2**24  # torch.quantile takes no more; a longer batch is sampled at even steps


def stretched(values: torch.Tensor, valid: torch.Tensor, how: str, unknown: float = 0.0) -> torch.Tensor:
    """B×H×W values stretched to [0, 1] by the least and greatest (or 2 % and 98 %) valid ones; `unknown` elsewhere.

    valid: bool B×H×W. how: one of RANGES. One range for the whole batch keeps a sequence free of flicker.
    """
    if how == "raw":
        return torch.where(valid, values, unknown)
    if how.startswith("whole batch"):
        limits = _limits(values[valid], "%" in how)
        return torch.where(valid, _between(values, *limits), unknown)
    each = [_between(frame, *_limits(frame[mask], "%" in how)) for frame, mask in zip(values, valid, strict=True)]
    return torch.where(valid, torch.stack(each), unknown)


def _limits(values: torch.Tensor, quantiles: bool) -> tuple[float, float]:
    if values.numel() == 0:
        return 0.0, 1.0
    if not quantiles:
        return float(values.min()), float(values.max())
    step = -(-values.numel() // MAX_QUANTILE_VALUES)
    low, high = torch.quantile(values[::step].float(), torch.tensor(QUANTILES, device=values.device)).tolist()
    return low, high


def _between(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return ((values - low) / max(high - low, 1e-6)).clamp(0, 1)
