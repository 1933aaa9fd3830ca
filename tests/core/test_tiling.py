"""Large images in tiles: detail from the tiles, everything else from the whole, and no seams."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lotus_core as lotus
from lotus_core.cli import main
from lotus_core.encoded import EncodedImage, EncodedTiles
from lotus_core.memory import estimate_bytes
from lotus_core.tiling import OVERLAP, Grid, fit_huber, fitted, window

from .models import tiny_model

PHOTO = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)


@given(height=st.integers(1, 40), width=st.integers(1, 40), tile=st.integers(4, 20), step=st.sampled_from([1, 8, 64]))
@settings(max_examples=60, deadline=None)
def test_tiles_cover_every_pixel_once_in_all(height: int, width: int, tile: int, step: int) -> None:
    grid = Grid.of(height * step, width * step, tile * step, step)
    total = np.zeros((grid.height, grid.width))
    for top, left in grid.corners():
        assert top % step == left % step == 0
        total[top : top + grid.tile_height, left : left + grid.tile_width] += grid.weights(top, left)
    assert np.abs(total - 1).max() < 1e-6
    for starts, size in ((grid.tops, grid.tile_height), (grid.lefts, grid.tile_width)):
        overlaps = [first + size - second for first, second in pairwise(starts)]
        assert all(overlap >= OVERLAP * size - step for overlap in overlaps)


def test_a_tile_fades_out_towards_its_neighbours() -> None:
    grid = Grid.of(256, 256, 128, 8)
    weights = grid.weights(*grid.corners()[4])  # in the middle: neighbours on all sides
    assert len(grid.corners()) == 9
    assert weights[0].max() == weights[-1].max() == weights[:, 0].max() == weights[:, -1].max() == 0
    assert np.abs(np.diff(weights, axis=0)).max() < 0.06  # of 32 pixels' overlap
    assert grid.weights(0, 0)[0, 0] == 1


def scene(height: int, width: int) -> torch.Tensor:
    """1×h×w: slopes, a step, and a fine grating that a small picture of it cannot show."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return (0.4 * x - 0.3 * y + 0.5 * (x > 0.55) + 0.02 * torch.sin(x * width * 0.8))[None]


@given(scale=st.floats(0.3, 5), shift=st.floats(-2, 2), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_tile_gets_the_scale_and_shift_of_the_whole(scale: float, shift: float, seed: int) -> None:
    truth = scene(96, 128)
    small = torch.nn.functional.interpolate(truth[None], (24, 32), mode="bilinear", antialias=True)[0]
    whole = window(small, (96, 128), 0, 0, 96, 128)
    tile = truth * scale + shift
    spoiled = np.random.default_rng(seed).random((1, 96, 128)) < 0.05
    tile = torch.where(torch.from_numpy(spoiled), tile + 3 * scale, tile)
    found = fitted(tile, whole, None, affine=True)
    error = (found - truth).abs()[~torch.from_numpy(spoiled)]
    assert error.median() < 0.02
    assert error.quantile(0.95) < 0.08


def test_outliers_do_not_move_the_fit_much() -> None:
    random = np.random.default_rng(1)
    x = random.random(2000)
    y = 2 * x - 0.5 + random.normal(0, 0.01, 2000)
    y[:100] += 5
    fit = fit_huber(x, y, None)
    assert abs(fit.scale - 2) < 0.03
    assert abs(fit.shift + 0.5) < 0.03


def test_where_a_tile_contradicts_the_whole_the_whole_counts() -> None:
    whole = scene(64, 64)
    assert torch.equal(fitted(-whole, whole, None, affine=True), whole)


def test_what_varies_slowly_comes_from_the_whole_and_detail_from_the_tile() -> None:
    truth = scene(128, 128)
    bent = truth + 0.3 * torch.linspace(0, 1, 128).square()  # a tile that believes in a curved ground
    small = torch.nn.functional.interpolate(truth[None], (32, 32), mode="bilinear", antialias=True)[0]
    whole = window(small, (128, 128), 0, 0, 128, 128)
    inner = (slice(None), slice(16, -16), slice(16, -16))
    error = (fitted(bent, whole, None, affine=False) - truth)[inner].abs()
    assert error.mean() < 0.01
    assert error.mean() < 0.5 * (whole - truth)[inner].abs().mean()  # the grating is not in the whole


def test_transparent_pixels_do_not_decide_the_fit() -> None:
    whole = scene(64, 64)
    tile = whole * 0.5
    tile[:, :, 40:] = 7.0
    valid = np.ones((64, 64), bool)
    valid[:, 40:] = False
    error = (fitted(tile, whole, valid, affine=True) - whole)[:, :, :28].abs()
    assert error.max() < 0.02


def moody(model: lotus.LotusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prediction gets a scale and a shift of its own, as of a network that sees a tile and not the scene."""
    decode = type(model).decode
    random = np.random.default_rng(3)

    def changed(*args: Any, **kwargs: Any) -> torch.Tensor:
        return decode(*args, **kwargs) * random.uniform(0.3, 1) + random.uniform(-0.3, 0.3)

    monkeypatch.setattr(type(model), "decode", changed)


def seam(values: np.ndarray, grid: Grid) -> float:
    """Median step between neighbouring columns where tiles end, over that of all columns."""
    steps = np.median(np.abs(np.diff(values, axis=1)), axis=0)
    ends = [left - 1 for left in grid.lefts[1:]] + [left + grid.tile_width - 1 for left in grid.lefts[:-1]]
    return float(np.median(steps[ends]) / np.median(steps))


def test_tiles_of_an_embedded_model_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lotus.load_model("lotus-tiny-depth-g", device="cpu", dtype="float32")
    model.fold()
    y, x = np.mgrid[:160, :288].astype(np.float32) / 160
    photo = np.stack([x / 2, y, np.hypot(x - 0.9, y - 0.5) < 0.3], axis=2).astype(np.float32)
    predictor = lotus.LotusPredictor(model)
    model.info = replace(model.info, resolution=160)
    plain = predictor.depth(photo)
    moody(model, monkeypatch)
    encoded = predictor.encode(photo, tile=128)
    assert isinstance(encoded, EncodedTiles)
    assert len(encoded.tiles) == 6
    tiled = predictor.depth(encoded)
    assert tiled.values.shape == (160, 288)
    assert seam(tiled.values, encoded.grid) < 1.3
    assert np.corrcoef(tiled.values.ravel(), plain.values.ravel())[0, 1] > 0.9


def test_all_maps_take_tiles_and_share_their_encoding() -> None:
    depth, normal = tiny_model("g", "depth"), tiny_model("g", "normal")
    first, second = lotus.LotusPredictor(depth), lotus.LotusPredictor(normal)
    encoded = first.encode(PHOTO, tile=64)
    again = first.depth(encoded, seed=4)
    assert np.array_equal(first.depth(PHOTO, tile=64, seed=4).values, again.values)
    assert not np.array_equal(first.depth(PHOTO, tile=64, seed=5).values, again.values)
    normals = second.normal(encoded)
    assert normals.values.shape == (150, 200, 3)
    assert np.abs(np.linalg.norm(normals.values, axis=2) - 1).max() < 1e-5
    uncertainty = first.uncertainty(encoded, samples=3, seed=4)
    assert uncertainty.std.shape == (150, 200)
    draws = np.stack([first.depth(encoded, seed=seed).values for seed in (4, 5, 6)])
    assert 0.2 < uncertainty.std.mean() / draws.std(axis=0).mean() < 5


def test_a_photo_that_the_network_sees_whole_gets_no_tiles() -> None:
    predictor = lotus.LotusPredictor(tiny_model("d"))
    assert isinstance(predictor.encode(PHOTO[:40, :40], tile=64), EncodedImage)
    assert np.array_equal(predictor.depth(PHOTO, tile=0).values, predictor.depth(PHOTO).values)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tile": 8}, "at least 16 pixels"),
        ({"tile": 4096}, "too large"),
        ({"tile": 64, "reference": True}, "reference"),
    ],
)
def test_unusable_tiles_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(lotus.LotusError, match=words):
        lotus.LotusPredictor(tiny_model("d")).depth(PHOTO, **arguments)


def test_encoded_without_tiles_stays_without() -> None:
    predictor = lotus.LotusPredictor(tiny_model("d"))
    with pytest.raises(lotus.LotusError, match="encoded without tiles"):
        predictor.depth(predictor.encode(PHOTO), tile=64)


def test_progress_grows_to_one_and_cancel_stops_between_tiles() -> None:
    seen: list[tuple[float, str]] = []
    predictor = lotus.LotusPredictor(tiny_model("g"))
    predictor.depth([PHOTO, PHOTO], tile=64, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(seen) > 40
    assert any("tile 7 of 12" in text for _, text in seen)
    with pytest.raises(lotus.Cancelled):
        predictor.depth(PHOTO, tile=64, progress=lambda _, text: seen.append((0, text)), cancel=lambda: len(seen) > 55)


def test_the_networks_memory_does_not_grow_with_the_photo() -> None:
    model = tiny_model("g")
    needed = {size: estimate_bytes(model, size, size, tile=256) for size in (512, 1024, 4096)}
    assert needed[512] == needed[1024] == needed[4096]


def test_the_command_writes_tiled_maps_and_says_so(tmp_path: Path, checkpoints: dict[str, str]) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(PHOTO).save(path)
    command = ["predict", str(path), "-o", str(tmp_path / "out"), "--task", "all", "--samples", "2", "--tile", "64"]
    assert main([*command, "--model", checkpoints["depth"], "--model", checkpoints["normal"], "--device", "cpu"]) == 0
    record = json.loads((tmp_path / "out" / "large.json").read_text())
    assert {entry["tile"] for entry in record["maps"].values()} == {64}
    assert {entry["resolution"] for entry in record["maps"].values()} == {0}
    depth = lotus.Depth.load(tmp_path / "out" / "large_depth.png")
    expected = lotus.LotusPredictor(lotus.load_model(checkpoints["depth"], device="cpu")).depth(PHOTO, tile=64)
    assert np.abs(depth.values - expected.values).max() < 2e-3
