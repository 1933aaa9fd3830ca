"""Shards for training made by `lotus batch`: latents and samples, resumable, and read in streams."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from lotus_core.cli import main
from lotus_core.data.cache import SceneCache, packed, render_cache
from lotus_core.data.mixture import MixtureSchedule
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError
from lotus_core.training import latents
from lotus_core.training.trainer import train_model

from .batches import journal, manifest, times_done
from .limits import files_of_at_most
from .training_runs import HEIGHT, WIDTH, losses, run_config

CONFIG = """
[model]
name = "tiny"
task = "depth"
autoencoder = "{folder}/autoencoder"
cross_attention_dim = 16
[model.unet]
block_out_channels = [16, 32]
down_block_types = ["CrossAttnDownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "CrossAttnUpBlock2D"]
layers_per_block = 1
attention_head_dim = [2, 4]
norm_num_groups = 8
[data]
[[data.sources]]
name = "cache"
path = "{folder}/scenes"
[optim]
steps = 4
batch_size = 2
lr = 1e-3
threads = 1
[output]
dir = "{out}/run"
"""


@pytest.fixture(scope="module")
def config(ingredients: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "train.toml"
    path.write_text(CONFIG.format(folder=ingredients.as_posix(), out=path.parent.as_posix()))
    return str(path)


def test_latents_made_by_a_batch_train_as_those_encoded_on_the_fly(
    ingredients: Path, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "SHARD", 3)
    out = tmp_path / "latents"
    for shard in ("1/2", "2/2"):  # as two jobs of an array
        assert main(["batch", config, str(out), "--task", "latents", "--shard", shard, "--quiet"]) == 0
    assert sorted(times_done(out)) == [
        f"source-0/latents-{a:07d}-{b:07d}.safetensors" for a, b in ((0, 3), (3, 6), (6, 8))
    ]
    assert main(["batch", config, str(out), "--task", "latents", "--quiet"]) == 0
    assert set(times_done(out).values()) == {1}

    encoded: list[int] = []
    encode = latents.encode_batch
    monkeypatch.setattr(latents, "encode_batch", lambda *args: encoded.append(1) or encode(*args))
    train_model(run_config(ingredients, tmp_path / "live"))
    train_model(run_config(ingredients, tmp_path / "made", data={"latents": str(out)}))
    assert not encoded
    assert losses(tmp_path / "made") == pytest.approx(losses(tmp_path / "live"), rel=2e-3)  # float16 keeps 11 bits
    train_model(run_config(ingredients, tmp_path / "own", data={"cache_latents": True}))
    assert losses(tmp_path / "own") == losses(tmp_path / "made")  # the same bytes, whoever made them
    with pytest.raises(LotusError, match="made of other data, for another task"):
        train_model(run_config(ingredients, tmp_path / "x", model={"task": "normal"}, data={"latents": str(out)}))
    next(out.glob("source-0/*-0000006-*")).unlink()
    with pytest.raises(LotusError, match=r"Latents are missing: \S*0000006\S*: make them with lotus batch"):
        train_model(run_config(ingredients, tmp_path / "y", data={"latents": str(out)}))


@pytest.mark.parametrize("option", [["--res", "99"], ["--video", "ffv1"], ["--no-previews"], ["--device", "cpu"]])
def test_options_of_pictures_are_refused_where_a_config_says_all(
    ingredients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    toml = tmp_path / "train.toml"
    toml.write_text(CONFIG.format(folder=ingredients.as_posix(), out=tmp_path.as_posix()))
    assert main(["batch", str(toml), str(tmp_path / "out"), "--task", "samples", *option]) == 2
    assert f"the config says all: leave out {option[0]}." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_a_sentence(ingredients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = tmp_path / "train.toml"
    toml.write_text(CONFIG.format(folder=ingredients.as_posix(), out=tmp_path.as_posix()))
    with files_of_at_most(20_000):
        assert main(["batch", str(toml), str(tmp_path / "out"), "--task", "samples", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "Cannot write" in said
    assert len(said.splitlines()) == 1
    assert list((tmp_path / "out").rglob("*.safetensors")) == []


def test_latents_of_other_data_of_the_same_name_and_size_are_refused(ingredients: Path, tmp_path: Path) -> None:
    """Made by a batch or by a run, latents belong to the content of a data set, not to its place."""
    for name, seed in (("first", 5), ("second", 6)):
        render_cache(tmp_path / name / "scenes", SyntheticScenes(8, HEIGHT, WIDTH, seed=seed, textures=None))
        shutil.copytree(ingredients / "autoencoder", tmp_path / name / "autoencoder")
    toml = tmp_path / "train.toml"
    toml.write_text(CONFIG.format(folder=(tmp_path / "first").as_posix(), out=tmp_path.as_posix()))
    out = tmp_path / "latents"
    assert main(["batch", str(toml), str(out), "--task", "latents", "--quiet"]) == 0

    def train(data: str, folder: str, **more: Any) -> dict[int, float]:
        train_model(run_config(tmp_path / data, tmp_path / folder, data={**scenes(tmp_path / data), **more}))
        return losses(tmp_path / folder)

    made = train("first", "made", latents=str(out))
    with pytest.raises(LotusError, match="was made of other data"):
        train("second", "other", latents=str(out))
    shutil.copytree(tmp_path / "first" / "scenes", tmp_path / "moved" / "another name")
    moved = {"sources": [{"name": "cache", "path": str(tmp_path / "moved" / "another name")}]}
    assert train("first", "moved-run", **moved, latents=str(out)) == made

    own = train("first", "own", cache_latents=True)
    assert own == made
    shutil.rmtree(tmp_path / "own" / "checkpoints")
    shutil.copytree(tmp_path / "second" / "scenes", tmp_path / "first" / "scenes", dirs_exist_ok=True)  # rendered anew
    again = train("first", "own", cache_latents=True)
    assert again == train("second", "second-run", cache_latents=True) != own


def test_shards_follow_the_data_and_not_the_text_of_the_config(
    ingredients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latents, "SHARD", 3)
    folder, toml, out = tmp_path / "in", tmp_path / "train.toml", tmp_path / "latents"
    shutil.copytree(ingredients, folder)
    text = CONFIG.format(folder=folder.as_posix(), out=tmp_path.as_posix())
    toml.write_text(text)

    def make() -> tuple[int, set[str]]:
        """How many shards have been made so far, and the spans that are there."""
        assert main(["batch", str(toml), str(out), "--task", "latents", "--quiet"]) == 0
        files = sorted(out.glob("source-0/*.safetensors"))
        assert sorted(manifest(out)["items"]) == [path.relative_to(out).as_posix() for path in files]
        return sum(times_done(out).values()), {path.stem.removeprefix("latents-") for path in files}

    spans = {"0000000-0000003", "0000003-0000006", "0000006-0000008"}
    assert make() == (3, spans)
    open_to_all = tmp_path / "open"
    open_to_all.touch()
    for path in out.glob("source-0/*.safetensors"):
        assert path.stat().st_mode == open_to_all.stat().st_mode
    toml.write_text(text.replace("lr = 1e-3", "lr = 5e-4"))
    assert make() == (3, spans)
    scenes_of(folder / "scenes", 8, seed=6)  # other scenes in as many files of the same names
    assert make() == (6, spans)
    scenes_of(folder / "scenes", 10, seed=6)
    assert make() == (10, {"0000000-0000003", "0000003-0000006", "0000006-0000009", "0000009-0000010"})
    train_model(run_config(folder, tmp_path / "run", data={"latents": str(out)}))

    shutil.copytree(folder / "scenes", tmp_path / "other" / "scenes")
    other = {"path": f"{folder.as_posix()}/scenes", "task": "depth"}
    for key, value in (("path", f"{tmp_path.as_posix()}/other/scenes"), ("task", "normal")):
        toml.write_text(text.replace(f'{key} = "{other[key]}"', f'{key} = "{value}"'))
        assert main(["batch", str(toml), str(out), "--task", "latents", "--quiet"]) == 2
        assert f"{out} holds a batch with " in capsys.readouterr().err
    toml.write_text(text)
    assert main(["batch", str(toml), str(out), "--task", "samples", "--quiet"]) == 2
    assert "holds a batch with " in capsys.readouterr().err


def scenes_of(folder: Path, count: int, seed: int) -> None:
    shutil.rmtree(folder)
    render_cache(folder, SyntheticScenes(count, HEIGHT, WIDTH, seed=seed, textures=None))


def scenes(folder: Path) -> dict[str, Any]:
    return {"sources": [{"name": "cache", "path": str(folder / "scenes")}]}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LotusError("frame.0005.hdf5 is damaged."), "frame.0005.hdf5 is damaged"),
        (SafetensorError("incomplete metadata"), "A file of the data is damaged (incomplete metadata)"),
    ],
)
def test_a_sample_that_cannot_be_read_fails_its_shard_and_no_other(
    error: Exception,
    said: str,
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(latents, "SHARD", 4)
    read = SceneCache.__getitem__

    def damaged(self: SceneCache, index: int) -> Any:
        if index == 5:
            raise error
        return read(self, index)

    monkeypatch.setattr(SceneCache, "__getitem__", damaged)
    out = tmp_path / "out"
    assert main(["batch", config, str(out), "--task", "latents", "--quiet"]) == 2
    assert said in capsys.readouterr().err
    assert ["done" if "done" in line else "failed" for line in journal(out) if "run" not in line] == ["done", "failed"]


def test_samples_are_packed_and_read_back(ingredients: Path, config: str, tmp_path: Path) -> None:
    out = tmp_path / "samples"
    assert main(["batch", config, str(out), "--task", "samples", "--quiet"]) == 0
    before, after = SceneCache(ingredients / "scenes"), SceneCache(out / "source-0")
    assert len(after) == len(before) == 8
    for index in (0, 7):
        one, two = before[index], after[index]
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.depth, two.depth)
        assert torch.equal(one.valid, two.valid)
    assert packed([before[0]])["normals"].dtype == torch.int8


def test_streams_read_every_sample_once_and_a_few_shards_at_a_time() -> None:
    schedule = MixtureSchedule([1000], [1], 10, seed=3, shard=50)
    for epoch in range(2):
        order = np.concatenate([schedule.batch(step)[1] for step in range(epoch * 100, epoch * 100 + 100)])
        assert sorted(order) == list(range(1000))
        shards = [set((order[first : first + 200] // 50).tolist()) for first in range(0, 1000, 200)]
        assert [len(group) for group in shards] == [4] * 5  # four shards are open at a time, each once an epoch
        assert len(set(order[:50] // 50)) == 4  # and mixed


def test_shards_and_maps_are_not_confused(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(config, tmp_path / "photo.jpg")
    for source, more in ((config, []), (str(tmp_path), ["--task", "latents"])):
        assert main(["batch", source, str(tmp_path / "out"), *more]) == 2
        assert "are made of a training config (.toml), and maps of pictures" in capsys.readouterr().err


def test_the_accelerate_configs_train_on_two_processes(ingredients: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    from accelerate.commands.config.config_args import load_config_from_file

    folder = Path(__file__).resolve().parents[2] / "configs" / "accelerate"
    processes = {path.name: load_config_from_file(str(path)).num_processes for path in sorted(folder.glob("*.yaml"))}
    assert processes == {"cpu.yaml": 2, "multi-gpu.yaml": 8, "multi-node.yaml": 32}
    path = tmp_path / "train.toml"
    text = CONFIG.format(folder=ingredients.as_posix(), out=tmp_path.as_posix())
    text = text.replace("steps = 4", "steps = 10").replace(f"{tmp_path.as_posix()}/run", f"{tmp_path.as_posix()}/two")
    path.write_text(f"{text}[log]\nevery = 1\n")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(folder / "cpu.yaml")]
    launch += ["-m", "lotus_core", "train", str(path)]
    subprocess.run(launch, check=True, capture_output=True, timeout=300)
    one = run_config(
        ingredients, tmp_path / "one", optim={"batch_size": 4, "steps": 10}, log={"checkpoint_every": 1000}
    )
    train_model(one)
    curve = losses(tmp_path / "two")
    assert sorted(curve) == list(range(1, 11))
    assert curve == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
