"""What an evaluation shows: picture, truth, prediction and error side by side; sparsification curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_path
from ..maps import Depth, Normals
from ..maps.colormap import colorize
from .alignment import aligned_depth
from .benchmarks import BenchmarkSample
from .depth_benchmarks import DepthSpec
from .metrics import Sparsification, angular_error

_HEIGHT, _CAPTION, _GAP = 288, 22, 6
_BACKGROUND, _TEXT = (24, 25, 28), (225, 225, 228)
_CURVE_COLOURS = ((237, 105, 37), (51, 136, 189))
FULL_DEPTH_ERROR = 0.25  # |p − t| / t shown at full brightness
FULL_ANGLE_ERROR = 45.0  # degrees shown at full brightness


def save_depth_panels(sample: BenchmarkSample, prediction: Depth, spec: DepthSpec, path: Path) -> None:
    """Picture, disparity of truth and prediction (the truth's 2–98 % scale, warm = near), relative error."""
    depth = aligned_depth(
        prediction.values,
        prediction.space,
        sample.truth,
        sample.mask,
        spec.near,
        spec.far,
        max_resolution=spec.fit_resolution,
    )
    true_disparity = np.divide(1.0, sample.truth, out=np.zeros(sample.mask.shape), where=sample.mask)
    low, high = np.quantile(true_disparity[sample.mask], (0.02, 0.98))
    spread = max(high - low, 1e-9)
    error = np.divide(np.abs(depth - sample.truth), sample.truth, out=np.zeros(depth.shape), where=sample.mask)
    _save_row(
        [
            ("picture", sample.image),
            ("truth", _on_black(colorize((true_disparity - low) / spread, "spectral"), sample.mask)),
            ("prediction", colorize((1 / depth - low) / spread, "spectral")),
            (
                f"error, yellow from {FULL_DEPTH_ERROR:.0%}",
                _on_black(colorize(error / FULL_DEPTH_ERROR, "inferno"), sample.mask),
            ),
        ],
        path,
    )


def save_normal_panels(sample: BenchmarkSample, prediction: Normals, path: Path) -> None:
    """Picture, true and predicted normals, angular error (yellow ≥ 45°)."""
    error = np.zeros(sample.mask.shape)
    error[sample.mask] = angular_error(prediction.to("lotus").values, sample.truth, sample.mask)
    _save_row(
        [
            ("picture", sample.image),
            ("truth", _on_black(Normals(sample.truth).preview(), sample.mask)),
            ("prediction", prediction.to("lotus").preview()),
            (
                f"error, yellow from {FULL_ANGLE_ERROR:g}°",
                _on_black(colorize(error / FULL_ANGLE_ERROR, "inferno"), sample.mask),
            ),
        ],
        path,
    )


def save_curves(curves: Mapping[str, Sparsification], path: Path) -> None:
    """Sparsification: remaining error over the share of pixels removed, and the oracle, with the AUSE of each."""
    size, margin = 420, 40
    picture = Image.new("RGB", (size + 2 * margin, size + 2 * margin), _BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    first = next(iter(curves.values()))
    top = max(1.0, *(float(curve.by_uncertainty.max()) for curve in curves.values()))

    def line(curve: Sparsification, values: NDArray, colour: tuple[int, int, int]) -> None:
        points = [
            (margin + x * size, margin + (1 - y / top) * size) for x, y in zip(curve.removed, values, strict=True)
        ]
        draw.line(points, fill=colour, width=2)

    draw.rectangle((margin, margin, margin + size, margin + size), outline=_TEXT)
    line(first, first.oracle, _TEXT)
    legend = margin + size - 64  # the oracle leaves the lower left corner free
    draw.text((margin + 8, legend), "oracle", _TEXT, font)
    for number, ((label, curve), colour) in enumerate(zip(curves.items(), _CURVE_COLOURS, strict=False), 1):
        line(curve, curve.by_uncertainty, colour)
        draw.text((margin + 8, legend + 18 * number), f"{label}: AUSE {curve.ause:.3f}", colour, font)
    draw.text((margin, margin + size + 8), "share of pixels removed, most uncertain first, 0 … 1", _TEXT, font)
    draw.text((margin, margin - 22), f"mean error of the rest / mean error of all, 0 … {top:.2f}", _TEXT, font)
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG")


def _save_row(panels: Sequence[tuple[str, NDArray[np.uint8]]], path: Path) -> None:
    height, width = panels[0][1].shape[:2]
    each = max(1, round(width * _HEIGHT / height))
    row = Image.new("RGB", (len(panels) * (each + _GAP) + _GAP, _HEIGHT + _CAPTION + 2 * _GAP), _BACKGROUND)
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(13)
    for number, (caption, panel) in enumerate(panels):
        left = _GAP + number * (each + _GAP)
        row.paste(Image.fromarray(panel).resize((each, _HEIGHT), Image.Resampling.BILINEAR), (left, _GAP))
        draw.text((left, _HEIGHT + _GAP + 3), caption, _TEXT, font)
    with atomic_path(path) as temporary:
        row.save(temporary, "PNG")


def _on_black(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(mask[..., None], picture, 0).astype(np.uint8)
