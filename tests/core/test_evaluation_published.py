"""The paper's figures beside a run's own: copied right, in its units, and with a word where they do not compare."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lotus_core.cli.eval import DATASETS
from lotus_core.evaluation.depth_benchmarks import DepthBenchmark
from lotus_core.evaluation.metrics import DEPTH_METRICS
from lotus_core.evaluation.normal_benchmarks import NormalBenchmark
from lotus_core.evaluation.published import published
from lotus_core.evaluation.summary import THIS_RUN, summarised, write_summary

from .benchmark_files import room, write_dsine, write_png16, write_scannet


def test_every_benchmark_has_the_papers_rows() -> None:
    for task, names in DATASETS.items():
        for name in names:
            paper = published(task, name)  # type: ignore[arg-type]
            assert {"Lotus-G", "Lotus-D", "GeoWizard"} <= set(paper.rows)
            assert "arXiv:2409.18124v5, Table" in paper.source
            for row in paper.rows.values():
                assert set(row) <= set(paper.metrics)
                shares = [row[key] for key in ("delta1", "delta2", "11.25", "30") if key in row]
                assert shares == sorted(shares)  # a wider threshold holds more pixels: catches swapped columns
                assert 0 < row[paper.metrics[0]] < (1 if task == "depth" else 90)


@pytest.mark.parametrize(
    ("task", "name", "method", "expected"),
    [  # of the paper's corners, and around its dashes
        ("depth", "nyu", "Lotus-G", (0.054, 0.968, 0.992)),
        ("depth", "kitti", "Lotus-D", (0.081, 0.931, 0.987)),
        ("depth", "diode", "DiverseDepth", (0.376, 0.631)),
        ("depth", "diode", "Lotus-G", (0.229, 0.729, 0.86)),
        ("depth", "eth3d", "Marigold (LCM)", (0.068, 0.956, 0.99)),
        ("normal", "nyu", "Lotus-G", (16.5, 59.4, 83.5)),
        ("normal", "scannet", "Marigold", (21.3, 45.6)),
        ("normal", "sintel", "Lotus-D", (32.3, 22.4, 57.0)),
        ("normal", "oasis", "DSINE", (24.4, 28.8, 72.0)),
    ],
)
def test_figures_are_the_papers(task: str, name: str, method: str, expected: tuple[float, ...]) -> None:
    assert tuple(published(task, name).rows[method].values()) == expected  # type: ignore[arg-type]


def test_methods_that_the_paper_leaves_open_are_left_out() -> None:
    assert "Marigold" not in published("normal", "sintel").rows
    assert "EESNU" not in published("normal", "scannet").rows
    assert "OASIS" not in published("normal", "oasis").rows


def test_a_summary_in_three_forms_says_the_same(tmp_path: Path) -> None:
    write_scannet(tmp_path / "scannet")
    benchmark = DepthBenchmark("scannet", tmp_path / "scannet")
    metrics = {name: 0.01 * number for number, name in enumerate(DEPTH_METRICS, 1)}
    settings = {"model": "mine", "samples": 10}
    result = summarised(benchmark, metrics, 3, settings)
    write_summary(tmp_path, result, settings, benchmark)
    record = json.loads((tmp_path / "summary.json").read_text())
    assert record["metrics"] == metrics
    assert record["published"]["rows"]["Lotus-G"] == {"abs_rel": 0.059, "delta1": 0.957, "delta2": 0.988}
    with open(tmp_path / "summary.csv", newline="") as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    assert float(lines[THIS_RUN]["silog"]) == metrics["silog"]
    assert (lines["Lotus-D"]["abs_rel"], lines["Lotus-D"]["silog"], lines["Lotus-D"]["samples"]) == ("0.055", "", "800")
    text = (tmp_path / "summary.md").read_text()
    assert "| ScanNet | AbsRel % | δ1 % | δ2 % |" in text
    assert "| this run | 1.0 | 6.0 | 7.0 |" in text
    assert "| Lotus-G | 5.9 | 95.7 | 98.8 |" in text
    assert "| MiDaS | 12.1 | 84.6 | - |" in text
    assert "model mine" in text
    assert [note.split(" ", 1)[0] for note in result.notes] == ["Samples", "The"]  # too few samples; a mean of ten


def test_kitti_says_which_area_the_paper_has(tmp_path: Path) -> None:
    write_png16(tmp_path / "d.png", room(375, 1242), 256)
    for number in range(652):
        (tmp_path / f"{number}.png").touch()  # pictures that are not read here
    lines = [f"{number}.png d.png 721.5377\n" for number in range(652)]
    (tmp_path / "eigen_test_files_with_gt.txt").write_text("".join(lines))
    for area, notes in (("garg", 1), ("eigen", 0)):
        benchmark = DepthBenchmark("kitti", tmp_path, area=area)  # type: ignore[arg-type]
        assert len(summarised(benchmark, dict.fromkeys(DEPTH_METRICS, 0.1), 652, {}).notes) == notes
    assert DepthBenchmark("kitti", tmp_path).area == "garg"


def test_normals_are_shown_in_degrees(tmp_path: Path) -> None:
    write_dsine(tmp_path, ".exr", "ibims.txt")
    rows = summarised(NormalBenchmark("ibims", tmp_path), {"mean": 12.34, "11.25": 70, "30": 90}, 100, {}).comparison()
    assert rows[0] == ("iBims-1", "mean °", "11.25° %", "30° %")
    assert rows[1] == ("this run", "12.3", "70.0", "90.0")
    assert ("Lotus-G", "17.2", "66.2", "82.7") in rows
