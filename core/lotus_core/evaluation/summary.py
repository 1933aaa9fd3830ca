"""What a finished run says: its figures, and the paper's beside them, as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.reading import listed
from ..files import atomic_path
from .depth_benchmarks import DepthBenchmark
from .normal_benchmarks import NormalBenchmark
from .published import Published, published

_HEADINGS = {"abs_rel": "AbsRel %", "delta1": "δ1 %", "delta2": "δ2 %", "mean": "mean °"}
THIS_RUN = "this run"


@dataclass(frozen=True)
class Evaluation:
    """What a finished run found.

    title:   the benchmark's name. samples: how many were scored.
    metrics: metric → value over the benchmark.
    paper:   the paper's rows for it.
    notes:   why the figures are not those of the paper's protocol, a sentence each; empty where they are.
    """

    title: str
    metrics: dict[str, float]
    samples: int
    paper: Published
    notes: tuple[str, ...]

    @property
    def counted(self) -> str:
        """How many samples, in words."""
        return f"{self.samples} sample{'' if self.samples == 1 else 's'}"

    def comparison(self) -> list[tuple[str, ...]]:
        """This run above the paper's rows, headings first, in the paper's units and columns."""
        unit = 100 if "abs_rel" in self.paper.metrics else 1
        names = [_HEADINGS.get(name, f"{name}° %") for name in self.paper.metrics]
        rows: dict[str, Mapping[str, float]] = {THIS_RUN: self.metrics, **self.paper.rows}

        def cells(row: Mapping[str, float]) -> list[str]:
            return [f"{row[name] * unit:.1f}" if name in row else "-" for name in self.paper.metrics]

        return [(self.title, *names), *((method, *cells(row)) for method, row in rows.items())]


def summarised(
    benchmark: DepthBenchmark | NormalBenchmark,
    metrics: dict[str, float],
    samples: int,
    settings: dict[str, Any],
    empty: Sequence[str] = (),
    undefined: Mapping[str, int] | None = None,
) -> Evaluation:
    """A run's result.

    settings: of the run; `samples` and `mirror` are looked at. empty: samples whose truth has no pixel to score.
    undefined: metric → how many samples have no value of it.
    """
    task: Literal["depth", "normal"] = "depth" if isinstance(benchmark, DepthBenchmark) else "normal"
    paper = published(task, benchmark.name)
    notes = []
    if samples != paper.samples:
        notes.append(f"Samples scored: {samples} here, {paper.samples} in the paper.")
    left_out = benchmark.report.left_out
    if left_out:
        notes.append(f"Entries of the list left out because files are missing: {left_out}; summary.json names them.")
    if empty:
        notes.append(f"Left out because their ground truth has no pixel to score: {listed(empty)}.")
    for name, count in (undefined or {}).items():
        notes.append(f"{name} is not defined for {count} of the samples; the figure is the mean of the others.")
    if isinstance(benchmark, DepthBenchmark) and benchmark.name == "kitti" and benchmark.area != "eigen":
        notes.append("Garg's area is scored here; the authors' code scores Eigen's: --area eigen.")
    if settings.get("samples", 1) > 1:
        notes.append(f"The mean of {settings['samples']} predictions is scored here; in the paper, one.")
    if settings.get("mirror"):
        notes.append(
            "The mean of each picture's map and that of its mirror image is scored here; in the paper, one map."
        )
    return Evaluation(benchmark.title, metrics, samples, paper, tuple(notes))


def write_summary(
    folder: Path, result: Evaluation, settings: dict[str, Any], benchmark: DepthBenchmark | NormalBenchmark
) -> None:
    """summary.json, summary.csv and summary.md."""
    record = {
        "benchmark": result.title,
        "samples": result.samples,
        "metrics": {name: value if np.isfinite(value) else None for name, value in result.metrics.items()},
        "published": {"source": result.paper.source, "samples": result.paper.samples, "rows": result.paper.rows},
        "notes": result.notes,
        "left_out": benchmark.report.left_out,
        "missing": [str(missing) for missing in benchmark.report.missing],
        "without_truth": benchmark.without_truth,
        "settings": settings,
    }
    _write(folder / "summary.json", json.dumps(record, indent=2) + "\n")
    _write(folder / "summary.csv", _csv(result))
    _write(folder / "summary.md", _markdown(result, settings))


def _csv(result: Evaluation) -> str:
    """A line for the run and for each of the paper's methods, in the units of per_sample.csv."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(("method", "source", "samples", *result.metrics))
    for method, row in {THIS_RUN: result.metrics, **result.paper.rows}.items():
        own = method == THIS_RUN
        source, samples = (THIS_RUN, result.samples) if own else (result.paper.source, result.paper.samples)
        lines.writerow((method, source, samples, *(row.get(name, "") for name in result.metrics)))
    return buffer.getvalue()


def _markdown(result: Evaluation, settings: dict[str, Any]) -> str:
    scored = ", ".join(f"{key} {value}" for key, value in settings.items() if value not in ("", None))
    parts = [
        f"# {result.title}, {result.counted}\n",
        markdown_table([tuple(result.metrics), tuple(f"{value:.4g}" for value in result.metrics.values())]),
        f"{scored}.\n",
        f"## Beside {result.paper.source}\n",
        markdown_table(result.comparison()),
        *(f"- {note}" for note in result.notes),
    ]
    return "\n".join(parts) + "\n"


def markdown_table(rows: list[tuple[str, ...]]) -> str:
    """Rows of cells, the first being the heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
