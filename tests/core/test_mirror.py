"""The mean with what the mirror image gives: fewer errors, the same in all that predicts, turned back rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lotus_core as lotus
from lotus_core.batch.settings import Settings
from lotus_core.cli import main
from lotus_core.encoded import EncodedPair, EncodedTiles
from lotus_core.sampling import draw_noise

from .models import tiny_model

PHOTO = np.random.default_rng(3).integers(0, 256, (90, 130, 3), dtype=np.uint8)
FLIPPED = np.ascontiguousarray(PHOTO[:, ::-1])


def test_depth_is_the_mean_with_the_mirror_images() -> None:
    predictor = lotus.LotusPredictor(tiny_model("g"))
    one, other = predictor.depth(PHOTO, seed=4).values, predictor.depth(FLIPPED, seed=4).values[:, ::-1]
    both = predictor.depth(PHOTO, seed=4, mirror=True).values
    assert np.array_equal(both, (one + other) / 2)
    assert np.abs(both - one).max() > 0.01


def test_normals_turn_back_with_their_image() -> None:
    predictor = lotus.LotusPredictor(tiny_model("d", "normal"))
    found = predictor.normal(PHOTO, mirror=True).values
    total = predictor.normal(PHOTO).values + predictor.normal(FLIPPED).values[:, ::-1] * np.float32([-1, 1, 1])
    assert np.allclose(found, total / np.linalg.norm(total, axis=2, keepdims=True), atol=1e-6)
    # What points left in the photo points right in its mirror image, wherever the model looks.
    mirrored = predictor.normal(FLIPPED, mirror=True).values
    assert np.allclose(mirrored[:, ::-1] * np.float32([-1, 1, 1]), found, atol=1e-6)


def test_a_mirrored_photo_gives_the_mirrored_map() -> None:
    predictor = lotus.LotusPredictor(tiny_model("d"))
    maps = [predictor.depth(photo, mirror=True, tile=tile).values for photo in (PHOTO, FLIPPED) for tile in (0, 48)]
    assert np.array_equal(maps[0], maps[2][:, ::-1])
    assert np.array_equal(maps[1], maps[3][:, ::-1])
    assert not np.array_equal(maps[0], maps[1])
    plain = [predictor.depth(photo).values for photo in (PHOTO, FLIPPED)]
    assert np.abs(plain[0] - plain[1][:, ::-1]).max() > 0.01  # alone the network sees two different photos


def test_transparent_parts_stay_where_they_are() -> None:
    alpha = np.full(PHOTO.shape[:2], 255, np.uint8)
    alpha[:, :40] = 0
    depth = lotus.LotusPredictor(tiny_model("d")).depth(np.dstack([PHOTO, alpha]), mirror=True)
    assert depth.valid is not None
    assert not depth.valid[:, :40].any()
    assert depth.valid[:, 40:].all()


def test_one_encoding_serves_every_map() -> None:
    depth, normal = (lotus.LotusPredictor(tiny_model("g", task)) for task in ("depth", "normal"))
    encoded = depth.encode(PHOTO, mirror=True, tile=48)
    assert isinstance(encoded, EncodedPair)
    assert isinstance(encoded.mirrored, EncodedTiles)
    assert encoded.nbytes > 2 * depth.encode(PHOTO).nbytes
    assert np.array_equal(depth.depth(encoded, seed=2).values, depth.depth(PHOTO, seed=2, mirror=True, tile=48).values)
    assert np.array_equal(normal.normal(encoded).values, normal.normal(PHOTO, mirror=True, tile=48).values)


def test_uncertainty_compares_the_means_of_both_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lotus_core.finishing.Level.bring", lambda _, values: values)
    predictor = lotus.LotusPredictor(tiny_model("g"), max_batch=2)
    found = predictor.uncertainty(PHOTO, samples=3, seed=1, mirror=True)
    samples = []
    for number in range(3):
        predictor.noise = lambda seed, index, _, shape, number=number: draw_noise(seed, index, number, shape)
        samples.append(predictor.depth(PHOTO, seed=1, mirror=True).values)
    assert np.allclose(found.std, np.std(samples, axis=0), atol=1e-5)
    assert found.mean is not None
    assert np.allclose(found.mean.values, np.mean(samples, axis=0), atol=1e-5)
    assert found.std.mean() > 1e-3


def test_what_cannot_be_mirrored_says_so() -> None:
    predictor = lotus.LotusPredictor(tiny_model("d"))
    with pytest.raises(lotus.LotusError, match="knows no mirror images"):
        predictor.depth(PHOTO, mirror=True, reference=True)
    with pytest.raises(lotus.LotusError, match="encoded without its mirror image"):
        predictor.depth(predictor.encode(PHOTO), mirror=True)
    other = lotus.LotusPredictor(lotus.load_model("lotus-tiny-depth-d", device="cpu"))
    with pytest.raises(lotus.LotusError, match="comes from another autoencoder"):
        other.depth(predictor.encode(PHOTO, mirror=True))
    with pytest.raises(lotus.LotusError, match="with its mirror image cannot be reconstructed"):
        predictor.reconstruct(predictor.encode(PHOTO, mirror=True))


@pytest.mark.parametrize("options", [{"mirror": True}, {"mirror": True, "tile": 48}])
def test_progress_grows_to_one(options: dict[str, Any]) -> None:
    seen: list[float] = []
    predictor = lotus.LotusPredictor(tiny_model("g"), progress=lambda fraction, _: seen.append(fraction))
    predictor.uncertainty([PHOTO, FLIPPED], samples=3, **options)
    encoded = predictor.encode(PHOTO, **options)
    assert seen.count(1.0) == 2
    assert sorted(seen[: seen.index(1.0)]) == seen[: seen.index(1.0)]
    assert len(set(seen)) > 20
    seen.clear()
    predictor.depth(encoded)
    assert sorted(seen) == seen
    assert seen[-1] == 1


def test_the_commands_take_it_and_their_records_say_so(tmp_path: Path, checkpoints: dict[str, str]) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    command = ["predict", str(path), "--model", checkpoints["depth"], "--device", "cpu", "--format", "npy"]
    assert main([*command, "-o", str(tmp_path / "both"), "--mirror"]) == 0
    assert main([*command, "-o", str(tmp_path / "one")]) == 0
    records = [json.loads((tmp_path / name / "photo.json").read_text()) for name in ("both", "one")]
    assert [record["maps"]["depth"].get("mirror") for record in records] == [True, None]
    predictor = lotus.LotusPredictor(lotus.load_model(checkpoints["depth"], device="cpu"))
    expected = predictor.depth(PHOTO, mirror=True).values
    assert np.allclose(np.load(tmp_path / "both" / "photo_depth.npy"), expected, atol=1e-5)
    folder = tmp_path / "batch"
    batch = ["batch", str(path), str(folder), "--model", checkpoints["depth"], "--device", "cpu", "--format", "npy"]
    assert main([*batch, "--mirror", "--quiet"]) == 0
    assert np.allclose(np.load(next(folder.rglob("*depth.npy"))), expected, atol=1e-5)


def test_a_batch_from_before_it_existed_goes_on() -> None:
    assert Settings().deciding()["mirror"] is None  # what `claim` takes for a setting that was not recorded
    assert Settings(mirror=True).deciding()["mirror"] is True


@pytest.mark.parametrize("option", [["--mirror"], ["--tile", "64"]])
@pytest.mark.parametrize("command", ["predict photo.png -o out", "mesh photo.png -o out/a.glb", "batch photo.png out"])
def test_the_original_arithmetic_has_none_and_nothing_is_written(
    command: str,
    option: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("photo.png")
    assert main([*command.split(), *option, "--reference"]) == 2
    assert f"which has no {option[0]}: leave one out" in capsys.readouterr().err
    assert not Path("out").exists()


def test_noise_that_follows_motion_excludes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("photo.png")
    assert main(["batch", "photo.png", "out", "--noise", "motion", "--mirror"]) == 2
    assert "cannot follow mirror images" in capsys.readouterr().err
    assert not Path("out").exists()
