"""Whole runs of `evaluate`: perfect, distorted and noisy predictions, saved files, resuming, pictures, uncertainty."""

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
from lotus_core.evaluation.predictions import Prediction, PredictionSource, SavedPredictions
from lotus_core.evaluation.run import evaluate
from lotus_core.maps import Depth, Normals

from .benchmark_files import write_dsine, write_png16, write_scannet


class Disparity(PredictionSource):
    """Predicts the true disparity in [0, 1], with noise of known size, and counts how often it is asked."""

    def __init__(self, noise: float = 0.0, std: bool = False) -> None:
        self.noise, self.std, self.asked = noise, std, []  # type: ignore[var-annotated]

    def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
        self.asked.append(index)
        disparity = 1 / np.maximum(sample.truth, 1)
        values = 0.1 + 0.8 * disparity
        rng = np.random.default_rng(index)
        strength = rng.gamma(1.0, size=values.shape) if self.std else np.ones(values.shape)
        values = values + self.noise * strength * rng.normal(size=values.shape)
        return Prediction(Depth(values.clip(0, 1), "disparity"), strength if self.std else None)


@pytest.fixture(scope="module")
def scannet(tmp_path_factory: pytest.TempPathFactory) -> DepthBenchmark:
    root = tmp_path_factory.mktemp("scannet")
    write_scannet(root)
    return DepthBenchmark("scannet", root)


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
    evaluate(scannet, Disparity(), tmp_path, {"seed": 0}, limit=1)
    with pytest.raises(LotusError, match="holds a run with seed = 0, not 1"):
        evaluate(scannet, Disparity(), tmp_path, {"seed": 1}, limit=1)
    with pytest.raises(LotusError, match="holds a run with limit = 1, not None"):
        evaluate(scannet, Disparity(), tmp_path, {"seed": 0})


def test_saved_predictions_score_as_they_did(scannet: DepthBenchmark, tmp_path: Path) -> None:
    first = evaluate(scannet, Disparity(noise=0.02), tmp_path / "a", {}, save_predictions=True)
    saved = SavedPredictions(tmp_path / "a/predictions", "depth")
    assert evaluate(scannet, saved, tmp_path / "b", {}).metrics == first.metrics
    next((tmp_path / "a/predictions").rglob("000001.npy")).unlink()
    with pytest.raises(LotusError, match=r"no prediction .*000001"):
        evaluate(scannet, saved, tmp_path / "c", {})


def test_maps_of_samples_that_were_scored_before_are_kept_when_asked_for(
    scannet: DepthBenchmark, tmp_path: Path
) -> None:
    evaluate(scannet, Disparity(noise=0.02), tmp_path, {})
    table = (tmp_path / "per_sample.csv").read_bytes()
    evaluate(scannet, Disparity(noise=0.02), tmp_path, {}, save_predictions=True)
    saved = SavedPredictions(tmp_path / "predictions", "depth")
    for index in range(3):
        sample = scannet[index]
        map = Disparity(noise=0.02).predict(sample, index).map
        assert np.array_equal(saved.predict(sample, index).map.values, map.values)
    assert (tmp_path / "per_sample.csv").read_bytes() == table  # scored once
    (tmp_path / "predictions" / f"{scannet.name_of(1)}.npy").unlink()
    again = Disparity(noise=0.02)
    evaluate(scannet, again, tmp_path, {}, save_predictions=True)
    assert again.asked[0] == 1
    assert len(again.asked) == 1 + 3  # the missing one, and the three pictures


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
    assert result.metrics["median"] == pytest.approx(turn, abs=0.006)
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
        assert result.metrics[name] == pytest.approx(value, abs=0.006 if name == "median" else 1e-3), name


def test_a_folder_damaged_meanwhile_is_scored_again_or_refused(scannet: DepthBenchmark, tmp_path: Path) -> None:
    whole = evaluate(scannet, Disparity(0.02, std=True), tmp_path, {}, uncertainty=True).metrics
    table = tmp_path / "per_sample.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b",0.", b",x.", 1)  # no number
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


def test_saved_maps_that_cannot_be_scored_are_named(scannet: DepthBenchmark, tmp_path: Path) -> None:
    path = tmp_path / "maps" / f"{scannet.name_of(0)}.npy"
    path.parent.mkdir(parents=True)
    saved = SavedPredictions(tmp_path / "maps", "depth", "depth")
    for values, part in (
        (np.full((48, 64), np.nan, np.float32), "NaN"),
        (np.linspace(0, 5, 48 * 64, dtype=np.float32).reshape(48, 64), "from 0 to 5"),
        (np.zeros((48, 64, 4), np.float32), "height×width"),
    ):
        np.save(path, values)
        with pytest.raises(LotusError, match=rf"000000\.npy.*{part}"):
            evaluate(scannet, saved, tmp_path / "out", {})
    valid = np.ones((48, 64), bool)
    valid[:24] = False
    Depth(np.full((48, 64), 0.5, np.float32), "depth", valid).save(path)
    with pytest.raises(LotusError, match=r"000000: The prediction marks 1496 of the 3032 pixels .* as invalid"):
        evaluate(scannet, saved, tmp_path / "out", {})


def test_a_prediction_of_another_size_is_named(scannet: DepthBenchmark, tmp_path: Path) -> None:
    class Small(PredictionSource):
        def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
            return Prediction(Depth(np.zeros((24, 32)), "disparity"))

    with pytest.raises(LotusError, match=r"scene/color/000000: The prediction is \(24, 32\)"):
        evaluate(scannet, Small(), tmp_path, {})


def test_a_sample_without_any_truth_is_named(tmp_path: Path) -> None:
    truths = write_scannet(tmp_path / "data", count=1)
    write_png16(tmp_path / "data/scene/depth/000000.png", np.zeros_like(next(iter(truths.values()))), 1000)
    with pytest.raises(LotusError, match=r"scene/color/000000: There is no valid pixel"):
        evaluate(DepthBenchmark("scannet", tmp_path / "data"), Disparity(), tmp_path / "out", {})
