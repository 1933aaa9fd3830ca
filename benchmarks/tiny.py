"""Accuracy of the embedded checkpoints on synthetic scenes that no training has seen.

    python -m benchmarks.tiny                       # 200 scenes, the shipped checkpoints, table on the screen
    python -m benchmarks.tiny --report benchmarks/tiny.md

Depth is aligned to the truth by one scale and one shift in disparity per image, as in the paper's Table 1. The baseline
is the best vertical ramp: a + b · row, fitted to the same truth by least squares, in disparity or in depth, whichever
gives that image the lower AbsRel.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import lotus_core as lotus
from lotus_core.data.sample import Sample
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.data.synthetic.render import FAR_M
from lotus_core.evaluation.alignment import align_in_space, aligned_depth
from lotus_core.evaluation.metrics import angular_error, ause, depth_metrics, spearman, summarise_angles
from lotus_core.model import LotusModel
from lotus_core.training.annotation import annotation

NEAR_M = 0.1
EDGE_RATIO = 1.1  # a depth edge: neighbouring pixels whose depths differ by more than 10 %
MIN_VALID = 0.05  # scenes with less than this share of solid pixels are left out of the table, and counted
Rows = dict[str, list[float]]


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--samples", type=int, default=10, help="noise samples for uncertainty")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--normal-model", default="lotus-tiny-normal-g")
    parser.add_argument("--report", type=Path, help="also write the table to this Markdown file")
    a = parser.parse_args(argv)
    scenes = SyntheticScenes(a.count, a.height, a.width, HELD_OUT_SEED)
    depth_model, normal_model = lotus.load_model(a.depth_model), lotus.load_model(a.normal_model)
    started = time.perf_counter()
    rows, angles, left_out = evaluate(scenes, depth_model, normal_model, a.samples)
    table = summarise(rows, angles, a.count - left_out)
    table += (
        f"\n{left_out} of {a.count} scenes had too few solid pixels. {time.perf_counter() - started:.0f} s in all.\n"
    )
    print(table)
    if a.report:
        a.report.write_text(
            f"# Embedded checkpoints on held-out synthetic scenes\n\n`python -m benchmarks.tiny`\n\n{table}"
        )


def evaluate(
    scenes: SyntheticScenes, depth_model: LotusModel, normal_model: LotusModel, samples: int
) -> tuple[Rows, list[np.ndarray], int]:
    """Every measure of every scene, the pooled normal errors in degrees, and how many scenes were left out."""
    depth, normal = lotus.LotusPredictor(depth_model), lotus.LotusPredictor(normal_model)
    rows: Rows = {}
    angles: list[np.ndarray] = []
    left_out = 0
    for index in tqdm(range(len(scenes)), desc="scenes", disable=None):
        sample = scenes[index]
        mask = sample.valid.numpy()
        if mask.mean() < MIN_VALID:
            left_out += 1
            continue
        photo = ((sample.image + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        started = time.perf_counter()
        predicted = depth.depth(photo, seed=index)
        seconds = time.perf_counter() - started
        measures = dict(depth_measures(predicted, sample, mask))
        measures |= dict(uncertainty_measures(depth.uncertainty(photo, samples=samples, seed=index), sample, mask))
        measures |= dict(reconstruction(depth_model, sample))
        measures["seconds"] = seconds
        for name, value in measures.items():
            rows.setdefault(name, []).append(value)
        normals = normal.normal(photo, seed=index).to("lotus").values
        angles.append(angular_error(normals, sample.normals.permute(1, 2, 0).numpy(), mask))
    return rows, angles, left_out


def depth_measures(predicted: lotus.Depth, sample: Sample, mask: np.ndarray) -> Iterator[tuple[str, float]]:
    """AbsRel and δ1 of the prediction, and of the two ramps."""
    true = sample.depth.numpy()
    aligned = aligned_depth(predicted.values, predicted.space, true, mask, NEAR_M, FAR_M)
    found = depth_metrics(aligned, true, mask)
    yield "abs_rel", found["abs_rel"]
    yield "delta1", found["delta1"]
    ramp = np.broadcast_to(np.arange(1, mask.shape[0] + 1, dtype=np.float32)[:, None], mask.shape)
    both = [
        depth_metrics(aligned_depth(ramp, space, true, mask, NEAR_M, FAR_M), true, mask)["abs_rel"]
        for space in ("disparity", "depth")
    ]
    yield "ramp_disparity", both[0]
    yield "ramp", min(both)


def uncertainty_measures(found: lotus.Uncertainty, sample: Sample, mask: np.ndarray) -> Iterator[tuple[str, float]]:
    """Rank correlation of the standard deviation with the error of the mean, AUSE, its ratio on and off depth edges."""
    mean = found.mean
    aligned, truth = align_in_space(mean.values, mean.space, sample.depth.numpy(), mask)
    error = np.abs(aligned - truth)[mask]
    yield "spearman", spearman(found.std[mask], error)
    yield "ause", ause(error, found.std[mask])
    yield "ause_flat", ause(error, np.ones_like(error))
    edges = depth_edges(sample.depth.numpy())
    on, off = edges & mask, ~edges & mask
    yield "edge_ratio", float(found.std[on].mean() / found.std[off].mean()) if on.any() and off.any() else np.nan
    yield "std", float(found.std[mask].mean())


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
def reconstruction(model: LotusModel, sample: Sample) -> Iterator[tuple[str, float]]:
    """PSNR in dB over the range [−1, 1] of what the autoencoder alone gives back."""
    pictures = {
        "image": sample.image,
        "depth": annotation(sample, "depth", "disparity"),
        "normals": annotation(sample, "normal", "disparity"),
    }
    for name, picture in pictures.items():
        given = model.decode(model.encode(picture[None]))[0]
        difference = given.mean(0) - picture.mean(0) if name == "depth" else given - picture
        yield f"psnr_{name}", float(-10 * torch.log10(difference.square().mean() / 4))


def summarise(rows: Rows, angles: list[np.ndarray], scenes: int) -> str:
    """The measures as a Markdown table with the figure asked of each."""
    mean = {name: float(np.nanmean(values)) for name, values in rows.items()}
    normals = summarise_angles(np.concatenate(angles))
    lines = [
        ("depth AbsRel", f"{mean['abs_rel']:.3f}", ""),
        ("depth AbsRel, best vertical ramp", f"{mean['ramp']:.3f} (in disparity {mean['ramp_disparity']:.3f})", ""),
        ("ratio to the ramp", f"{mean['abs_rel'] / mean['ramp']:.2f}", "≤ 0.60"),
        ("depth δ1", f"{mean['delta1']:.3f}", "≥ 0.75"),
        ("normals, mean angle", f"{normals['mean']:.1f}°", "≤ 25°"),
        ("normals, median angle", f"{normals['median']:.1f}°", ""),
        ("normals within 11.25°", f"{normals['11.25']:.1f} %", "≥ 45 %"),
        ("uncertainty on depth edges / off them", f"{mean['edge_ratio']:.2f}", "≥ 1.5"),
        ("uncertainty, Spearman with the error (mean over images)", f"{mean['spearman']:.2f}", "≥ 0.3"),
        ("uncertainty, AUSE (no information)", f"{mean['ause']:.3f} ({mean['ause_flat']:.3f})", ""),
        ("uncertainty, mean standard deviation", f"{mean['std']:.4f}", ""),
        ("autoencoder, images", f"{mean['psnr_image']:.1f} dB", "≥ 24 dB"),
        ("autoencoder, depth", f"{mean['psnr_depth']:.1f} dB", "≥ 34 dB"),
        ("autoencoder, normals", f"{mean['psnr_normals']:.1f} dB", "≥ 28 dB"),
        ("seconds for one depth map", f"{np.median(rows['seconds']):.2f}", ""),
    ]
    head = f"{scenes} scenes\n\n| measure | value | asked |\n|---|---|---|\n"
    return head + "".join(f"| {a} | {b} | {c} |\n" for a, b, c in lines)


if __name__ == "__main__":
    main()
