"""The embedded checkpoints on photographs and renders with ground truth, against fits that look at no picture.

    python -m benchmarks.real                                        # the stereo photograph that scikit-image ships
    python -m benchmarks.real --depth nyu DIR --depth kitti DIR --normal scannet DIR --report benchmarks/real.md

DIR is a folder in a layout of `lotus eval`; a split list may follow it ("-": the usual one), and a title for the table.
Depth is aligned to the truth by one scale and one shift in disparity, over the pixels and the range that `lotus eval`
scores. The vertical ramp a + b · row is fitted to the same truth, in disparity or in depth, whichever is better for the
picture; for normals the fits are one direction, and one above and one below a row (`benchmarks.baselines`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lotus_core as lotus
from benchmarks.baselines import best_direction, floor_and_wall, ramp_error
from benchmarks.heading import heading
from lotus_core.data.normals_from_depth import normals_from_depth
from lotus_core.evaluation.alignment import aligned_depth
from lotus_core.evaluation.benchmarks import BenchmarkSample
from lotus_core.evaluation.depth_benchmarks import DepthBenchmark
from lotus_core.evaluation.metrics import angular_error, depth_metrics, summarise_angles
from lotus_core.evaluation.normal_benchmarks import NormalBenchmark
from lotus_core.evaluation.predictions import ModelPredictions
from lotus_core.evaluation.summary import markdown_table

# Calibration of the photograph in skimage.data.stereo_motorcycle (Middlebury 2014, quarter size), as its text has it.
_FOCAL_PX, _OFFSET_PX, _BASELINE_M, _CENTRE_PX = 994.978, 31.086, 0.193001, (311.193, 254.877)
_NORMAL_RADII = (4, 2)  # pixels; the stereo truth has sub-pixel noise that small windows would show
STEREO = "Middlebury stereo (in scikit-image)"


@dataclass(frozen=True)
class Photos:
    """Pictures with depth in metres or with normals, and the range that depth is clipped to."""

    title: str
    samples: DepthBenchmark | NormalBenchmark | Sequence[BenchmarkSample]
    near: float = 0.1
    far: float = 100.0


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    form = ("NAME", "DIR")
    parser.add_argument("--depth", nargs="+", action="append", default=[], metavar=form, help="a depth benchmark")
    parser.add_argument("--normal", nargs="+", action="append", default=[], metavar=form, help="a normal benchmark")
    parser.add_argument("--depth-model", default="lotus-tiny-depth-g")
    parser.add_argument("--normal-model", default="lotus-tiny-normal-g")
    parser.add_argument("--samples", type=int, default=1, help="noise samples to average (Lotus-G)")
    parser.add_argument("--mirror", action="store_true", help="means with what the mirror images give")
    parser.add_argument("--report", type=Path, help="also write the tables to this Markdown file")
    a = parser.parse_args(argv)
    depth = [motorcycle("depth"), *(opened("depth", *words) for words in a.depth)]
    normal = [motorcycle("normal"), *(opened("normal", *words) for words in a.normal)]
    with_mirror = ", each the mean with that of the mirror image" if a.mirror else ""
    text = f"{a.depth_model} and {a.normal_model}, mean of {a.samples} prediction(s){with_mirror}. "
    text += "The figures of one or two pictures say little about their set.\n\n"
    options = {"samples": a.samples, "seed": 0, "mirror": a.mirror}
    text += depth_table(depth, ModelPredictions(lotus.LotusPredictor(lotus.load_model(a.depth_model)), **options))
    text += "\n"
    text += normal_table(normal, ModelPredictions(lotus.LotusPredictor(lotus.load_model(a.normal_model)), **options))
    print(text)
    if a.report:
        head = heading(parser, a, "benchmarks.real", "Embedded checkpoints on photographs and renders")
        a.report.write_text(head + text, encoding="utf-8")


def opened(task: str, name: str, folder: str, split: str = "-", title: str = "") -> Photos:
    """The pictures of a benchmark of `lotus eval`."""
    listed = None if split == "-" else Path(folder) / split
    if task == "depth":
        benchmark = DepthBenchmark(name, Path(folder), listed)
        return Photos(title or benchmark.title, benchmark, benchmark.spec.near, benchmark.spec.far)
    normals = NormalBenchmark(name, Path(folder), listed)
    return Photos(title or normals.title, normals)


def motorcycle(task: str) -> Photos:
    """The left picture of scikit-image's stereo pair with depth from its measured disparities, or normals from that."""
    from skimage.data import stereo_motorcycle

    picture, _, shift = stereo_motorcycle()
    known = np.isfinite(shift)
    depth = np.where(known, _FOCAL_PX * _BASELINE_M / (np.where(known, shift, 1) + _OFFSET_PX), 0).astype(np.float32)
    if task == "depth":
        return Photos(STEREO, [BenchmarkSample("motorcycle", picture, depth, known)])
    normals, mask = normals_from_depth(depth, _FOCAL_PX, centre=_CENTRE_PX, valid=known, radii=_NORMAL_RADII)
    return Photos(STEREO, [BenchmarkSample("motorcycle", picture, normals, mask)])


def each(photos: Photos) -> Iterator[BenchmarkSample]:
    """The pictures, one after the other."""
    for index in range(len(photos.samples)):
        yield photos.samples[index]


def depth_table(sets: Sequence[Photos], predictions: ModelPredictions) -> str:
    """A line for each set: the mean over its pictures of AbsRel, of the ramp's, of δ1, and where it beats the ramp."""
    table = [("depth", "pictures", "AbsRel", "best ramp", "ratio", "δ1", "better than the ramp")]
    for photos in sets:
        found = [depth_figures(photos, sample, predictions) for sample in each(photos)]
        error, ramp, delta = np.mean(found, axis=0)
        better = sum(own < other for own, other, _ in found)
        cells = (f"{error:.3f}", f"{ramp:.3f}", f"{error / ramp:.2f}", f"{delta:.3f}", f"{better} of {len(found)}")
        table.append((photos.title, str(len(found)), *cells))
    return markdown_table(table)


def depth_figures(photos: Photos, sample: BenchmarkSample, predictions: ModelPredictions) -> tuple[float, float, float]:
    """AbsRel, AbsRel of the best ramp, and δ1 of one picture."""
    found = predictions.predict(sample, 0).map
    assert isinstance(found, lotus.Depth)
    aligned = aligned_depth(found.values, found.space, sample.truth, sample.mask, photos.near, photos.far)
    metrics = depth_metrics(aligned, sample.truth, sample.mask)
    ramp = min(ramp_error(sample.truth, sample.mask, photos.near, photos.far).values())
    return metrics["abs_rel"], ramp, metrics["delta1"]


def normal_table(sets: Sequence[Photos], predictions: ModelPredictions) -> str:
    """A line for each set: angles over all its pixels, and those of the two fits."""
    table = [("normals", "pictures", "mean", "best direction", "best floor and wall", "within 11.25°", "30°")]
    for photos in sets:
        angles, one, two = [], [], []
        for sample in each(photos):
            found = predictions.predict(sample, 0).map
            assert isinstance(found, lotus.Normals)
            angles.append(angular_error(found.to("lotus").values, sample.truth, sample.mask))
            one.append(angular_error(best_direction(sample.truth, sample.mask), sample.truth, sample.mask))
            two.append(angular_error(floor_and_wall(sample.truth, sample.mask), sample.truth, sample.mask))
        own = summarise_angles(np.concatenate(angles))
        means = [f"{np.concatenate(errors).mean():.1f}°" for errors in (one, two)]
        cells = (f"{own['mean']:.1f}°", *means, f"{own['11.25']:.0f} %", f"{own['30']:.0f} %")
        table.append((photos.title, str(len(angles)), *cells))
    return markdown_table(table)


if __name__ == "__main__":
    main()
