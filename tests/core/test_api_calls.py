"""The predictor inside other programs: threads, torch's settings, callbacks that fail, arguments that are none."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import lotus_core as lotus
from lotus_core.images import load_image
from lotus_core.sampling import draw_noise

from .models import tiny_model

RNG = np.random.default_rng(4)
PHOTO, TALL = RNG.random((40, 56, 3), dtype=np.float32), RNG.random((72, 48, 3), dtype=np.float32)
MODEL = tiny_model("g")


@pytest.mark.parametrize("memory", ["auto", "least"])
@pytest.mark.parametrize("folded", [False, True])
def test_threads_may_share_a_model(memory: Any, folded: bool) -> None:
    model = tiny_model("g")
    if folded:
        model.fold()
    model.memory = memory
    predictor = lotus.LotusPredictor(model)
    calls = [
        lambda: predictor.depth(PHOTO).values,
        lambda: predictor.depth(TALL).values,
        lambda: lotus.LotusPredictor(model).reconstruct(PHOTO),
    ]
    alone = [call() for call in calls]
    with ThreadPoolExecutor(3) as threads:
        for _ in range(6):
            together = [future.result() for future in [threads.submit(call) for call in calls]]
            assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def test_results_do_not_depend_on_torchs_settings() -> None:
    depth, tiled = (lotus.LotusPredictor(MODEL).depth(TALL, 0, tile=tile).values for tile in (None, 32))
    noise = draw_noise(1, 0, 0, (1, 4, 6, 6))
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(draw_noise(1, 0, 0, (1, 4, 6, 6)), noise)
        assert np.array_equal(lotus.LotusPredictor(MODEL).depth(TALL, 0).values, depth)
        assert np.array_equal(lotus.LotusPredictor(MODEL).depth(TALL, 0, tile=32).values, tiled)
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("meta")
        assert np.array_equal(lotus.LotusPredictor(MODEL).depth(TALL, 0).values, depth)
        assert np.array_equal(lotus.LotusPredictor(MODEL).depth(TALL, 0, tile=32).values, tiled)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_a_callback_that_runs_out_of_memory_is_not_the_network() -> None:
    model = tiny_model("g")

    def progress(fraction: float, text: str) -> None:
        raise RuntimeError("the host is out of memory")

    with pytest.raises(RuntimeError, match="the host is out of memory"):
        lotus.LotusPredictor(model).depth(PHOTO, progress=progress)
    assert model.memory == "auto"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder": "Fast"}, "decoder is one of exact, fast, not 'Fast'"),
        ({"encoder": None}, "encoder is one of exact, fast, not None"),
        ({"seed": None}, "seed is a whole number, not None"),
        ({"seed": 1.0}, "seed is a whole number"),
        ({"seed": torch.tensor(3)}, "seed is a whole number"),
        ({"index": -1}, "index is a whole number of at least 0, not -1"),
        ({"index": 1.5}, "index is a whole number"),
        ({"resolution": "64"}, "resolution is a whole number"),
        ({"resolution": float("nan")}, "resolution is a whole number"),
        ({"tile": "64"}, "tile is a whole number"),
        ({"mirror": "no"}, "mirror is True or False, not 'no'"),
        ({"reference": 1}, "reference is True or False"),
    ],
)
def test_arguments_that_are_none_are_one_sentence(options: dict[str, Any], words: str) -> None:
    for predict in (lotus.LotusPredictor(MODEL).depth, lotus.LotusPredictor(MODEL).uncertainty):
        with pytest.raises(lotus.LotusError, match=words):
            predict(PHOTO, **options)


def test_numbers_of_numpy_are_numbers() -> None:
    predictor = lotus.LotusPredictor(MODEL, max_batch=2)
    plain = predictor.uncertainty(PHOTO, 48, 3, samples=3).std
    assert np.array_equal(predictor.uncertainty(PHOTO, np.int64(48), np.uint8(3), samples=np.int32(3)).std, plain)


@pytest.mark.parametrize("most", [0, -1, 1.5, "2"])
def test_samples_at_once_are_at_least_one(most: Any) -> None:
    with pytest.raises(lotus.LotusError, match="max_batch is a whole number of at least 1"):
        lotus.LotusPredictor(MODEL, max_batch=most)


def test_samples_are_a_whole_number() -> None:
    with pytest.raises(lotus.LotusError, match=r"samples is a whole number, not 2\.5"):
        lotus.LotusPredictor(MODEL).uncertainty(PHOTO, samples=2.5)  # type: ignore[arg-type]


def test_a_loaded_image_may_be_changed_like_any_array() -> None:
    loaded = load_image(PHOTO)
    flipped = dataclasses.replace(loaded, rgb=loaded.rgb[:, ::-1])
    predictor = lotus.LotusPredictor(MODEL)
    assert np.array_equal(predictor.depth(flipped).values, predictor.depth(PHOTO[:, ::-1].copy()).values)


def test_maps_of_one_encoded_image_have_masks_of_their_own() -> None:
    transparent = np.dstack([PHOTO, (np.arange(56) < 28) * np.ones((40, 1))]).astype(np.float32)
    predictor = lotus.LotusPredictor(MODEL)
    encoded = predictor.encode(transparent)
    first, second = predictor.depth(encoded), predictor.depth(encoded)
    first.valid[:] = True
    assert second.valid.mean() == 0.5
    assert predictor.depth(encoded).valid.mean() == 0.5
