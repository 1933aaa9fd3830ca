"""The checkpoints that ship with the package, on a few scenes no training has seen.

The thresholds are looser than what `python -m benchmarks.tiny` shows on 200 scenes: they catch a broken file or
pipeline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lotus_core as lotus
from benchmarks.tiny import Measured, evaluate, summarise, uncertainty_of_pixels
from lotus_core.checkpoints import list_models
from lotus_core.data.sample import to_bytes
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.data.synthetic.compose import FIRST_KINDS
from lotus_core.data.synthetic.dataset import HELD_OUT_SEED
from lotus_core.evaluation.metrics import spearman, summarise_angles

WEIGHTS = Path(lotus.__file__).parent / "weights"


@pytest.fixture(scope="module")
def measured() -> Measured:
    scenes = SyntheticScenes(12, 192, 256, HELD_OUT_SEED, kinds=FIRST_KINDS)
    models = lotus.load_model("lotus-tiny-depth-g"), lotus.load_model("lotus-tiny-normal-g")
    found = evaluate(scenes, *models, samples=4)
    assert found.left_out == 0
    return found


def test_they_take_at_most_30_mb_together() -> None:
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert [f.stem for f in files] == [f"lotus-tiny-{kind}" for kind in ("depth-d", "depth-g", "normal-d", "normal-g")]
    assert sum(f.stat().st_size for f in files) <= 30e6


def test_their_training_is_on_record() -> None:
    def trainings(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Of the network itself, or of all that it is made of."""
        made_of = [record["noiseless"]] if "noiseless" in record else record.get("mean_of", [])
        for part in made_of:
            yield from trainings(part["training"])
        if not made_of:
            yield record

    for name in list_models():
        model = lotus.load_model(name)
        assert model.variant == name[-1]
        found = list(trainings(model.info.training))
        assert found
        assert all({"config", "seed", "steps", "hours", "hardware"} <= record.keys() for record in found)


def test_lotus_d_answers_every_seed_alike_and_much_like_lotus_g() -> None:
    scene = SyntheticScenes(1, 192, 256, HELD_OUT_SEED, kinds=FIRST_KINDS)[0]
    photo = to_bytes(scene.image)
    g, d = (lotus.LotusPredictor(lotus.load_model(f"lotus-tiny-depth-{variant}")) for variant in "gd")
    first, second = (d.depth(photo, seed=seed).values for seed in (0, 1))
    assert np.array_equal(first, second)
    assert np.corrcoef(first.ravel(), g.depth(photo, seed=0).values.ravel())[0, 1] > 0.9


def test_depth_beats_the_best_vertical_ramp_clearly(measured: Measured) -> None:
    rows = measured.rows
    assert np.mean(rows["abs_rel"]) < 0.75 * np.mean(rows["ramp"])
    assert np.mean(rows["delta1"]) > 0.65


def test_normals_point_the_right_way(measured: Measured) -> None:
    angles = summarise_angles(np.concatenate(measured.angles))
    assert angles["mean"] < 28
    assert angles["median"] < 18


def test_the_autoencoder_keeps_images_and_maps_sharp(measured: Measured) -> None:
    rows = measured.rows
    assert np.mean(rows["psnr_image"]) > 24
    assert np.mean(rows["psnr_depth"]) > 34
    assert np.mean(rows["psnr_normals"]) > 28


def test_uncertainty_ranks_errors(measured: Measured) -> None:
    rows = measured.rows
    assert np.mean(rows["spearman"]) > 0.15
    assert np.mean(rows["ause"]) < np.mean(rows["ause_flat"])
    errors, deviations = (np.concatenate(of) for of in zip(*measured.pixels, strict=True))
    of_all = spearman(deviations, errors)
    assert of_all > 0.2
    assert f"| uncertainty (12 scenes), Spearman with the error of all pixels | {of_all:.2f} |" in summarise(
        measured, 0.5
    )


def test_errors_are_shares_of_the_range_of_disparity() -> None:
    scene = SyntheticScenes(1, 48, 64, HELD_OUT_SEED, kinds=("room",))[0]
    mask = scene.valid.numpy()
    true = np.where(mask, 1 / scene.depth.numpy(), 0).astype(np.float32)
    low, high = np.quantile(true[mask], (0.02, 0.98))
    wrong = mask & (np.indices(mask.shape).sum(0) % 2 == 0)  # half of the pixels 0.1 too near: a shift halves it
    predicted = (0.2 + ((true - low) / (high - low) + 0.1 * wrong) / 2).astype(np.float32)
    found = lotus.Uncertainty(wrong.astype(np.float32), lotus.Depth(predicted, "disparity", mask), 2, "depth")
    pixels = uncertainty_of_pixels(found, scene, mask)
    assert pixels.error.mean() == pytest.approx(0.05, abs=0.002)
    far = uncertainty_of_pixels(found, dataclasses.replace(scene, depth=10 * scene.depth), mask)
    assert far.error == pytest.approx(pixels.error, abs=1e-5)  # whatever the metres
    assert np.array_equal(pixels.std, wrong[mask])


def test_normals_beat_the_best_single_direction_clearly(measured: Measured) -> None:
    rows, errors = measured.rows, np.concatenate(measured.angles)
    assert errors.mean() < 0.75 * np.mean(rows["one_direction"])
    assert np.mean(rows["floor_and_wall"]) <= np.mean(rows["one_direction"])
