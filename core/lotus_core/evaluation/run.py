"""A whole benchmark, sample by sample: resumable, with tables and pictures at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Cancelled, LotusError
from ..files import exclusive, make_folder
from ..maps import Depth, Normals
from ..progress import Cancel, Progress
from .benchmarks import BenchmarkSample, frames_fingerprint
from .depth_benchmarks import DepthBenchmark
from .journal import Journal
from .metrics import Sparsification
from .normal_benchmarks import NormalBenchmark
from .pictures import save_curves, save_depth_panels, save_normal_panels
from .pooling import POOLED, pool_angles
from .predictions import Prediction, PredictionSource
from .scoring import (
    UNCERTAINTY_METRICS,
    Score,
    array_sizes,
    mean_over_samples,
    metric_names,
    score_depth,
    score_normals,
)
from .summary import Evaluation, summarised, write_summary


def evaluate(
    benchmark: DepthBenchmark | NormalBenchmark,
    source: PredictionSource,
    folder: Path,
    settings: dict[str, Any],
    *,
    uncertainty: bool = False,
    save_predictions: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Evaluation:
    """Score every sample of a benchmark; what `folder` has from an earlier call is not done again.

    Scored again are samples whose saved prediction has changed since. The benchmark's own files are taken to be fixed.
    Samples whose truth has no pixel to score are left out, and the notes name them.

    settings:    what decides the figures, for the record and to refuse a folder of another run; `limit` and which
                 frames the benchmark has are added.
    uncertainty: the source gives it, and it is scored.
    save_predictions: keep the maps as `predictions/<name>.npy`.
    limit:       score the first so many samples only.

    Writes per_sample.csv; summary.json, .csv and .md, with the paper's figures beside; pictures of the best, median and
    worst sample; and sparsification.png.

    Raises:
        LotusError: a sample or prediction cannot be read or scored (named), no sample can be, the folder belongs to
            another run or is in use by one.
        Cancelled: what is done so far is kept.
    """
    task = "depth" if isinstance(benchmark, DepthBenchmark) else "normal"
    columns = metric_names(task, uncertainty)
    frames = frames_fingerprint(benchmark.root, benchmark.frames)
    recorded = {**settings, "limit": limit, "split_list_fingerprint": frames}
    names = [benchmark.name_of(index) for index in range(min(len(benchmark), limit or len(benchmark)))]
    source.check(names)
    with exclusive(folder, f"Another lotus eval writes into {folder}: wait for it, or choose another folder with -o."):
        journal = Journal(folder, recorded, columns, array_sizes(task, uncertainty))
        journal.keep(n for n in names if n in journal.rows and journal.fingerprints[n] == source.fingerprint(n))
        maps = folder / "predictions" if save_predictions else None
        empty = _score_all(benchmark, source, names, journal, maps, progress, cancel)
        if not journal.rows:
            raise LotusError(f"No sample of {benchmark.title} has a pixel to score: check the ground truth.")
        journal.keep(names)  # in the list's order, whatever was scored again
        metrics = _summarise(journal, task, columns)
        result = summarised(benchmark, metrics, len(journal.rows), settings, empty, _undefined(journal))
        write_summary(folder, result, settings, benchmark)
        _write_pictures(benchmark, source, journal, folder)
        if uncertainty:
            save_curves(_mean_curves(journal), folder / "sparsification.png")
    if progress is not None:
        progress(1.0, "Done")
    return result


def _score_all(
    benchmark: DepthBenchmark | NormalBenchmark,
    source: PredictionSource,
    names: Sequence[str],
    journal: Journal,
    maps: Path | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> list[str]:
    """Add to the journal, and to the folder `maps`, what they lack; the names of samples with no pixel to score."""
    empty = []
    for index, name in enumerate(names):
        path = maps and maps / f"{name}.npy"
        if name in journal.rows and (path is None or path.is_file()):
            continue
        if cancel is not None and cancel():
            raise Cancelled
        if progress is not None:
            progress(index / len(names), name)
        sample, fingerprint = benchmark[index], source.fingerprint(name)
        if not sample.mask.any():
            empty.append(name)
            continue
        start = time.perf_counter()
        prediction = source.predict(sample, index)
        seconds = time.perf_counter() - start
        if path is not None:
            make_folder(path.parent)
            prediction.map.save(path)
        if name not in journal.rows:
            journal.add(name, _score(benchmark, prediction, sample), seconds, fingerprint)
    return empty


def _score(benchmark: DepthBenchmark | NormalBenchmark, prediction: Prediction, sample: BenchmarkSample) -> Score:
    try:
        if isinstance(benchmark, DepthBenchmark):
            assert isinstance(prediction.map, Depth)
            return score_depth(prediction.map, sample, benchmark.spec, prediction.std)
        assert isinstance(prediction.map, Normals)
        return score_normals(prediction.map, sample, prediction.std)
    except LotusError as error:
        raise LotusError(f"{sample.name}: {error}") from error


def _summarise(journal: Journal, task: str, names: tuple[str, ...]) -> dict[str, float]:
    rows = list(journal.rows.values())
    if task == "depth":
        return mean_over_samples(rows, names)
    pooled = pool_angles(journal.pooled(POOLED), rows)
    return {**pooled, **mean_over_samples(rows, [name for name in names if name in UNCERTAINTY_METRICS])}


def _undefined(journal: Journal) -> dict[str, int]:
    """Figure → for how many samples it is not defined, such as a correlation with what is constant."""
    counts = {name: sum(np.isnan(row[name]) for row in journal.rows.values()) for name in journal.figures}
    return {name: int(count) for name, count in counts.items() if count}


def _mean_curves(journal: Journal) -> dict[str, Sparsification]:
    summed = journal.pooled(dict.fromkeys(("oracle", "by_uncertainty", "by_gradient"), np.add))
    means = {key: total / len(journal.rows) for key, total in summed.items()}
    oracle = means["oracle"]
    removed = np.arange(oracle.size) / oracle.size
    return {
        label: Sparsification(removed, means[key], oracle)
        for label, key in (("uncertainty", "by_uncertainty"), ("picture gradient", "by_gradient"))
    }


def _write_pictures(
    benchmark: DepthBenchmark | NormalBenchmark, source: PredictionSource, journal: Journal, folder: Path
) -> None:
    """Best, median and worst sample by the first metric (AbsRel; mean angle), predicted once more."""
    numbers = {benchmark.name_of(index): index for index in range(len(benchmark))}
    key = journal.columns[1]
    ranked = sorted(journal.rows, key=lambda name: journal.rows[name][key])
    make_folder(folder / "pictures")
    for label, name in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
        sample = benchmark[numbers[name]]
        prediction = source.predict(sample, numbers[name])
        path = folder / "pictures" / f"{label}.png"
        if isinstance(benchmark, DepthBenchmark) and isinstance(prediction.map, Depth):
            save_depth_panels(sample, prediction.map, benchmark.spec, path)
        elif isinstance(prediction.map, Normals):
            save_normal_panels(sample, prediction.map, path)
