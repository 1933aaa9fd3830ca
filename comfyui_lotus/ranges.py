"""From raw values to the brightness of an IMAGE: over one frame, the whole batch, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .schema import chosen

RANGES = ("raw", "per image", "whole batch", "per image, 2-98 %", "whole batch, 2-98 %")
QUANTILES = (0.02, 0.98)  # those that Lotus was trained with (the annotations' normalisation per image)
MAX_QUANTILE_VALUES = 2**24  # torch.quantile takes no more; a longer batch is sampled at even steps


def checked(how: str) -> str:
    """The range itself. Raises LotusError for another than RANGES, which a link can bring."""
    return chosen(dict.fromkeys(RANGES, how), how, "range")


def picture(values: Callable[[int], torch.Tensor], valid: torch.Tensor, how: str, unknown: float = 0.0) -> torch.Tensor:
    """B×H×W×3 grey, stretched to [0, 1] by the least and greatest (or 2 % and 98 %) valid values; `unknown` elsewhere.

    values: a frame's number to its float32 H×W; frame by frame, for a clip's would fill memory once more. valid: bool
    B×H×W. how: one of RANGES. One range for the whole batch has no flicker that comes from the stretching.
    """
    count, height, width = valid.shape
    result = torch.empty(count, height, width, 3)
    limits = _limits(values, valid, range(count), "%" in how) if how.startswith("whole batch") else None
    for number in range(count):
        shown = values(number)
        if how != "raw":
            low, high = limits or _limits(values, valid, range(number, number + 1), "%" in how)
            shown = ((shown - low) / max(high - low, 1e-6)).clamp(0, 1)
        result[number] = torch.where(valid[number], shown, unknown)[..., None]
    return result


def _limits(
    values: Callable[[int], torch.Tensor], valid: torch.Tensor, numbers: range, quantiles: bool
) -> tuple[float, float]:
    """Of the frames with these numbers."""
    step = -(-int(valid[numbers.start : numbers.stop].sum()) // MAX_QUANTILE_VALUES) if quantiles else 1
    found = []
    for number in numbers:
        known = values(number)[valid[number]]
        if known.numel():
            found.append(known[::step].clone() if quantiles else torch.stack([known.min(), known.max()]))
    if not found:
        return 0.0, 1.0
    together = torch.cat(found)
    if not quantiles:
        return float(together.min()), float(together.max())
    low, high = torch.quantile(together[:MAX_QUANTILE_VALUES], torch.tensor(QUANTILES)).tolist()
    return low, high
