"""What comes out of the nodes on a real server is what the core predicts, to the bit."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lotus_core as lotus

from . import graphs
from .graphs import DEPTH, NORMAL
from .server.running import Server

ASSETS = Path(lotus.__file__).parent / "assets"


@cache
def predictor(name: str) -> lotus.LotusPredictor:
    model = lotus.load_model(name, device="cpu", dtype="float32")
    model.fold()
    return lotus.LotusPredictor(model)


@cache
def photo(height: int = 96, width: int = 144) -> np.ndarray:
    """float32 height×width×3 in [0, 1]: the demo's photo, small, with the float values that scaling gives."""
    with Image.open(ASSETS / "coffee.jpg") as image:
        small = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


def put(server: Server, name: str, images: np.ndarray) -> str:
    np.save(server.base / "input" / f"{name}.npy", images)
    return f"{name}.npy"


def depth_of(server: Server, name: str, images: np.ndarray, **inputs: object) -> dict[str, np.ndarray]:
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(server, name, images)),
        "depth": graphs.depth("load", "photo", **inputs),
    }
    graph |= {f"save{at}": graphs.save("depth", at, f"{name}-{at}") for at in range(3)}
    graphs.must_succeed(server.client.run(graph))
    image, valid, raw = (graphs.saved(server.base, f"{name}-{at}") for at in range(3))
    return {"image": image["tensor"], "valid": valid["tensor"], **raw}


def test_maps_equal_the_predictors_to_the_bit(server: Server) -> None:
    images = photo()[None]
    graph = {
        "depth model": graphs.load(DEPTH),
        "normal model": graphs.load(NORMAL),
        "photo": graphs.image(put(server, "exact", images)),
        "depth": graphs.depth("depth model", "photo", seed=7),
        "normal": graphs.normal("normal model", "photo", seed=8),
        "uncertainty": graphs.uncertainty("depth model", "photo", seed=9, samples=3),
        "angles": graphs.uncertainty("normal model", "photo", seed=10, samples=3),
        "save depth": graphs.save("depth", 0, "exact-depth"),
        "save normal": graphs.save("normal", 0, "exact-normal"),
        "save uncertainty": graphs.save("uncertainty", 0, "exact-uncertainty"),
        "save angles": graphs.save("angles", 0, "exact-angles"),
        "save raw": graphs.save("depth", 2, "exact-raw"),
        "save mask": graphs.save("uncertainty", 1, "exact-mask"),
    }
    finished = graphs.must_succeed(server.client.run(graph))
    found = {name: graphs.saved(server.base, f"exact-{name}") for name in ("depth", "normal", "uncertainty", "angles")}
    depth = predictor(DEPTH).depth(photo(), seed=7)
    assert depth.space == "disparity"
    assert np.ptp(depth.values) > 0.2  # not an empty map
    for channel in range(3):
        assert np.array_equal(found["depth"]["tensor"][0, ..., channel], depth.values)
    assert np.array_equal(graphs.saved(server.base, "exact-raw")["values0"], depth.values)
    normals = predictor(NORMAL).normal(photo(), seed=8)
    assert np.array_equal(found["normal"]["tensor"][0], 0.5 * normals.values + 0.5)
    uncertain = predictor(DEPTH).uncertainty(photo(), seed=9, samples=3)
    assert np.array_equal(found["uncertainty"]["tensor"][0, ..., 0], uncertain.std)
    assert uncertain.std.max() > 0.05
    assert np.array_equal(graphs.saved(server.base, "exact-mask")["tensor"][0] > 0, uncertain.std > 0.05)
    angles = predictor(NORMAL).uncertainty(photo(), seed=10, samples=3)
    assert np.array_equal(found["angles"]["tensor"][0, ..., 0], angles.std / np.float32(180))
    said = json.loads(finished.outputs["save depth"]["probe"][0])
    assert (said["dtype"], said["device"], said["contiguous"]) == ("torch.float32", "cpu", True)
    raw = json.loads(finished.outputs["save raw"]["probe"][0])
    assert (raw["kinds"], raw["meanings"]) == (["Depth"], ["disparity"])


def test_a_batch_of_four_equals_four_singles(server: Server) -> None:
    four = np.stack([np.roll(photo(), 16 * shift, axis=1) for shift in range(4)])
    together = depth_of(server, "four", four, seed=3)["image"]
    assert together.shape == (4, 96, 144, 3)
    for number, single in enumerate(four):
        alone = depth_of(server, f"single{number}", single[None], seed=3)["image"]
        assert np.array_equal(together[number], alone[0])
    unshared = depth_of(server, "four", four, seed=3, shared_noise=False)["image"]
    as_list = predictor(DEPTH).depth(list(four), seed=3)
    assert all(np.array_equal(unshared[n, ..., 0], depth.values) for n, depth in enumerate(as_list))
    assert not np.array_equal(unshared[1], together[1])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 60), (15, 16), (333, 16), (5, 2000), (1023, 2049)])
def test_any_size_comes_back_at_its_size(server: Server, height: int, width: int) -> None:
    image = np.tile(photo(), (11, 15, 1))[:height, :width]
    found = depth_of(server, f"size{height}x{width}", image[None], seed=1)
    assert found["image"].shape == (1, height, width, 3)
    assert found["valid"].shape == (1, height, width)
    assert (found["valid"] == 1).all()
    tall, wide = max(height, 16, -(-width // 20)), max(width, 16, -(-height // 20))
    extended = np.pad(image, ((0, tall - height), (0, wide - width), (0, 0)), mode="edge")
    expected = predictor(DEPTH).depth(extended, seed=1).values[:height, :width]
    assert np.array_equal(found["image"][0, ..., 0], expected)


def test_transparent_half_precision_and_grey_images(server: Server) -> None:
    alpha = np.ones((96, 144, 1), np.float32)
    alpha[:, :50] = 0
    rgba = np.concatenate([photo(), alpha], axis=2)
    found = depth_of(server, "rgba", rgba[None], seed=2)
    expected = predictor(DEPTH).depth(rgba, seed=2)
    assert np.array_equal(found["image"][0, ..., 0], expected.values)
    assert not found["valid"][0, :, :50].any()
    assert found["valid"][0, :, 50:].all()
    assert not found["image"][0, :, :50].any()
    found = depth_of(server, "rgba", rgba[None], seed=2, near="black")
    assert np.array_equal(found["image"][0, :, 50:, 0], 1 - expected.values[:, 50:])
    assert (found["image"][0, :, :50] == 1).all(), "what is transparent is far, not in front of everything"
    half = photo().astype(np.float16)
    found = depth_of(server, "half", half[None], seed=2)
    assert found["image"].dtype == np.float32
    assert np.array_equal(found["image"][0, ..., 0], predictor(DEPTH).depth(half, seed=2).values)
    grey = photo()[..., :1]
    found = depth_of(server, "grey", grey[None], seed=2)
    assert np.array_equal(found["image"][0, ..., 0], predictor(DEPTH).depth(grey, seed=2).values)


def test_values_beyond_white_are_clipped(server: Server) -> None:
    """Sharpening and resizing nodes overshoot; ComfyUI's own savers clip there as well."""
    over = photo() * 1.3 - 0.1
    assert over.max() > 1
    assert over.min() < 0
    found = depth_of(server, "over", over[None], seed=2)
    assert np.array_equal(found["image"][0, ..., 0], predictor(DEPTH).depth(over.clip(0, 1), seed=2).values)


def test_near_black_and_ranges(server: Server) -> None:
    two = np.stack([photo(), np.ascontiguousarray(photo()[:, ::-1] * 0.5)])
    raw = depth_of(server, "ranges", two, seed=4)["image"][..., 0]
    black = depth_of(server, "ranges", two, seed=4, near="black")["image"][..., 0]
    assert np.array_equal(black, 1 - raw)
    each = depth_of(server, "ranges", two, seed=4, range="per image")["image"][..., 0]
    assert [(frame.min(), frame.max()) for frame in each] == [(0, 1), (0, 1)]
    batch = depth_of(server, "ranges", two, seed=4, range="whole batch")["image"][..., 0]
    assert (batch.min(), batch.max()) == (0, 1)
    assert np.allclose(batch, (raw - raw.min()) / np.ptp(raw), atol=1e-6)
    clipped = depth_of(server, "ranges", two, seed=4, range="per image, 2-98 %")["image"][..., 0]
    assert [round(float((frame == 0).mean()), 2) for frame in clipped] == [0.02, 0.02]
    assert [round(float((frame == 1).mean()), 2) for frame in clipped] == [0.02, 0.02]


@pytest.mark.parametrize(("convention", "signs"), [("opengl", (-1, 1, 1)), ("directx", (-1, -1, 1))])
def test_normal_conventions(server: Server, convention: str, signs: tuple[int, int, int]) -> None:
    graph = {
        "load": graphs.load(NORMAL),
        "photo": graphs.image(put(server, "convention", photo()[None])),
        "lotus": graphs.normal("load", "photo"),
        "other": graphs.normal("load", "photo", convention=convention),
        "save lotus": graphs.save("lotus", 0, "convention-lotus"),
        "save other": graphs.save("other", 0, "convention-other"),
    }
    graphs.must_succeed(server.client.run(graph))
    ours, other = (graphs.saved(server.base, f"convention-{name}")["tensor"][0] * 2 - 1 for name in ("lotus", "other"))
    assert np.allclose(ours * signs, other, atol=1e-6)
    assert np.abs(ours[..., 0]).max() > 0.3


def test_tiles_equal_the_predictors_to_the_bit(server: Server) -> None:
    large = np.tile(photo(), (4, 6, 1))[:320, :800]
    found = depth_of(server, "tiles", np.ascontiguousarray(large)[None], seed=6, tile=320)
    expected = predictor(DEPTH).depth(large, seed=6, tile=320).values
    assert np.array_equal(found["image"][0, ..., 0], expected)
    assert not np.array_equal(expected, predictor(DEPTH).depth(large, seed=6).values)


def test_a_small_photo_needs_no_tiles(server: Server) -> None:
    found = depth_of(server, "untiled", photo()[None], seed=6, tile=320)
    assert np.array_equal(found["image"][0, ..., 0], predictor(DEPTH).depth(photo(), seed=6).values)


def test_the_mirror_image_counts_half(server: Server) -> None:
    found = depth_of(server, "mirrored", photo()[None], seed=6, mirror=True)
    expected = predictor(DEPTH).depth(photo(), seed=6, mirror=True).values
    assert np.array_equal(found["image"][0, ..., 0], expected)
    assert not np.array_equal(expected, predictor(DEPTH).depth(photo(), seed=6).values)


def test_memory_stays_flat_over_a_sequence(server: Server) -> None:
    """After the first frames only the output itself grows. benchmarks/comfyui.py does it with 200 frames of 512²."""
    frame = np.ascontiguousarray(np.tile(photo(), (6, 4, 1))[:512, :512])
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(server, "long", frame[None]), copies=24),
        "depth": graphs.depth("load", "photo", seed=5, shared_noise=False),
        "save": graphs.save("depth", 1, "long"),
    }
    held: list[tuple[int, int]] = []

    def watch(kind: str, data: dict[str, object]) -> None:
        if kind == "progress" and data["node"] == "depth":
            held.append((int(str(data["value"])), server.resident_bytes()))

    graphs.must_succeed(server.client.run(graph, timeout=900, on_message=watch))
    written = 24 * 512 * 512 * 4  # the raw depth, touched frame by frame
    start = next(memory for value, memory in held if value >= 100)
    grown = max(memory for value, memory in held if 100 <= value <= 990) - start
    assert grown < written + 50e6


def test_samples_in_chunks_are_the_same_samples(server: Server) -> None:
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(server, "chunks", photo()[None])),
        **{f"by{size}": graphs.uncertainty("load", "photo", samples=5, chunk_size=size) for size in (1, 3)},
        **{f"save{size}": graphs.save(f"by{size}", 0, f"chunks{size}") for size in (1, 3)},
    }
    graphs.must_succeed(server.client.run(graph))
    one, three = (graphs.saved(server.base, f"chunks{size}")["tensor"] for size in (1, 3))
    assert one.max() > 0.05
    assert np.allclose(one, three, atol=1e-5)
