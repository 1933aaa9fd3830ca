"""Runs of `evaluate` on saved predictions: they score as they did, and what cannot be scored is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotus_core.errors import LotusError
from lotus_core.evaluation.depth_benchmarks import DepthBenchmark
from lotus_core.evaluation.normal_benchmarks import NormalBenchmark
from lotus_core.evaluation.predictions import SavedPredictions
from lotus_core.evaluation.run import evaluate
from lotus_core.maps import Depth

from .benchmark_files import write_dsine
from .predicted import Disparity


def test_saved_predictions_score_as_they_did(scannet: DepthBenchmark, tmp_path: Path) -> None:
    first = evaluate(scannet, Disparity(noise=0.02), tmp_path / "a", {}, save_predictions=True)
    saved = SavedPredictions(tmp_path / "a/predictions", "depth")
    assert evaluate(scannet, saved, tmp_path / "b", {}).metrics == first.metrics
    next((tmp_path / "a/predictions").rglob("000001.npy")).unlink()
    next((tmp_path / "a/predictions").rglob("000002.npy")).unlink()
    with pytest.raises(LotusError, match=r"no prediction .*000001, .*000002 .*predict them"):
        evaluate(scannet, saved, tmp_path / "c", {})
    assert not (tmp_path / "c").exists()  # said before anything is scored


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


def test_saved_maps_that_cannot_be_scored_are_named(scannet: DepthBenchmark, tmp_path: Path) -> None:
    path = tmp_path / "maps" / f"{scannet.name_of(0)}.npy"
    path.parent.mkdir(parents=True)
    saved = SavedPredictions(tmp_path / "maps", "depth", "depth")
    for values, part in (
        (np.full((48, 64), np.nan, np.float32), "no value at 3032 of the 3032 pixels"),
        (np.linspace(0, 5, 48 * 64, dtype=np.float32).reshape(48, 64), "from 0 to 5"),
        (np.zeros((48, 64, 4), np.float32), "height×width"),
    ):
        np.save(path, values)
        with pytest.raises(LotusError, match=rf"000000.*{part}"):
            evaluate(scannet, saved, tmp_path / "out", {}, limit=1)
    valid = np.ones((48, 64), bool)
    valid[:24] = False
    Depth(np.full((48, 64), 0.5, np.float32), "depth", valid).save(path)
    with pytest.raises(LotusError, match=r"000000: The prediction has no value at 1496 of the 3032 pixels"):
        evaluate(scannet, saved, tmp_path / "out", {}, limit=1)
    path.with_suffix(".png").touch()
    with pytest.raises(LotusError, match=r"two predictions for scene/color/000000"):
        evaluate(scannet, saved, tmp_path / "out", {}, limit=1)


def test_a_map_needs_values_only_where_it_is_scored(scannet: DepthBenchmark, tmp_path: Path) -> None:
    sample = scannet[0]
    values = Disparity(0.02).predict(sample, 0).map.values
    scores = []
    for name, stored in (("whole", values), ("holes", np.where(sample.mask, values, np.nan)[..., None])):
        path = tmp_path / name / f"{sample.name}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, stored)
        saved = SavedPredictions(tmp_path / name, "depth", "disparity")
        scores.append(evaluate(scannet, saved, tmp_path / f"{name}-out", {}, limit=1).metrics)
    assert scores[0] == scores[1]


def test_normals_without_a_value_are_refused_as_depth_is(tmp_path: Path) -> None:
    write_dsine(tmp_path, ".png", "test.txt", count=1)
    benchmark = NormalBenchmark("nyu", tmp_path)
    sample = benchmark[0]
    path = tmp_path / "maps" / f"{sample.name}.npy"
    path.parent.mkdir(parents=True)
    values = sample.truth.astype(np.float32)
    values[5:7, 4] = np.nan
    np.save(path, values)
    with pytest.raises(LotusError, match=f"no value at 2 of the {sample.mask.sum()} pixels"):
        evaluate(benchmark, SavedPredictions(tmp_path / "maps", "normal", convention="lotus"), tmp_path / "out", {})
