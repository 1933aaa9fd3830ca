"""Large images in little memory: strips, what happens when memory runs out, and the estimate."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lotus_core as lotus
from lotus_core import memory, strips, tiny_strips
from lotus_core.cli import main
from lotus_core.decoding import decode_latents
from lotus_core.memory import MemoryNotice, estimate_bytes, network_bytes, ran_out, strips_for
from lotus_core.model import LotusModel
from lotus_core.strips import convolved, whole
from lotus_core.tiny_strips import decode_tiny, encode_tiny
from lotus_core.vae_strips import encode_moments

from .models import tiny_autoencoder, tiny_model, wide_autoencoder

KL = tiny_autoencoder(levels=3)  # 4× down
PHOTO = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)


@given(rows=st.integers(4, 40), columns=st.integers(4, 24), seed=st.integers(0, 99), step=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_strips_give_what_one_piece_gives(rows: int, columns: int, seed: int, step: int) -> None:
    torch.manual_seed(seed)
    vae = copy.deepcopy(KL).double()
    images, latents = (
        torch.rand(1, 3, 4 * rows, 4 * columns).double() * 2 - 1,
        torch.randn(1, 4, rows, columns).double(),
    )
    encoded, decoded = vae.encode(images).latent_dist.mean, decode_latents(vae, latents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP", 1)
        patch.setattr(strips, "LEAST_ROWS", step)
        for how in ("strips", "lean"):
            # The normalisation computes in float32 whatever the weights are.
            assert (encode_moments(vae, images, how).mean - encoded).abs().max() < 1e-4
            assert (decode_latents(vae, latents, how=how) - decoded).abs().max() < 1e-4
            assert (decode_latents(vae, latents, mean=True, how=how) - decoded.mean(1, True)).abs().max() < 1e-4


@pytest.mark.parametrize("folded", [False, True])
@torch.no_grad()
def test_strips_of_a_small_autoencoder_are_exact(monkeypatch: pytest.MonkeyPatch, folded: bool) -> None:
    model = lotus.load_model("lotus-tiny-depth-g", device="cpu", dtype="float32")
    vae = model.vae
    assert isinstance(vae, AutoencoderTiny)
    if folded:
        model.fold()
    monkeypatch.setattr(tiny_strips, "STRIP_ROWS", 64)
    images = torch.rand(1, 3, 320, 64) * 2 - 1
    latents = vae.encode(images).latents
    assert (encode_tiny(vae, images, "lean") - latents).abs().max() < 1e-5
    whole = decode_latents(vae, latents)
    in_strips = decode_tiny(vae, latents, lambda strip: decode_latents(vae, strip))
    assert (in_strips - whole).abs().max() < 1e-5
    # A row less on either side is seen: the reach is no larger than it has to be for this to notice.
    monkeypatch.setattr(tiny_strips, "_reach", lambda layers: 8)
    assert (decode_tiny(vae, latents, lambda strip: decode_latents(vae, strip)) - whole).abs().max() > 1e-5


def peak_of_tensors(work: Any) -> int:
    """Most bytes of tensors alive at once that `work` made."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    held = peak = 0
    for event in sorted(
        (event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"),
        key=lambda event: event.start_ns(),
    ):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@torch.no_grad()
def test_strips_hold_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP", 2**13)
    latents = torch.randn(1, 4, 256, 64)
    peaks = {
        how: peak_of_tensors(lambda how=how: decode_latents(KL, latents, how=how)) for how in ("none", "strips", "lean")
    }
    assert peaks["strips"] < 0.62 * peaks["none"]
    assert peaks["lean"] < 0.42 * peaks["none"]


@torch.no_grad()
def test_strips_that_give_one_channel_are_as_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP", 2**13)
    latents = torch.randn(1, 4, 256, 64)
    one, three = (
        peak_of_tensors(lambda mean=mean: decode_latents(KL, latents, mean=mean, how="lean")) for mean in (True, False)
    )
    assert one < 1.05 * three
    wide = convolved(whole(torch.randn(1, 64, 512, 8)), torch.randn(1, 64, 3, 3), None)
    assert max(bottom - top for top, bottom in wide.strips()) == 2**13 // (64 * 8)


def test_large_images_go_in_strips_and_small_ones_do_not() -> None:
    assert strips_for("auto", 768 * 768) == "none"
    assert strips_for("auto", 1280 * 1280) == "strips"
    assert strips_for("auto", 2048 * 2048) == "lean"
    assert strips_for("least", 64 * 64) == "lean"


def out_of_memory_once(model: lotus.LotusModel, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """The U-Net's next `times` runs end as torch ends where the memory does not suffice."""
    calls = [0]
    run = model.unet.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] <= times:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory")
        return run(*args, **kwargs)

    monkeypatch.setattr(model.unet, "forward", forward)
    return calls


def test_out_of_memory_is_tried_once_more_in_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")
    predictor = lotus.LotusPredictor(model)
    expected = predictor.depth(PHOTO)
    assert predictor.notes == []
    calls = out_of_memory_once(model, monkeypatch, 1)
    with pytest.warns(MemoryNotice, match="Memory ran out"):
        again = predictor.depth(PHOTO)
    assert calls == [2]
    assert model.memory == "least"
    assert predictor.notes == ["Memory ran out; the prediction was repeated in smaller pieces, which takes longer."]
    assert np.abs(again.values - expected.values).max() < 1e-5


def test_what_counts_as_short_of_memory() -> None:
    """ "could not create a primitive" is oneDNN's, seen under the real limit of tests.comfyui.test_host."""
    for words in (
        "DefaultCPUAllocator: can't allocate memory",
        "MPS backend out of memory",
        "could not create a primitive",
    ):
        assert ran_out(RuntimeError(words))
    assert not ran_out(RuntimeError("could not create a primitive descriptor for a convolution forward primitive"))
    assert not ran_out(ValueError("out of memory"))


def fails_above(most: int, model: lotus.LotusModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The U-Net ends as on a GPU where more samples run at once; the sizes of its batches from now on."""
    sizes: list[int] = []
    run = model.unet.forward

    def forward(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(sample))
        if len(sample) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return run(sample, *args, **kwargs)

    monkeypatch.setattr(model.unet, "forward", forward)
    return sizes


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_out_of_memory_halves_the_samples_at_once_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """With as many at once as the predictor chooses by itself."""
    plain = tiny_model("g", task)
    model = lotus.LotusModel(plain.unet, wide_autoencoder(), plain.prompt_embeds, plain.info).eval()
    predictor = lotus.LotusPredictor(model)
    expected = lotus.LotusPredictor(model).uncertainty(PHOTO, samples=10)
    sizes = fails_above(2, model, monkeypatch)
    with pytest.warns(MemoryNotice) as notices:
        found = predictor.uncertainty(PHOTO, samples=10)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert predictor.notes == [str(notice.message) for notice in notices]
    assert predictor.notes == [
        f"Memory ran out; the prediction went on with {fewer} instead of {before} samples at once."
        for fewer, before in ((5, 10), (2, 5))
    ]
    assert (model.memory, model.offloaded) == ("auto", False)
    np.testing.assert_allclose(found.std, expected.std, atol=2e-5 if task == "depth" else 0.05)

    sizes.clear()
    predictor.uncertainty(PHOTO, samples=6)
    assert sizes == [2, 2, 2]  # it is not tried again, and not said again
    assert predictor.notes == []


def test_out_of_memory_goes_down_to_one_sample_and_then_to_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_model("g")
    model = lotus.LotusModel(plain.unet, wide_autoencoder(), plain.prompt_embeds, plain.info).eval()
    sizes = fails_above(0, model, monkeypatch)
    with pytest.warns(MemoryNotice), pytest.raises(lotus.LotusError, match="a lower resolution, or tiles"):
        lotus.LotusPredictor(model).uncertainty(PHOTO, samples=10)
    assert sizes == [10, 5, 2, 1, 1]


def test_a_host_makes_room_once_before_anything_is_done_in_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")
    asked: list[str] = []

    def make_room() -> str:
        asked.append(model.memory)
        return "Memory ran out; the other model was unloaded."

    predictor = lotus.LotusPredictor(model, max_batch=4, make_room=make_room)
    expected = predictor.uncertainty(PHOTO, samples=4)
    calls = out_of_memory_once(model, monkeypatch, 1)
    with pytest.warns(MemoryNotice, match="other model was unloaded"):
        found = predictor.uncertainty(PHOTO, samples=4)
    assert (calls, asked, model.memory) == ([2], ["auto"], "auto")
    assert np.array_equal(found.std, expected.std)

    sizes = fails_above(0, model, monkeypatch)  # that room is not enough: it is not asked again
    with pytest.warns(MemoryNotice), pytest.raises(lotus.LotusError, match="a lower resolution, or tiles"):
        predictor.uncertainty(PHOTO, samples=4)
    assert (sizes, len(asked)) == ([4, 4, 2, 1, 1], 2)


def test_a_map_of_one_sample_has_none_to_halve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has one whose encoding fails after the number of samples was halved."""
    model = tiny_model("g")
    predictor = lotus.LotusPredictor(model, max_batch=4)
    predictor.uncertainty(PHOTO, samples=4)
    calls = out_of_memory_once(model, monkeypatch, 1)
    with pytest.warns(MemoryNotice, match="smaller pieces"):
        predictor.depth(PHOTO)
    assert calls == [2]

    model = tiny_model("g")
    sizes = fails_above(2, model, monkeypatch)
    encode, encoded = model.vae.encode, [0]

    def second_fails(*args: Any, **kwargs: Any) -> Any:
        encoded[0] += 1
        if encoded[0] == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(*args, **kwargs)

    monkeypatch.setattr(model.vae, "encode", second_fails)
    predictor = lotus.LotusPredictor(model, max_batch=4)
    with pytest.warns(MemoryNotice):
        predictor.uncertainty(PHOTO, samples=4)
    assert sizes == [4, 1, 1, 1, 1]
    assert [note.split(";")[1][:33] for note in predictor.notes] == [
        " the prediction went on with 2 in",
        " the prediction was repeated in s",
    ]


def test_the_command_says_that_memory_ran_out(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    failing = [True]
    step = LotusModel._step

    def once(*args: Any, **kwargs: Any) -> torch.Tensor:
        if failing:
            failing.clear()
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(*args, **kwargs)

    monkeypatch.setattr(LotusModel, "_step", once)
    assert (
        main(["predict", photo, "-o", str(tmp_path / "out"), "--model", checkpoints["depth"], "--device", "cpu"]) == 0
    )
    assert "Memory ran out; the prediction was repeated in smaller pieces" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert len(record["notes"]) == 1


def test_out_of_memory_twice_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")
    calls = out_of_memory_once(model, monkeypatch, 9)
    with (
        pytest.warns(MemoryNotice),
        pytest.raises(lotus.LotusError, match="a lower resolution, or tiles"),
    ):
        lotus.LotusPredictor(model).depth(PHOTO)
    assert calls == [2]


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("g")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(model.unet, "forward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        lotus.LotusPredictor(model).depth(PHOTO)


@pytest.mark.parametrize("size", [256, 384])
@torch.no_grad()
def test_the_estimate_bounds_what_is_allocated(size: int) -> None:
    model = lotus.load_model("lotus-tiny-depth-g", device="cpu", dtype="float32")
    predictor = lotus.LotusPredictor(model)
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    measured = peak_of_tensors(lambda: predictor.depth(photo, resolution=0))
    assert 0.9 * measured < estimate_bytes(model, size, size, resolution=0) < 2 * measured


def test_the_estimate_follows_size_precision_and_samples() -> None:
    model = tiny_model("g")
    small = network_bytes(model, 512, 512)
    assert 3.8 < network_bytes(model, 1024, 1024) / small < 4.2
    assert estimate_bytes(model, 512, 512, samples=10, resolution=0) == estimate_bytes(model, 512, 512, resolution=0)
    assert network_bytes(model, 2048, 2048) < 16 * small  # in strips
    tiled = {size: estimate_bytes(model, size, size, resolution=0, tile=256) for size in (512, 4096)}
    assert tiled[512] == tiled[4096]
    half = nn.Module.to(copy.deepcopy(model), torch.bfloat16)
    assert network_bytes(half, 512, 512) < 0.7 * small
    assert memory.weight_bytes(half) == memory.weight_bytes(model) // 2
