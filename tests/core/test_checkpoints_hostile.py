"""Files that somebody damaged, or made to harm: one sentence each, no crash, nothing of theirs is run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import lotus_core as lotus
from benchmarks.layouts import ldm_autoencoder, ldm_unet
from lotus_core.checkpoints import read_header

from .limits import files_of_at_most
from .models import official_folder, refusal, wide_autoencoder, wide_unet

NAME = "lotus-normal-d-v1-1"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
PROMPT = torch.zeros(1, 2, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_folder(tmp_path_factory.mktemp("hostile") / NAME, "d", wide=True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The U-Net and the autoencoder, each in LDM names."""
    at = tmp_path_factory.mktemp("bare")
    save_file(ldm_unet(wide_unet("d").state_dict(), 2), at / f"{NAME}.safetensors")
    save_file(ldm_autoencoder(wide_autoencoder().state_dict()), at / "vae.safetensors")
    return {"unet": at / f"{NAME}.safetensors", "vae": at / "vae.safetensors"}


def sharded(folder: Path, target: Path, weight_map: dict[str, Any]) -> Path:
    """A copy whose U-Net is in shards, with this list of them."""
    shutil.copytree(folder, target)
    whole = target / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    half = len(tensors) // 2
    whole.unlink()
    save_file(dict(list(tensors.items())[:half]), target / "unet" / "one.safetensors")
    save_file(dict(list(tensors.items())[half:]), target / "unet" / "two.safetensors")
    (target / "unet" / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return target


@pytest.mark.parametrize(
    "shard",
    [
        "../vae/diffusion_pytorch_model.safetensors",
        "/etc/passwd",
        "..\\secret.safetensors",
        "C:secret.safetensors",
        "..",
        "",
        "model.bin",
        "nul\0.safetensors",
        7,
        ["one.safetensors"],
        None,
    ],
)
def test_an_index_names_only_files_beside_itself(folder: Path, tmp_path: Path, shard: Any) -> None:
    target = sharded(folder, tmp_path / NAME, {"conv_in.weight": "one.safetensors", "conv_in.bias": shard})
    message = refusal(target)
    assert INDEX in message
    assert "names files that are not safetensors beside it" in message


def test_shards_that_are_missing_or_repeat_tensors_are_named(folder: Path, tmp_path: Path) -> None:
    good = {"a": "one.safetensors", "b": "two.safetensors"}
    assert lotus.load_model(sharded(folder, tmp_path / "good" / NAME, good), "cpu").info.task == "normal"
    gone = sharded(folder, tmp_path / "gone" / NAME, {**good, "c": "three.safetensors"})
    assert "There is no file" in refusal(gone)
    assert "three.safetensors" in refusal(gone)
    repeated = sharded(folder, tmp_path / "repeated" / NAME, {**good, "c": "three.safetensors"})
    shutil.copy(repeated / "unet" / "two.safetensors", repeated / "unet" / "three.safetensors")
    message = refusal(repeated)
    assert "tensors twice" in message
    assert message.count("_blocks.") <= 5
    half = sharded(folder, tmp_path / "half" / NAME, {"a": "one.safetensors"})
    assert " missing (" in refusal(half)
    (half / "unet" / INDEX).write_text("[" * 100_000)
    assert "cannot be read as a JSON object" in refusal(half)


def test_pickles_in_a_folder_are_not_opened(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        for suffix in (".bin", ".safetensors"):
            target = tmp_path / part / suffix / NAME
            shutil.copytree(folder, target)
            (target / part / f"{name}.safetensors").unlink()
            (target / part / f"{name}{suffix}").write_bytes(pickle.dumps(Evil()))
            message = refusal(target)
            assert "pickle" in message or "cannot be used" in message, message
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('{"_class_name": "os.system"}', "describes a os.system"),
        ('{"_class_name": "UNet2DConditionModel", "block_out_channels": [1000000000]}', "cannot be built"),
        ('{"_class_name": "UNet2DConditionModel", "down_block_types": ["__import__"]}', "cannot be built"),
        ('{"_class_name": "UNet2DConditionModel", "sample_size": 1e999}', "missing"),
        ("[" * 100_000, "cannot be read as a JSON object"),
        ("\x00", "cannot be read as a JSON object"),
    ],
)
def test_configs_that_describe_something_else(folder: Path, tmp_path: Path, config: str, complaint: str) -> None:
    target = tmp_path / NAME
    shutil.copytree(folder, target)
    (target / "unet" / "config.json").write_text(config)
    assert complaint in refusal(target)


def test_a_tokenizer_with_code_of_its_own_runs_nothing(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / NAME
    shutil.copytree(folder, target)
    (target / "tokenizer" / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'opened')!r})\nclass T: pass\n")
    for part, file in (("tokenizer", "tokenizer_config.json"), ("text_encoder", "config.json")):
        path = target / part / file
        config = json.loads(path.read_text())
        config["auto_map"] = {"AutoTokenizer": ["evil.T", None], "AutoModel": "evil.T"}
        path.write_text(json.dumps(config))
    with contextlib.suppress(lotus.LotusError):
        lotus.load_model(target, "cpu")
    assert not (tmp_path / "opened").exists()


def test_a_damaged_cache_of_the_prompt_is_made_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTUS_CACHE", str(tmp_path))
    expected = lotus.load_model(folder, "cpu").prompt_embeds
    (kept,) = (tmp_path / "prompts").iterdir()
    for content in (b"", b"damaged", pickle.dumps([1]), kept.read_bytes()[:-8]):
        kept.write_bytes(content)
        assert torch.equal(lotus.load_model(folder, "cpu").prompt_embeds, expected)
    monkeypatch.setenv("LOTUS_CACHE", str(kept))  # a file in place of the folder: nothing can be kept
    assert torch.equal(lotus.load_model(folder, "cpu").prompt_embeds, expected)
    monkeypatch.setenv("LOTUS_CACHE", str(tmp_path / "full"))
    with files_of_at_most(100):
        assert torch.equal(lotus.load_model(folder, "cpu").prompt_embeds, expected)
    assert list((tmp_path / "full" / "prompts").iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data(), part=st.sampled_from(["unet", "vae"]))
def test_damaged_bytes_anywhere_are_refused_or_harmless(
    data: st.DataObject, part: str, bare: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes of the header changed, removed or inserted, the file cut or grown: LotusError or a model, nothing else."""
    content = bytearray(bare[part].read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, header - 1))
        change = data.draw(st.sampled_from(["set", "insert", "remove", "cut", "grow"]))
        junk = data.draw(st.binary(min_size=1, max_size=6))
        if change == "set":
            content[at : at + len(junk)] = junk
        elif change == "insert":
            content[at:at] = junk
        elif change == "remove":
            del content[at : at + len(junk)]
        elif change == "cut":
            del content[data.draw(st.integers(0, len(content))) :]
        else:
            content += junk
    path = tmp_path_factory.mktemp("fuzz") / bare[part].name
    path.write_bytes(content)
    files = {**bare, part: path}
    try:
        lotus.load_model(files["unet"], "cpu", vae=files["vae"], prompt_embeds=PROMPT, task="normal")
    except lotus.LotusError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_headers_that_are_json_but_lie_are_refused_or_harmless(
    data: st.DataObject, bare: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Names, shapes, precisions and places of some tensors replaced by other values of JSON."""
    content = bare["unet"].read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + length])
    junk = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
        st.lists(st.integers(-2, 2**40), max_size=5), st.sampled_from(["F16", "BOOL", "F8_E4M3", "U64", "I32"]),
    )  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(entries)))
        if isinstance(entries[name], dict) and data.draw(st.booleans()):
            entries[name][data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = data.draw(junk)
        elif data.draw(st.booleans()):
            entries[data.draw(st.text(max_size=40))] = entries.pop(name)
        else:
            entries[name] = data.draw(junk)
    text = json.dumps(entries).encode()
    path = tmp_path_factory.mktemp("lies") / bare["unet"].name
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    with contextlib.suppress(lotus.LotusError):
        lotus.load_model(path, "cpu", vae=bare["vae"], prompt_embeds=PROMPT, task="normal")
    with contextlib.suppress(lotus.LotusError):
        read_header(path)
