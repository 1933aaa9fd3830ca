"""Where the embedded checkpoints fail: the worst held-out scenes, and photos whose mirror images they see otherwise.

    python -m benchmarks.failures --out docs/pictures/embedded-failures.jpg

Held-out scenes are ranked by AbsRel and by mean angle. The photos (scikit-image's, CC0 or in the public domain) have no
ground truth; they are ranked by how far the map of the mirrored photo, mirrored back, is from the map: a prediction
that changes with left and right cannot be right both times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import lotus_core as lotus
from benchmarks.tiny import MIN_VALID, NEAR_M
from lotus_core.data.sample import to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.data.synthetic.render import FAR_M
from lotus_core.evaluation.alignment import align_affine, aligned_depth
from lotus_core.evaluation.metrics import angular_error, depth_metrics
from lotus_core.files import atomic_path
from lotus_core.maps.colormap import colorize

PHOTOS = ("astronaut", "camera", "chelsea", "coffee", "rocket")  # of skimage.data, each CC0 or in the public domain
FULL_DEPTH_ERROR, FULL_ANGLE, FULL_DIFFERENCE = 0.5, 60.0, 0.3  # shown at full brightness
_CELL, _CAPTION, _GAP = (144, 108), 15, 3
_BACKGROUND, _TEXT = (24, 25, 28), (225, 225, 228)


@dataclass(frozen=True)
class Failure:
    """A row of the sheet. score: the larger, the worse. panels: four RGB pictures."""

    score: float
    caption: str
    panels: Sequence[np.ndarray]


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JPEG to write")
    parser.add_argument("--count", type=int, default=40, help="held-out scenes to choose from")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--normal-model", default="lotus-tiny-normal-g")
    a = parser.parse_args(argv)
    depth = lotus.LotusPredictor(lotus.load_model(a.depth_model))
    normal = lotus.LotusPredictor(lotus.load_model(a.normal_model))
    of_scenes = scene_failures(SyntheticScenes(a.count, 192, 256, HELD_OUT_SEED), depth, normal)
    photos = [depth_of_photo(depth, name, photo) for name, photo in open_photos()]
    turned = [normals_of_photo(normal, name, photo) for name, photo in open_photos()]
    columns = [worst(of_scenes[0], 3) + worst(photos, 2), worst(of_scenes[1], 3) + worst(turned, 2)]
    for row in (row for column in columns for row in column):
        print(row.caption)
    with atomic_path(a.out) as temporary:
        contact_sheet(columns).save(temporary, "JPEG", quality=68, optimize=True)
    print(f"{a.out}, {a.out.stat().st_size / 1000:.0f} KB")


def worst(rows: Sequence[Failure], count: int) -> list[Failure]:
    """The rows of the highest scores, the worst first."""
    return sorted(rows, key=lambda found: -found.score)[:count]


def scene_failures(
    scenes: SyntheticScenes, depth: lotus.LotusPredictor, normal: lotus.LotusPredictor
) -> tuple[list[Failure], list[Failure]]:
    """Every scene as a row for depth and as one for normals."""
    by_depth, by_normals = [], []
    for index in tqdm(range(len(scenes)), desc="scenes", disable=None):
        sample = scenes[index]
        mask = sample.valid.numpy()
        if mask.mean() < MIN_VALID:
            continue
        photo = to_bytes(sample.image)
        true, found = sample.depth.numpy(), depth.depth(photo, seed=index)
        aligned = aligned_depth(found.values, found.space, true, mask, NEAR_M, FAR_M)
        score = depth_metrics(aligned, true, mask)["abs_rel"]
        error = np.where(mask, np.abs(aligned - true) / np.where(mask, true, 1), 0)
        near_and_far = np.quantile(1 / true[mask], (0.02, 0.98))
        panels = (
            photo,
            _disparity(np.where(np.isfinite(true), true, FAR_M), near_and_far),
            _disparity(aligned, near_and_far),
            colorize(error / FULL_DEPTH_ERROR, "inferno"),
        )
        by_depth.append(Failure(score, f"held-out scene {index}, depth: AbsRel {score:.2f}", panels))
        normals, true_normals = normal.normal(photo, seed=index).to("lotus"), sample.normals.permute(1, 2, 0).numpy()
        degrees = np.zeros(mask.shape)
        degrees[mask] = angular_error(normals.values, true_normals, mask)
        score = float(degrees[mask].mean())
        shown = np.where(mask[..., None], lotus.Normals(true_normals).preview(), 0).astype(np.uint8)
        panels = (photo, shown, normals.preview(), colorize(degrees / FULL_ANGLE, "inferno"))
        by_normals.append(Failure(score, f"held-out scene {index}, normals: {score:.0f}° on average", panels))
    return by_depth, by_normals


def open_photos() -> list[tuple[str, np.ndarray]]:
    """Name and RGB of every photo."""
    import skimage.data

    found = []
    for name in PHOTOS:
        picture = getattr(skimage.data, name)()
        found.append((name, np.repeat(picture[..., None], 3, -1) if picture.ndim == 2 else picture))
    return found


def depth_of_photo(predictor: lotus.LotusPredictor, name: str, photo: np.ndarray) -> Failure:
    """Depth of a photo and of its mirror image."""
    ours, mirrored = _both(predictor.depth, photo)
    scale, shift = align_affine(mirrored.values, ours.values, np.ones(ours.values.shape, dtype=bool))
    again = mirrored.values * scale + shift
    difference = np.abs(again - ours.values)
    score = float(difference.mean())
    panels = (
        photo,
        colorize(ours.values, "spectral"),
        colorize(again.clip(0, 1), "spectral"),
        colorize(difference / FULL_DIFFERENCE, "inferno"),
    )
    return Failure(score, f"photo {name}, depth: {score:.3f} of the range from its mirror image's", panels)


def normals_of_photo(predictor: lotus.LotusPredictor, name: str, photo: np.ndarray) -> Failure:
    """Normals of a photo and of its mirror image."""
    ours, mirrored = _both(predictor.normal, photo)
    again = mirrored.to("lotus").values * np.array([-1, 1, 1], dtype=np.float32)
    values = ours.to("lotus").values
    degrees = angular_error(again, values, np.ones(values.shape[:2], dtype=bool)).reshape(values.shape[:2])
    score = float(degrees.mean())
    panels = (photo, ours.preview(), lotus.Normals(again).preview(), colorize(degrees / FULL_ANGLE, "inferno"))
    return Failure(score, f"photo {name}, normals: {score:.0f}° from its mirror image's", panels)


def contact_sheet(columns: Sequence[Sequence[Failure]]) -> Image.Image:
    """Rows one below the other, their captions above them, in columns side by side."""
    width, height = _CELL
    line, wide = height + _CAPTION + _GAP, 4 * (width + _GAP) + 2 * _GAP
    size = (len(columns) * wide, max(len(rows) for rows in columns) * line + _CAPTION + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    titles = ("picture", "truth; of photos the map", "map; of photos mirrored", "difference")
    for start, rows in zip(range(_GAP, size[0], wide), columns, strict=True):
        for number, title in enumerate(titles):
            draw.text((start + number * (width + _GAP), 1), title, _TEXT, font)
        for top, row in zip(range(_CAPTION, size[1], line), rows, strict=False):
            draw.text((start, top + 1), row.caption, _TEXT, font)
            for number, panel in enumerate(row.panels):
                shown = Image.fromarray(panel)
                shown.thumbnail(_CELL, Image.Resampling.LANCZOS)
                left = start + number * (width + _GAP) + (width - shown.width) // 2
                sheet.paste(shown, (left, top + _CAPTION + (height - shown.height) // 2))
    return sheet


def _both(predict: Callable[..., Any], photo: np.ndarray) -> tuple[Any, Any]:
    """The map of a photo, and that of its mirror image mirrored back (the vectors of normals are not)."""
    ours, other = predict(photo, seed=0), predict(np.ascontiguousarray(photo[:, ::-1]), seed=0)
    back = np.ascontiguousarray(other.values[:, ::-1])
    return ours, lotus.Depth(back, other.space) if isinstance(other, lotus.Depth) else lotus.Normals(back)


def _disparity(depth: np.ndarray, low_high: np.ndarray) -> np.ndarray:
    low, high = low_high
    return colorize((1 / depth - low) / max(high - low, 1e-9), "spectral")


if __name__ == "__main__":
    main()
