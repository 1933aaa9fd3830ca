"""Accuracy of the embedded checkpoints on synthetic scenes that no training has seen.

    python -m benchmarks.tiny                       # 200 scenes, the shipped checkpoints, tables on the screen
    python -m benchmarks.tiny --report benchmarks/tiny.md
    python -m benchmarks.tiny --depth-model lotus-tiny-depth-d --normal-model lotus-tiny-normal-d

Depth is aligned to the truth by one scale and one shift in disparity per image, as in the paper's Table 1. The baseline
is the best vertical ramp: a + b · row, fitted to the same truth by least squares, in disparity or in depth, whichever
gives that image the lower AbsRel; for normals it is one direction for the whole image, or one above and one below a
row, fitted as well (`benchmarks.baselines`). Uncertainty, which takes ten predictions, and the autoencoder are measured
on every fifth scene. Its rank correlation with the error is asked three times: within a picture, in the mean of the
pictures (which part of this photo to distrust); of the pictures' means (which photo); and over the pixels of all
pictures together. The second table has a few scenes of each kind.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import lotus_core as lotus
from benchmarks.baselines import best_direction, floor_and_wall, ramp_error
from benchmarks.heading import heading
from lotus_core.data.sample import Sample, to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.compose import KINDS
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.data.synthetic.render import FAR_M
from lotus_core.evaluation.alignment import align_in_space, aligned_depth
from lotus_core.evaluation.metrics import angular_error, ause, depth_metrics, spearman, summarise_angles
from lotus_core.evaluation.scoring import picture_gradient
from lotus_core.evaluation.summary import markdown_table
from lotus_core.model import LotusModel
from lotus_core.training.annotation import HIGH_QUANTILE, LOW_QUANTILE, MIN_RANGE, annotation

NEAR_M = 0.1
EDGE_RATIO = 1.1  # a depth edge: neighbouring pixels whose depths differ by more than 10 %
MIN_VALID = 0.05  # scenes with less than this share of solid pixels are left out of the table, and counted
TIMED = (288, 384)  # height, width of the picture whose prediction is timed
Rows = dict[str, list[float]]


class Measured(NamedTuple):
    """Of all scenes: every measure of each, the angles between normals in degrees, how many scenes were left out, and
    the pixels of those with uncertainty."""

    rows: Rows
    angles: list[np.ndarray]
    left_out: int
    pixels: list[Pixels]


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--per-kind", type=int, default=8, help="scenes of each kind for the second table")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of scenes, with commas between; the default is all")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--samples", type=int, default=10, help="noise samples for uncertainty")
    parser.add_argument("--every", type=int, default=5, help="uncertainty on every n-th scene")
    parser.add_argument("--mirror", action="store_true", help="means with what the mirror images give")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--normal-model", default="lotus-tiny-normal-g")
    parser.add_argument("--report", type=Path, help="also write the tables to this Markdown file")
    a = parser.parse_args(argv)
    models = lotus.load_model(a.depth_model), lotus.load_model(a.normal_model)
    started = time.process_time()
    scenes = SyntheticScenes(a.count, a.height, a.width, HELD_OUT_SEED, kinds=a.kinds.split(","))
    found = evaluate(scenes, *models, a.samples, a.every, a.mirror)
    text = f"{a.count - found.left_out} scenes of {a.width}×{a.height} pixels ({a.kinds.replace(',', ', ')}); "
    text += f"{a.depth_model} and {a.normal_model}"
    text += ", each map the mean with that of the mirror image.\n\n" if a.mirror else ".\n\n"
    text += summarise(found, seconds(models[0], a.mirror))
    if found.left_out:
        text += f"\n{found.left_out} of {a.count} scenes had too few solid pixels.\n"
    if a.per_kind:
        text += f"\n## By kind of scene, {a.per_kind} of each\n\n"
        text += by_kind(a.per_kind, a.height, a.width, *models, a.mirror)
    text += f"\n{time.process_time() - started:.0f} CPU seconds in all.\n"
    print(text)
    if a.report:
        title = "Embedded checkpoints on held-out synthetic scenes"
        title += "" if a.kinds == parser.get_default("kinds") else f" ({a.kinds.replace(',', ', ')})"
        title += ", with the mirror image" if a.mirror else ""
        head = heading(parser, a, "benchmarks.tiny", title)
        a.report.write_text(head + text, encoding="utf-8")


def evaluate(
    scenes: SyntheticScenes,
    depth_model: LotusModel,
    normal_model: LotusModel,
    samples: int,
    every: int = 1,
    mirror: bool = False,
) -> Measured:
    """Every measure of every scene.

    samples: of the noise, for uncertainty; 0 to leave it and the autoencoder out, as for a Lotus-D uncertainty is.
    every:   uncertainty on every n-th scene only.
    mirror:  of every prediction, see LotusPredictor.
    """
    depth, normal = lotus.LotusPredictor(depth_model), lotus.LotusPredictor(normal_model)
    rows: Rows = {}
    angles: list[np.ndarray] = []
    pixels: list[Pixels] = []
    left_out = 0
    for index in tqdm(range(len(scenes)), desc="scenes", disable=None):
        sample = scenes[index]
        mask = sample.valid.numpy()
        if mask.mean() < MIN_VALID:
            left_out += 1
            continue
        photo = to_bytes(sample.image)
        measures = dict(depth_measures(depth.depth(photo, seed=index, mirror=mirror), sample, mask))
        true_normals = sample.normals.permute(1, 2, 0).numpy()
        if samples:
            measures |= dict(reconstruction(depth_model, normal_model, sample))
        if samples and index % every == 0 and depth_model.variant == "g":
            found = depth.uncertainty(photo, samples=samples, seed=index, mirror=mirror)
            pixels.append(uncertainty_of_pixels(found, sample, mask))
            measures |= dict(uncertainty_measures(pixels[-1], found.std, sample, mask, photo))
        measures |= dict(normal_baselines(true_normals, mask))
        for name, value in measures.items():
            rows.setdefault(name, []).append(value)
        normals = normal.normal(photo, seed=index, mirror=mirror).to("lotus").values
        angles.append(angular_error(normals, true_normals, mask))
    return Measured(rows, angles, left_out, pixels)


def by_kind(
    count: int, height: int, width: int, depth_model: LotusModel, normal_model: LotusModel, mirror: bool = False
) -> str:
    """A line for each kind of scene: depth and normals, and their baselines."""
    table = [("kind", "AbsRel", "best ramp", "δ1", "normals, mean", "best direction", "within 11.25°")]
    for kind in KINDS:
        scenes = SyntheticScenes(count, height, width, HELD_OUT_SEED, "public", kind)
        found = evaluate(scenes, depth_model, normal_model, 0, mirror=mirror)
        mean = {name: float(np.mean(values)) for name, values in found.rows.items()}
        normals = summarise_angles(np.concatenate(found.angles))
        cells = [f"{mean['abs_rel']:.3f}", f"{mean['ramp']:.3f}", f"{mean['delta1']:.3f}"]
        cells += [f"{normals['mean']:.1f}°", f"{mean['one_direction']:.1f}°", f"{normals['11.25']:.0f} %"]
        table.append((kind, *cells))
    return markdown_table(table)


def seconds(model: LotusModel, mirror: bool = False, rounds: int = 3) -> float:
    """Median CPU seconds, of all threads, for one depth map of a TIMED picture that the network sees at its size."""
    predictor, photo = lotus.LotusPredictor(model), np.random.default_rng(0).integers(0, 256, (*TIMED, 3), np.uint8)
    times = []
    for _ in range(rounds + 1):
        started = time.process_time()
        predictor.depth(photo, resolution=max(TIMED), mirror=mirror)
        times.append(time.process_time() - started)
    return float(np.median(times[1:]))  # the first one warms up


def depth_measures(predicted: lotus.Depth, sample: Sample, mask: np.ndarray) -> Iterator[tuple[str, float]]:
    """AbsRel and δ1 of the prediction, and AbsRel of the two ramps."""
    true = sample.depth.numpy()
    aligned = aligned_depth(predicted.values, predicted.space, true, mask, NEAR_M, FAR_M)
    found = depth_metrics(aligned, true, mask)
    yield "abs_rel", found["abs_rel"]
    yield "delta1", found["delta1"]
    ramps = ramp_error(true, mask, NEAR_M, FAR_M)
    yield "ramp_disparity", ramps["disparity"]
    yield "ramp", min(ramps.values())


def normal_baselines(true: np.ndarray, mask: np.ndarray) -> Iterator[tuple[str, float]]:
    """Mean angles of the two fits, degrees."""
    yield "one_direction", float(angular_error(best_direction(true, mask), true, mask).mean())
    yield "floor_and_wall", float(angular_error(floor_and_wall(true, mask), true, mask).mean())


class Pixels(NamedTuple):
    """Absolute error of samples' mean, and their standard deviation, of each valid pixel: float32 vectors.

    Both in units of the picture's range of disparity, to which predictions are normalised (`depth_annotation`), so that
    pictures can be compared.
    """

    error: np.ndarray
    std: np.ndarray


def uncertainty_of_pixels(found: lotus.Uncertainty, sample: Sample, mask: np.ndarray) -> Pixels:
    """The error after alignment in disparity, as a share of what lies between the truth's quantiles."""
    aligned, truth = align_in_space(found.mean.values, found.mean.space, sample.depth.numpy(), mask)
    low, high = np.quantile(truth[mask], (LOW_QUANTILE, HIGH_QUANTILE))
    error = np.abs(aligned - truth)[mask] / max(high - low, MIN_RANGE * high)
    return Pixels(error.astype(np.float32), found.std[mask].astype(np.float32))


def uncertainty_measures(
    pixels: Pixels, std: np.ndarray, sample: Sample, mask: np.ndarray, photo: np.ndarray
) -> Iterator[tuple[str, float]]:
    """Rank correlation of the standard deviation with the error, AUSE, its ratio on and off depth edges, both means.

    std: H×W, of the whole picture.
    """
    yield "spearman", spearman(pixels.std, pixels.error)
    yield "ause", ause(pixels.error, pixels.std)
    yield "ause_gradient", ause(pixels.error, picture_gradient(photo)[mask])
    yield "ause_flat", ause(pixels.error, np.ones_like(pixels.error))
    edges = depth_edges(sample.depth.numpy())
    on, off = edges & mask, ~edges & mask
    yield "edge_ratio", float(std[on].mean() / std[off].mean()) if on.any() and off.any() else np.nan
    yield "error", float(pixels.error.mean())
    yield "std", float(pixels.std.mean())


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """bool H×W: the pixels on both sides of every jump in depth by more than EDGE_RATIO; sky is infinitely far."""
    edge = np.zeros(depth.shape, dtype=bool)
    log = np.log(np.where(np.isfinite(depth), depth, 1e6))
    across = np.abs(np.diff(log, axis=1)) > np.log(EDGE_RATIO)
    down = np.abs(np.diff(log, axis=0)) > np.log(EDGE_RATIO)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


@torch.no_grad()
def reconstruction(depth: LotusModel, normals: LotusModel, sample: Sample) -> Iterator[tuple[str, float]]:
    """PSNR in dB over the range [−1, 1] of what the autoencoders alone give back, each of its own task's annotation."""
    pictures = {
        "image": (depth, sample.image),
        "depth": (depth, annotation(sample, "depth", "disparity")),
        "normals": (normals, annotation(sample, "normal", "disparity")),
    }
    for name, (model, picture) in pictures.items():
        given = model.decode(model.encode(picture[None]))[0]
        difference = given.mean(0) - picture.mean(0) if name == "depth" else given - picture
        yield f"psnr_{name}", float(-10 * torch.log10(difference.square().mean() / 4))


def summarise(found: Measured, one_map: float) -> str:
    """The measures as a Markdown table with the figure asked of each. one_map: CPU seconds of a TIMED picture."""
    rows = found.rows
    mean = {name: float(np.nanmean(values)) for name, values in rows.items()}
    normals = summarise_angles(np.concatenate(found.angles))
    table = [
        ("measure", "value", "asked"),
        ("depth AbsRel", f"{mean['abs_rel']:.3f}", "≤ 0.12"),
        ("depth AbsRel, best vertical ramp", f"{mean['ramp']:.3f} (in disparity {mean['ramp_disparity']:.3f})", ""),
        ("ratio to the ramp", f"{mean['abs_rel'] / mean['ramp']:.2f}", "≤ 0.60"),
        ("depth δ1", f"{mean['delta1']:.3f}", "≥ 0.88"),
        ("normals, mean angle", f"{normals['mean']:.1f}°", "≤ 15°"),
        ("normals, median angle", f"{normals['median']:.1f}°", ""),
        ("normals within 11.25°", f"{normals['11.25']:.1f} %", "≥ 65 %"),
        ("normals, best single direction", f"{mean['one_direction']:.1f}°", ""),
        ("normals, best floor and wall", f"{mean['floor_and_wall']:.1f}°", ""),
    ]
    if "spearman" in mean:
        scenes = f"uncertainty ({len(rows['spearman'])} scenes)"
        errors, deviations = (np.concatenate(of) for of in zip(*found.pixels, strict=True))
        table += [
            (f"{scenes}, Spearman with the error of all pixels", f"{spearman(deviations, errors):.2f}", "≥ 0.4"),
            ("the same within a picture, mean", f"{mean['spearman']:.2f}", "≥ 0.4"),
            ("the same of pictures, by their means", f"{spearman(rows['std'], rows['error']):.2f}", ""),
            ("uncertainty, AUSE", f"{mean['ause']:.3f}", "< the next"),
            ("AUSE of the image gradient", f"{mean['ause_gradient']:.3f}", ""),
            ("AUSE of no information", f"{mean['ause_flat']:.3f}", ""),
            ("uncertainty on depth edges / off them", f"{mean['edge_ratio']:.2f}", "≥ 1.5"),
            ("uncertainty, mean standard deviation", f"{mean['std']:.4f}", ""),
        ]
    table += [
        ("autoencoder, images", f"{mean['psnr_image']:.1f} dB", "≥ 24 dB"),
        ("autoencoder, depth", f"{mean['psnr_depth']:.1f} dB", "≥ 34 dB"),
        ("autoencoder, normals", f"{mean['psnr_normals']:.1f} dB", "≥ 28 dB"),
        (f"CPU seconds for one depth map of {TIMED[1]}×{TIMED[0]}", f"{one_map:.2f}", "≤ 1"),
    ]
    return markdown_table(table)


if __name__ == "__main__":
    main()
