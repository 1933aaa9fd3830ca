"""Whole runs of `evaluate`: perfect, distorted and noisy predictions, resuming, pictures, uncertainty."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.errors import Cancelled, LotusError
from lotus_core.evaluation.benchmarks import BenchmarkSample
from lotus_core.evaluation.depth_benchmarks import DepthBenchmark
from lotus_core.evaluation.metrics import angular_error, summarise_angles
from lotus_core.evaluation.normal_benchmarks import NormalBenchmark
from lotus_core.evaluation.predictions import Prediction, PredictionSource
from lotus_core.evaluation.run import evaluate
from lotus_core.files import exclusive
from lotus_core.maps import Depth, Normals

from .benchmark_files import write_dsine, write_png16, write_scannet
from .predicted import Disparity


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "per_sample.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_truth_distorted_by_scale_and_shift_scores_perfectly(scannet: DepthBenchmark, tmp_path: Path) -> None:
    result = evaluate(scannet, Disparity(), tmp_path, {"seed": 0})
    assert result.samples == 3
    assert result.metrics["abs_rel"] < 1e-6
    assert result.metrics["delta1"] == 1
    rows = rows_of(tmp_path)
    assert [row["name"] for row in rows] == [scannet.name_of(i) for i in range(3)]
    assert float(rows[0]["pixels"]) == 48 * 64 - 40
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["metrics"] == result.metrics
    for name in ("best", "median", "worst"):
        with Image.open(tmp_path / "pictures" / f"{name}.png") as picture:
            assert picture.width > 1000


def test_a_constant_prediction_gives_the_error_of_the_mean_disparity(scannet: DepthBenchmark, tmp_path: Path) -> None:
    class Grey(PredictionSource):
        def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
            return Prediction(Depth(np.full(sample.mask.shape, 0.5), "disparity"))

    result = evaluate(scannet, Grey(), tmp_path, {})
    expected = []
    for index in range(3):
        sample = scannet[index]
        truth = sample.truth[sample.mask].astype(float)
        flat = 1 / np.mean(1 / truth)
        expected.append(np.mean(np.abs(flat - truth) / truth))
    assert result.metrics["abs_rel"] == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.parametrize("space", ["depth", "disparity"])
def test_noise_of_known_size_scores_that_error(scannet: DepthBenchmark, tmp_path: Path, space: str) -> None:
    """Noise that no scale and no shift of the truth can take up stays as it is when the prediction is aligned."""
    expected = []

    class Noisy(PredictionSource):
        def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
            inside = sample.mask
            truth = sample.truth[inside].astype(float) ** (1 if space == "depth" else -1)
            noise = np.random.default_rng(index).normal(size=truth.size)
            basis = np.linalg.qr(np.stack([np.ones_like(truth), truth], axis=1))[0]
            noise -= basis @ (basis.T @ noise)
            noise *= 0.02 * truth.min() / np.abs(noise).max()
            values = np.full(inside.shape, 0.5)
            values[inside] = 0.1 + 0.1 * (truth + noise)  # float32 rounds off some 1e-4 of the noise
            metres = sample.truth[inside]
            error = (truth + noise) ** (1 if space == "depth" else -1) - metres
            if len(expected) < 3:  # the pictures ask again
                expected.append((np.mean(np.abs(error) / metres), np.sqrt(np.mean(error**2))))
            return Prediction(Depth(values.astype(np.float32), space))  # type: ignore[arg-type]

    result = evaluate(scannet, Noisy(), tmp_path, {})
    assert [result.metrics[name] for name in ("abs_rel", "rmse")] == pytest.approx(np.mean(expected, axis=0), rel=1e-3)
    assert result.metrics["delta1"] == 1


def test_a_stopped_run_goes_on_and_does_nothing_twice(scannet: DepthBenchmark, tmp_path: Path) -> None:
    source = Disparity(noise=0.01)
    with pytest.raises(Cancelled):
        evaluate(scannet, source, tmp_path, {"seed": 0}, cancel=lambda: len(source.asked) >= 2)
    assert len(rows_of(tmp_path)) == 2
    table = tmp_path / "per_sample.csv"
    table.write_text(table.read_text()[:-20])  # as a kill while writing leaves it
    again = Disparity(noise=0.01)
    result = evaluate(scannet, again, tmp_path, {"seed": 0})
    assert again.asked[:2] == [1, 2]
    whole = evaluate(scannet, Disparity(noise=0.01), tmp_path / "whole", {"seed": 0})
    assert result.metrics == whole.metrics


def test_a_folder_takes_one_run_only(scannet: DepthBenchmark, tmp_path: Path) -> None:
    with (
        exclusive(tmp_path, "mine"),
        pytest.raises(LotusError, match=r"Another lotus eval writes into .* another folder with -o"),
    ):
        evaluate(scannet, Disparity(), tmp_path, {"seed": 0}, limit=1)
    evaluate(scannet, Disparity(), tmp_path, {"seed": 0}, limit=1)
    with pytest.raises(LotusError, match="holds a run with seed = 0, not 1"):
        evaluate(scannet, Disparity(), tmp_path, {"seed": 1}, limit=1)
    with pytest.raises(LotusError, match="holds a run with limit = 1, not None"):
        evaluate(scannet, Disparity(), tmp_path, {"seed": 0})


def test_uncertainty_that_knows_the_noise_beats_the_gradient(scannet: DepthBenchmark, tmp_path: Path) -> None:
    result = evaluate(scannet, Disparity(noise=0.02, std=True), tmp_path, {}, uncertainty=True)
    assert result.metrics["spearman"] > 0.4
    assert result.metrics["ause"] < 0.7 * result.metrics["ause_gradient"]
    assert (tmp_path / "sparsification.png").is_file()


@pytest.mark.parametrize("turn", [0.0, 10.0])
def test_normals_turned_by_a_known_angle(tmp_path: Path, turn: float) -> None:
    root = tmp_path / "ibims"
    root.mkdir()
    write_dsine(root, ".exr", "ibims.txt", count=3)
    benchmark = NormalBenchmark("ibims", root)

    class Turned(PredictionSource):
        def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
            axis = np.cross(sample.truth, [0.3, 1.0, 0.1])
            axis /= np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
            angle = np.radians(turn * (index + 1) / 2)  # 5°, 10°, 15° of turn = 10
            vectors = sample.truth * np.cos(angle) + np.cross(axis, sample.truth) * np.sin(angle)
            return Prediction(Normals.from_vectors(vectors.astype(np.float32)).to("opengl"))

    result = evaluate(benchmark, Turned(), tmp_path / "out", {})
    assert result.metrics["mean"] == pytest.approx(turn, abs=1e-3)
    assert result.metrics["median"] == pytest.approx(turn, abs=1e-3)
    assert result.metrics["11.25"] == pytest.approx(200 / 3 if turn else 100)


def test_pooled_normal_figures_equal_those_of_all_pixels_together(tmp_path: Path) -> None:
    root = tmp_path / "oasis"
    root.mkdir()
    write_dsine(root, ".pkl", "val.txt", count=3)
    benchmark = NormalBenchmark("oasis", root)

    def guess(sample: BenchmarkSample, index: int) -> np.ndarray:
        noise = np.random.default_rng(index).normal(size=sample.truth.shape) * (0.1 + 0.2 * index)
        return (sample.truth + noise).astype(np.float32)

    class Noisy(PredictionSource):
        def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
            return Prediction(Normals.from_vectors(guess(sample, index)))

    result = evaluate(benchmark, Noisy(), tmp_path / "out", {})
    samples: list[Any] = [benchmark[i] for i in range(3)]
    pooled = np.concatenate([angular_error(guess(s, i), s.truth, s.mask) for i, s in enumerate(samples)])
    for name, value in summarise_angles(pooled).items():
        assert result.metrics[name] == pytest.approx(value, abs=1e-3), name


@pytest.mark.parametrize(
    "change", [(b",x.",), (b",-0.",), (b"0,0.",), (b',"0.',)], ids=["letter", "sign", "name", "quote"]
)
def test_a_folder_damaged_meanwhile_is_scored_again_or_refused(
    scannet: DepthBenchmark, tmp_path: Path, change: tuple[bytes]
) -> None:
    whole = evaluate(scannet, Disparity(0.02, std=True), tmp_path, {}, uncertainty=True).metrics
    table = tmp_path / "per_sample.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b",0.", *change, 1)
    table.write_bytes(b"".join(lines) + "scène/".encode()[:4])  # cut inside a letter
    arrays = tmp_path / "arrays" / f"{scannet.name_of(0)}.npz"
    arrays.write_bytes(arrays.read_bytes()[:40])
    again = Disparity(0.02, std=True)
    assert evaluate(scannet, again, tmp_path, {}, uncertainty=True).metrics == pytest.approx(whole)
    assert again.asked[:2] == [0, 1]
    for text in ("null", "[1]", "{"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(LotusError, match=r"run\.json is damaged: delete"):
            evaluate(scannet, Disparity(), tmp_path, {}, uncertainty=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(LotusError, match=r"a run whose run\.json is gone"):
        evaluate(scannet, Disparity(), tmp_path, {"seed": 2}, uncertainty=True)


def test_one_pixel_to_score_has_no_uncertainty_but_an_error(tmp_path: Path) -> None:
    truths = write_scannet(tmp_path / "data", count=2)
    depth = np.zeros_like(next(iter(truths.values())))
    depth[5, 7] = 2
    write_png16(tmp_path / "data/scene/depth/000000.png", depth, 1000)
    benchmark = DepthBenchmark("scannet", tmp_path / "data")
    result = evaluate(benchmark, Disparity(0.02, std=True), tmp_path / "out", {}, uncertainty=True)
    rows = rows_of(tmp_path / "out")
    assert (rows[0]["pixels"], rows[0]["spearman"]) == ("1.0", "nan")
    assert result.metrics["spearman"] == pytest.approx(float(rows[1]["spearman"]))
    assert "spearman is not defined for 1 of the samples" in " ".join(result.notes)


def test_a_prediction_of_another_size_is_named(scannet: DepthBenchmark, tmp_path: Path) -> None:
    class Small(PredictionSource):
        def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
            return Prediction(Depth(np.zeros((24, 32)), "disparity"))

    with pytest.raises(LotusError, match=r"scene/color/000000: The prediction is \(24, 32\)"):
        evaluate(scannet, Small(), tmp_path, {})


def test_a_sample_without_any_truth_is_left_out_and_named(tmp_path: Path) -> None:
    truths = write_scannet(tmp_path / "data", count=2)
    nothing = np.zeros_like(next(iter(truths.values())))
    write_png16(tmp_path / "data/scene/depth/000000.png", nothing, 1000)
    benchmark = DepthBenchmark("scannet", tmp_path / "data")
    result = evaluate(benchmark, Disparity(), tmp_path / "out", {})
    assert result.samples == 1
    assert "no pixel to score: scene/color/000000." in (tmp_path / "out/summary.md").read_text()
    assert evaluate(benchmark, Disparity(), tmp_path / "out", {}) == result
    write_png16(tmp_path / "data/scene/depth/000001.png", nothing, 1000)
    with pytest.raises(LotusError, match=r"No sample of ScanNet has a pixel to score"):
        evaluate(benchmark, Disparity(), tmp_path / "none", {})
