"""Weights that are used where they lie in a file: the same maps as from copies, and files that nothing harms."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import lotus_core as lotus
from lotus_core.checkpoints import reading, save_model
from lotus_core.checkpoints.header import read_header
from lotus_core.checkpoints.writing import write_tensors
from lotus_core.files import atomic_path

from .models import tiny_model

PHOTO = np.random.default_rng(0).random((40, 48, 3)).astype(np.float32)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any size are mapped, as those of released weights are."""
    monkeypatch.setattr(reading, "MAP_FROM", 1)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "ours.safetensors"
    save_model(tiny_model("g"), path, torch.float32)
    return path


def depth(source: Path, **arguments: Any) -> np.ndarray:
    model = lotus.load_model(source, "cpu", "float32", **arguments)
    return np.asarray(lotus.LotusPredictor(model).depth(PHOTO, resolution=0, seed=3).values)


def in_file(tensor: torch.Tensor, path: Path) -> bool:
    """Whether the tensor's memory is a mapping of the file. Linux tells."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(edge, 16) for edge in line.split()[0].split("-"))
        if begin <= tensor.data_ptr() < end:
            return line.endswith(str(path))
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what memory is")
def test_a_large_file_of_ours_is_not_copied(mapped: None, ours: Path) -> None:
    state = lotus.load_model(ours, "cpu", "float32").state_dict()
    inside = {name: in_file(tensor, ours) for name, tensor in state.items()}
    assert all(inside[name] for name, tensor in state.items() if tensor.nbytes % reading.ALIGNMENT == 0)
    assert sum(state[name].nbytes for name in state if inside[name]) > 0.99 * sum(t.nbytes for t in state.values())
    folded = lotus.load_model(ours, "cpu", "float32", fold=True).unet
    assert in_file(folded.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight, ours)
    assert not in_file(folded.mid_block.resnets[0].conv1.weight, ours)  # was to be reordered
    assert not any(in_file(tensor, ours) for tensor in lotus.load_model(ours, "cpu", "float16").state_dict().values())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what memory is")
def test_a_folded_model_uses_all_of_a_large_file_of_ours_in_place(mapped: None, tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    save_model(tiny_model("g"), path, torch.float32)
    unet = lotus.load_model(path, "cpu", "float32", fold=True).unet
    weights = {name: weight for name, weight in unet.named_parameters() if weight.nbytes % reading.ALIGNMENT == 0}
    assert len(weights) > 50
    assert [name for name, weight in weights.items() if not in_file(weight, path)] == []


@pytest.mark.parametrize("fold", [False, True])
def test_maps_do_not_depend_on_where_the_weights_lie(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold: bool
) -> None:
    expected = depth(ours, fold=fold)
    monkeypatch.setattr(reading, "MAP_FROM", 1)
    np.testing.assert_array_equal(depth(ours, fold=fold), expected)
    metadata, tensors = read_header(ours).metadata, load_file(ours)
    save_model(lotus.load_model(ours, "cpu", "float32"), tmp_path / "large.safetensors", torch.float32)
    large = read_header(tmp_path / "large.safetensors")
    assert large.channels_last
    assert large.tensors["unet.conv_in.weight"].shape == (16, 3, 3, 8)
    for lowest in (1, 10**12):
        monkeypatch.setattr(reading, "MAP_FROM", lowest)
        np.testing.assert_array_equal(depth(large.path, fold=fold), expected)
    monkeypatch.setattr(reading, "MAP_FROM", 1)
    for shift in range(0, 64, 24):
        moved = tmp_path / f"moved{shift}.safetensors"
        save_file(tensors, moved, {**metadata, "padding": "x" * shift})
        np.testing.assert_array_equal(depth(moved, fold=fold), expected, str(shift))
    model = lotus.load_model(ours, "cpu", "float32")
    assert model.fold()
    again = lotus.LotusPredictor(model).depth(PHOTO, resolution=0, seed=3).values
    if fold:
        np.testing.assert_array_equal(again, expected)
    else:
        np.testing.assert_allclose(again, expected, atol=1e-4)


def test_neither_predicting_nor_training_writes_into_the_file(mapped: None, ours: Path) -> None:
    before = ours.read_bytes()
    depth(ours, fold=True)
    model = lotus.load_model(ours, "cpu", "float32")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    latents = torch.ones(1, 4, 8, 8)
    model(latents, latents).square().sum().backward()
    weight = model.unet.mid_block.attentions[0].proj_in.weight
    old = weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, old)
    assert ours.read_bytes() == before


def test_a_file_may_be_replaced_while_its_weights_are_in_use(mapped: None, ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(ours.read_bytes())
    model = lotus.load_model(path, "cpu", "float32")
    expected = depth(ours)
    with torch.no_grad():
        other = tiny_model("g")
        for parameter in other.parameters():
            parameter.mul_(0.9)
    save_model(other, path, torch.float32)
    np.testing.assert_array_equal(lotus.LotusPredictor(model).depth(PHOTO, resolution=0, seed=3).values, expected)
    assert np.abs(depth(path) - expected).max() > 1e-3
    save_model(model, path, torch.float32)  # over the file that the model itself came from
    np.testing.assert_array_equal(depth(path), expected)


def test_a_broken_weight_that_was_not_read_is_named_by_the_prediction(mapped: None, ours: Path, tmp_path: Path) -> None:
    tensors = load_file(ours)
    name = "unet.mid_block.attentions.0.proj_in.weight"
    tensors[name].view(-1)[5] = float("nan")
    path = tmp_path / "nan.safetensors"
    write_tensors(path, tensors, read_header(ours).metadata)
    with pytest.raises(lotus.LotusError, match=rf"NaN or infinite weights \({re.escape(name)}\)"):
        depth(path)
    with pytest.raises(lotus.LotusError, match=rf"NaN or infinite weights .*{re.escape(name)}"):
        lotus.load_model(path, "cpu", "float16")


def test_a_file_in_use_that_cannot_be_replaced_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows locks mapped files; elsewhere the refusal has to be made up."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Access is denied")))
    with pytest.raises(lotus.LotusError, match=r"in use; close what uses it"), atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.safetensors"]


DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.float64)


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.lists(
        st.tuples(st.lists(st.integers(0, 9), max_size=4), st.sampled_from(DTYPES)), min_size=1, max_size=8
    ),
    note=st.text(max_size=30),
)
def test_what_is_written_is_read_by_safetensors_and_begins_aligned(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[list[int], torch.dtype]], note: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.safetensors"
    tensors = {f"t{number}": (torch.rand(shape) * 9).to(dtype) for number, (shape, dtype) in enumerate(shapes)}
    write_tensors(path, tensors, {"note": note})
    back = load_file(path)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    header = read_header(path)
    assert header.metadata == {"note": note}
    for entry in header.tensors.values():
        if (entry.end - entry.begin) % reading.ALIGNMENT == 0:
            assert (header.data_begin + entry.begin) % reading.ALIGNMENT == 0
