"""Our single file, what it must refuse, and how names become models."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lotus_core as lotus
from lotus_core.checkpoints import list_models, read_header, save_model
from lotus_core.checkpoints.registry import near_matches
from lotus_core.errors import LotusError

from .models import refusal, tiny_model

PHOTO = np.random.default_rng(0).random((40, 56, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "made.safetensors"
    save_model(tiny_model("g"), path)
    return path


def stored_bytes(path: Path) -> int:
    """Of the tensors in a file."""
    return sum(entry.end - entry.begin for entry in read_header(path).tensors.values())


def test_eight_bits_halve_the_file_and_err_by_half_a_step(tmp_path: Path) -> None:
    model = tiny_model("g")
    for name, dtype in (("half", torch.float16), ("eighth", torch.int8)):
        save_model(model, tmp_path / f"{name}.safetensors", dtype)
    half, eighth = (tmp_path / f"{name}.safetensors" for name in ("half", "eighth"))
    assert stored_bytes(eighth) < 0.6 * stored_bytes(half)
    back = lotus.load_model(eighth, device="cpu")
    assert back.info == model.info
    stored = {entry.dtype for entry in read_header(eighth).tensors.values()}
    assert stored == {"I8", "F16", "F32"}
    for (name, tensor), again in zip(model.state_dict().items(), back.state_dict().values(), strict=True):
        rows, found = (x.flatten(1) if x.ndim > 1 else x[None] for x in (tensor, again))
        largest = rows.abs().amax(1, keepdim=True)
        assert bool(((rows - found).abs() <= largest * (1 / 254 + 1e-6)).all()), name
    exact, near = (lotus.LotusPredictor(m).depth(PHOTO).values for m in (model, back))
    assert 0 < np.abs(near - exact).max() < 0.05


def test_an_eight_bit_file_with_a_broken_scale_is_refused(tmp_path: Path) -> None:
    save_model(tiny_model("g"), tmp_path / "m.safetensors", torch.int8)
    tensors = load_file(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors["unet.conv_in.weight.int8_scale"][0] = torch.nan
    save_file(tensors, tmp_path / "broken.safetensors", metadata)
    with pytest.raises(LotusError, match=r"NaN or infinite weights \(unet\.conv_in\.weight\.int8_scale\)"):
        lotus.load_model(tmp_path / "broken.safetensors", device="cpu")


@pytest.mark.parametrize("variant", ["g", "d"])
def test_a_model_survives_its_file_to_the_bit_in_full_precision(tmp_path: Path, variant: str) -> None:
    model = tiny_model(variant)
    save_model(model, tmp_path / "m.safetensors", dtype=torch.float32)
    back = lotus.load_model(tmp_path / "m.safetensors", device="cpu")
    assert back.info == model.info
    assert not back.training
    ours, theirs = (lotus.LotusPredictor(m).depth(PHOTO).values for m in (model, back))
    np.testing.assert_array_equal(ours, theirs)


def test_half_precision_is_the_default_on_disk_and_float32_on_the_cpu(saved: Path) -> None:
    header = read_header(saved)
    assert {entry.dtype for entry in header.tensors.values()} == {"F16"}
    assert stored_bytes(saved) == 2 * sum(tensor.numel() for tensor in tiny_model().state_dict().values())
    model = lotus.load_model(saved, device="cpu")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    half = lotus.load_model(saved, device="cpu", dtype="bf16")
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.bfloat16}
    exact = lotus.LotusPredictor(tiny_model()).depth(PHOTO).values
    assert 0 < np.abs(lotus.LotusPredictor(model).depth(PHOTO).values - exact).max() < 1e-2


def test_the_header_says_what_the_file_is(saved: Path) -> None:
    header = read_header(saved)
    facts = {key: header.metadata[key] for key in ("format", "format_version", "name", "task", "variant", "space")}
    assert facts == {
        "format": "lotus-geometry",
        "format_version": "1",
        "name": "tiny-depth-g",
        "task": "depth",
        "variant": "g",
        "space": "disparity",
    }
    assert header.metadata["resolution"] == "48"
    assert json.loads(header.metadata["unet_config"])["_class_name"] == "UNet2DConditionModel"
    assert json.loads(header.metadata["scheduler_config"]) == {"beta_start": 0.00085}
    assert json.loads(header.metadata["training"]) == {"seed": 7}
    assert header.parameters("unet.") == sum(p.numel() for p in tiny_model().unet.parameters())


def test_saving_over_a_file_replaces_it_whole_and_leaves_nothing_else(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    shutil.copy(saved, target)
    save_model(tiny_model("d"), target)
    assert read_header(target).metadata["variant"] == "d"
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").unlink()
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_model_that_went_nan_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model("d")
    with torch.no_grad():
        model.unet.conv_in.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(lotus.LotusError, match=r"not finite .*unet\.conv_in\.weight"):
        save_model(model, tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file_alone(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    target.write_bytes(b"old")
    child = os.fork()
    if child == 0:  # the limit on file size is the nearest thing to a full disk that needs no mount
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            save_model(tiny_model("d"), target)
        except lotus.LotusError as error:
            os._exit(0 if str(target) in str(error) else 3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_nan_and_infinite_weights_are_refused_by_name(saved: Path, tmp_path: Path) -> None:
    metadata = read_header(saved).metadata
    for value in (float("nan"), float("inf")):
        tensors = load_file(saved)
        tensors["vae.decoder.conv_in.weight"][1, 1, 1, 1] = value
        save_file(tensors, tmp_path / "nan.safetensors", metadata)
        assert "NaN or infinite weights (vae.decoder.conv_in.weight)" in refusal(tmp_path / "nan.safetensors")


def test_weights_too_large_for_half_precision_say_so(saved: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.float() for name, tensor in load_file(saved).items()}
    tensors["unet.conv_in.bias"][0] = 1e6
    save_file(tensors, tmp_path / "large.safetensors", read_header(saved).metadata)
    assert "float32" in refusal(tmp_path / "large.safetensors", dtype="fp16")


def test_missing_unexpected_and_misshaped_tensors_are_named_at_most_five_each(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved)
    gone = sorted(name for name in tensors if name.startswith("unet.mid_block"))
    for name in gone:
        del tensors[name]
    tensors["unet.extra"] = torch.zeros(1)
    tensors["unet.conv_out.bias"] = torch.zeros(9)
    save_file(tensors, tmp_path / "other.safetensors", read_header(saved).metadata)
    message = refusal(tmp_path / "other.safetensors")
    assert f"{len(gone)} missing" in message
    assert message.count("mid_block") == 5
    assert "1 unexpected (extra)" in message
    assert "1 misshaped (conv_out.bias is 9, not 4)" in message


def test_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    named = tmp_path / "model.ckpt"
    named.write_bytes(pickle.dumps(Evil()))
    disguised = tmp_path / "model.safetensors"
    disguised.write_bytes(pickle.dumps(Evil()))
    zipped = tmp_path / "zipped.safetensors"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    for path in (named, disguised, zipped):
        assert f"`lotus convert {path.name} {path.stem}.safetensors`" in refusal(path)
    assert not (tmp_path / "opened").exists()


def header_file(content: object, data: bytes = b"") -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (bytes(4096), "not a usable safetensors file"),
        (b"hello", "not a usable safetensors file"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (struct.pack("<Q", 2**62) + b"{}", "claims a header of 4,611,686,018,427,387,904 bytes"),
        (header_file(b"{]"), "header is damaged"),
        (header_file(b"{" + b'"a":[' * 50_000), "header is damaged"),
        (header_file({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)), "header is damaged"),
        (header_file(b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 8]}}', bytes(8)), "is damaged"),
        (header_file({"a": {**TENSOR, "dtype": "Q4"}}, bytes(8)), "header is damaged"),
        (header_file({"a": TENSOR}, bytes(7)), "cut off: its header promises 8 bytes of which 7 are there"),
        (header_file({"a": TENSOR}, bytes(8)), "not a Lotus checkpoint but holds 1 tensors of another model (a)"),
        (header_file({}), "no tensors"),
        (header_file({"__metadata__": {"format": "lotus-geometry", "format_version": "9"}}), "upgrade"),
        (header_file({"__metadata__": {"format": "lotus-geometry", "format_version": "1"}}), "lacks 'name'"),
        (header_file({"down_blocks.0.resnets.0.conv1.weight": TENSOR}, bytes(8)), "no task switcher, as Lotus has it"),
        (header_file({"encoder.conv_in.weight": TENSOR}, bytes(8)), "pass it with --vae"),
        (header_file(b'{"a": %s, "a": %s}' % ((json.dumps(TENSOR).encode(),) * 2), bytes(8)), "1 names twice: a"),
        (header_file({"a": TENSOR, "b": TENSOR}, bytes(8)), "tensors overlap or leave gaps"),
        (header_file({"a": {**TENSOR, "data_offsets": [8, 16]}}, bytes(16)), "tensors overlap or leave gaps"),
        (header_file({"a": {**TENSOR, "data_offsets": [-8, 0]}}, bytes(8)), "header is damaged"),
        (header_file({"a": {**TENSOR, "shape": [-2]}}, bytes(8)), "header is damaged"),
        (header_file({"a": {**TENSOR, "shape": [2**70, 0], "data_offsets": [0, 0]}}), "not a Lotus checkpoint"),
        (header_file([1, 2]), "does not start with a safetensors header"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_its_reason(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert complaint in refusal(path)


def test_a_truncated_checkpoint_is_refused_wherever_it_ends(saved: Path, tmp_path: Path) -> None:
    whole, path = saved.read_bytes(), tmp_path / "cut.safetensors"
    for length in (3, 8, 9, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(path)


@settings(max_examples=40, deadline=None)
@given(position=st.floats(0, 1), value=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(
    position: float, value: int, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(saved.read_bytes())
    length = struct.unpack("<Q", content[:8])[0]
    content[int(position * (8 + length - 1))] = value
    path = tmp_path_factory.mktemp("damaged") / "d.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(lotus.LotusError):
        lotus.load_model(path, device="cpu")


def test_config_of_another_class_is_refused(saved: Path, tmp_path: Path) -> None:
    metadata = read_header(saved).metadata
    for key, value in (
        ("unet_config", '{"_class_name": "FluxTransformer2DModel"}'),
        ("vae_config", '{"_class_name": "AutoencoderKL", "block_out_channels": [7]}'),
        ("unet_config", "not json"),
        ("resolution", "many"),
    ):
        save_file(load_file(saved), tmp_path / "m.safetensors", {**metadata, key: value})
        assert "m.safetensors" in refusal(tmp_path / "m.safetensors")


def test_unknown_names_get_near_matches_and_the_list() -> None:
    message = refusal("lotus-normal-g-v11")
    assert "did you mean jingheya/lotus-normal-g-v1-1" in message
    assert "`lotus models`" in message
    assert refusal("xyzzy") == "There is no model 'xyzzy': `lotus models` lists what is available."
    assert refusal("missing.safetensors") == "There is no file missing.safetensors."
    assert near_matches("Lotus-Depth-D-V1-0")[0] == "jingheya/lotus-depth-d-v1-0"


def test_embedded_models_are_listed_by_name_with_their_meaning() -> None:
    for name, header in list_models().items():
        assert header.metadata["name"] == name
        assert header.metadata["task"] in ("depth", "normal")


def test_device_and_precision_that_do_not_exist_are_refused(saved: Path) -> None:
    with pytest.raises(lotus.LotusError, match="no device 'quantum'"):
        lotus.load_model(saved, device="quantum")
    assert "no precision 'fp12'" in refusal(saved, dtype="fp12")
    assert "(depth as disparity, not normal): leave the task out (in a shell --task)" in refusal(saved, task="normal")
    assert lotus.load_model(saved, device="cpu", task="depth", space="disparity").info.space == "disparity"
