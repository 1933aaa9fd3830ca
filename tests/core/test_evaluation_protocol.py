"""The whole protocol (mask, crop, fit, inversion, clipping, metrics) against one written again from its description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.evaluation.benchmarks import BenchmarkSample
from lotus_core.evaluation.depth_benchmarks import DEPTH_BENCHMARKS, DepthBenchmark
from lotus_core.evaluation.scoring import score_depth, score_normals
from lotus_core.maps import Depth, Normals

from .benchmark_files import room, write_png16, write_rgb


def by_the_book(
    prediction: np.ndarray, disparity: bool, truth: np.ndarray, mask: np.ndarray, near: float, far: float
) -> dict[str, float]:
    """Marigold's protocol: numpy's general solver, the fit over positive disparities, floor 1e-3, clip, metrics."""
    fit = mask & (prediction > 0) if disparity else mask
    target = 1 / truth[fit] if disparity else truth[fit]
    columns = np.column_stack([prediction[fit], np.ones(fit.sum())])
    scale, shift = np.linalg.lstsq(columns, target, rcond=None)[0]
    aligned = prediction * scale + shift
    depth = 1 / aligned.clip(min=1e-3) if disparity else aligned
    p, t = depth.clip(near, far).clip(min=1e-6)[mask], truth[mask]
    log = np.log(p / t)
    found = {
        "abs_rel": (np.abs(p - t) / t).mean(),
        "sq_rel": ((p - t) ** 2 / t).mean(),
        "rmse": ((p - t) ** 2).mean() ** 0.5,
        "rmse_log": (log**2).mean() ** 0.5,
        "log10": np.abs(np.log10(p) - np.log10(t)).mean(),
        "silog": 100 * max(0.0, (log**2).mean() - log.mean() ** 2) ** 0.5,
    }
    return found | {f"delta{k}": (np.exp(np.abs(log)) < 1.25**k).mean() for k in (1, 2, 3)}


@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(sorted(DEPTH_BENCHMARKS)),
    disparity=st.booleans(),
    noise=st.floats(0.01, 0.5),
    reach=st.floats(2, 200),
)
@settings(max_examples=80, deadline=None)
def test_scores_equal_the_protocol_written_again(
    seed: int, name: str, disparity: bool, noise: float, reach: float
) -> None:
    rng, spec = np.random.default_rng(seed), DEPTH_BENCHMARKS[name]
    truth = np.exp(rng.uniform(np.log(0.3), np.log(reach), (12, 17))).astype(np.float32)
    ideal = 1 / truth if disparity else truth
    values = (0.2 + 0.6 * (ideal - ideal.min()) / np.ptp(ideal) + noise * rng.normal(size=truth.shape)).clip(0, 1)
    mask = (rng.random(truth.shape) < 0.7) & (truth > spec.near) & (truth < spec.far)
    mask &= True if mask.sum() > 5 else truth > 0
    if mask.sum() < 5 or np.ptp(values[mask]) == 0:
        return
    prediction = Depth(values.astype(np.float32), "disparity" if disparity else "depth")
    sample = BenchmarkSample("one", np.zeros((12, 17, 3), np.uint8), np.where(mask, truth, 0), mask)
    expected = by_the_book(
        prediction.values.astype(float), disparity, np.where(mask, truth, 1).astype(float), mask, spec.near, spec.far
    )
    measured = score_depth(prediction, sample, spec).metrics
    assert measured.pop("pixels") == mask.sum()
    assert measured == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("area", ["garg", "eigen"])
def test_kittis_crop_and_area_are_scored_and_nothing_outside(tmp_path: Path, area: str) -> None:
    write_rgb(tmp_path / "a.png", 376, 1241)
    depth = room(376, 1241, far=95.0)
    depth[::2] = 0
    stored = write_png16(tmp_path / "d.png", depth, 256)
    (tmp_path / "eigen_test_files_with_gt.txt").write_text("a.png d.png 721.5\n")
    benchmark = DepthBenchmark("kitti", tmp_path, area=area)  # type: ignore[arg-type]
    sample = benchmark[0]
    truth = stored[24:, 12:1228].astype(float)
    rows, columns = np.mgrid[:352, :1216]
    top, bottom = {"garg": (143, 349), "eigen": (117, 321)}[area]
    mask = (truth > 1e-5) & (truth < 80) & (rows >= top) & (rows < bottom) & (columns >= 43) & (columns < 1172)
    rng = np.random.default_rng(1)
    values = (0.5 / np.where(mask, truth, 1) + 0.1 * rng.random(truth.shape)).clip(0, 1).astype(np.float32)
    wild = np.where(mask, values, rng.random(values.shape)).astype(np.float32)  # what is not scored may be anything
    expected = by_the_book(values.astype(float), True, np.where(mask, truth, 1), mask, 1e-5, 80)
    for prediction in (values, wild):
        measured = score_depth(Depth(prediction, "disparity"), sample, benchmark.spec).metrics
        assert measured.pop("pixels") == mask.sum()
        assert measured == pytest.approx(expected, rel=1e-5, abs=1e-6)  # the truth is float32 here


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_normals_equal_the_arc_cosine(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in rng.normal(size=(2, 9, 13, 3)))
    mask = rng.random((9, 13)) < 0.5
    mask[0, 0] = True
    sample = BenchmarkSample(
        "one", np.zeros((9, 13, 3), np.uint8), np.where(mask[..., None], truth, 0).astype(np.float32), mask
    )
    degrees = np.degrees(np.arccos(np.sum(truth * guess, axis=-1)))[mask]
    measured = score_normals(Normals(guess.astype(np.float32)), sample).metrics
    assert measured["mean"] == pytest.approx(degrees.mean(), rel=1e-5)
    assert measured["median"] == pytest.approx(np.median(degrees), rel=1e-4)
    assert measured["22.5"] == pytest.approx(100 * (degrees < 22.5).mean())
