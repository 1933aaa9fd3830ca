"""How a run ends and goes on: stopped, beside another one, from moved or damaged files, and readable by others."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import stat
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from lotus_core.checkpoints import load_model, save_model
from lotus_core.cli import main
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError
from lotus_core.training import latents
from lotus_core.training.autoencoder import train_autoencoder
from lotus_core.training.base import build_model
from lotus_core.training.checks import check_same_run
from lotus_core.training.config import RunConfig
from lotus_core.training.sources import SampleItems, open_source
from lotus_core.training.state import checkpoints
from lotus_core.training.trainer import train_model

from .training_runs import autoencoder_config, losses, run_config, table, write_toml

FORK = multiprocessing.get_context("fork")


def command(arguments: list[str], errors: Path) -> None:
    with errors.open("w") as sys.stderr:
        code = main(arguments)
    sys.exit(code)


def test_a_stopped_run_says_so_and_is_not_taken_for_a_finished_one(ingredients: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "run.toml"
    optim, log = {"steps": 100_000, "schedule": "constant"}, {"checkpoint_every": 100_000}
    write_toml(table(ingredients, run, optim=optim, log=log), config)
    child = FORK.Process(target=command, args=(["train", str(config)], tmp_path / "stderr"))
    child.start()
    while not ((run / "log.jsonl").exists() and max(losses(run), default=0) >= 3):
        time.sleep(0.01)
    with pytest.raises(LotusError, match="Another lotus train is running in"):
        train_model(run_config(ingredients, run), resume=True)
    child.terminate()
    child.join(30)
    assert child.exitcode == 130
    (saved,) = checkpoints(run / "checkpoints")
    step = max(losses(run))
    assert saved.name == f"step-{step:08d}"
    said = (tmp_path / "stderr").read_text().splitlines()
    assert f"lotus: Training stopped at step {step} of 100000" in said[0]
    assert said[0].endswith("go on with lotus train --resume.")
    train_model(run_config(ingredients, run, optim={**optim, "steps": step + 1}), resume=True)  # the folder is free
    assert max(losses(run)) == step + 1


def test_a_base_that_stopped_half_way_is_noticed(
    ingredients: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = train_model(run_config(ingredients, tmp_path / "run", optim={"steps": 2}))
    model = {"base": str(path), "unet": {}, "autoencoder": "", "cross_attention_dim": 64}
    run = run_config(ingredients, tmp_path / "next", model=model)
    with caplog.at_level(logging.WARNING):
        build_model(run, 48)
        assert not caplog.messages
        half = load_model(path, device="cpu")
        half.info.training["config"]["optim"]["steps"] = 9
        save_model(half, path)
        build_model(run, 48)
    assert caplog.messages == [f"{path} was trained for 2 of its 9 steps: finish it with lotus train --resume."]


def test_dropout_goes_on_where_it_stopped(ingredients: Path, tmp_path: Path) -> None:
    model = table(ingredients, tmp_path)["model"]
    model["unet"] = {**model["unet"], "dropout": 0.3}

    def run(folder: str, steps: int) -> RunConfig:
        optim = {"steps": steps, "schedule": "constant", "gradient_accumulation": 2}
        return run_config(ingredients, tmp_path / folder, model=model, optim=optim)

    train_model(run("whole", 4))
    train_model(run("parts", 2))
    train_model(run("parts", 4), resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    model["unet"]["dropout"] = 0.0
    train_model(run("none", 1))
    assert losses(tmp_path / "none")[1] != losses(tmp_path / "whole")[1]


def test_lists_of_frames_and_textures_may_move_with_the_data(ingredients: Path, tmp_path: Path) -> None:
    def run(folder: str) -> RunConfig:
        hypersim = {"name": "hypersim", "path": f"{folder}/data", "split_csv": f"{folder}/split.csv"}
        scenes = {"name": "synthetic", "count": 2, "textures": f"{folder}/photos"}
        return run_config(ingredients, tmp_path, data={"sources": [hypersim, scenes]})

    def state(of: RunConfig) -> dict[str, object]:
        return {"config": json.loads(json.dumps(asdict(of)))}

    check_same_run(run("/new"), ["a", "b"], state(run("/old")) | {"content": ["a", "b"]}, tmp_path)
    with pytest.raises(LotusError, match="holds other files"):
        check_same_run(run("/new"), ["a", "c"], state(run("/old")) | {"content": ["a", "b"]}, tmp_path)


def test_latents_are_the_same_wherever_the_textures_lie(ingredients: Path, tmp_path: Path) -> None:
    keys = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        Image.new("RGB", (8, 8), "teal").save(tmp_path / place / "a.png")
        source = {"name": "synthetic", "count": 2, "height": 32, "width": 48, "textures": str(tmp_path / place)}
        run = run_config(ingredients, tmp_path, data={"sources": [source]})
        items = SampleItems([open_source(run.data.sources[0])], "depth", "disparity")
        keys += latents.source_keys(items, build_model(run, 48), run)
    assert keys[0] == keys[1]
    shard = tmp_path / "shard.safetensors"
    latents.write_shard(shard, keys[0], iter([]))
    older = json.loads(keys[0])
    older["source"]["textures"] = "elsewhere"  # as versions before kept it
    save_file({}, shard, {"key": json.dumps(older)})
    assert latents._made_of(shard, keys[1])


def test_damaged_latents_are_made_anew_or_named(ingredients: Path, tmp_path: Path) -> None:
    data = {"cache_latents": True}
    train_model(run_config(ingredients, tmp_path / "run", data=data, optim={"steps": 2, "schedule": "constant"}))
    (shard,) = (tmp_path / "run" / "latents").rglob("*.safetensors")
    whole = load_file(shard)
    shutil.copytree(tmp_path / "run" / "latents", tmp_path / "shared")
    for path in (shard, tmp_path / "shared" / "source-0" / shard.name):
        os.truncate(path, path.stat().st_size // 2)
    train_model(run_config(ingredients, tmp_path / "run", data=data, optim={"steps": 3}), resume=True)
    assert load_file(shard).keys() == whole.keys()
    with pytest.raises(LotusError, match=r"The latents .*shared.* cannot be read .*: delete the file"):
        train_model(run_config(ingredients, tmp_path / "other", data={"latents": str(tmp_path / "shared")}))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_is_stood_in_for_and_several_are_named(
    ingredients: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = SyntheticScenes.__getitem__
    damaged = {3}

    def item(self: SyntheticScenes, index: int) -> object:
        if index in damaged:
            raise LotusError(f"Cannot read the picture {index}.png: it is torn.")
        return read(self, index)

    monkeypatch.setattr(SyntheticScenes, "__getitem__", item)
    source = {"name": "synthetic", "count": 8, "height": 32, "width": 48, "textures": "public"}
    data = {"sources": [source], "validation": [], "workers": workers}
    train_model(run_config(ingredients, tmp_path / "one", data=data))  # all eight are drawn
    if not workers:  # else another process logs it
        assert "Cannot read the picture 3.png: it is torn. The next sample stands in for it." in caplog.messages
    damaged.update(range(1, 8))
    with pytest.raises(LotusError, match=re.compile(r"^Cannot read the picture \d.png: it is torn\.$")):
        train_model(run_config(ingredients, tmp_path / "many", data=data))


def test_what_a_run_writes_may_be_read_by_whom_the_umask_lets(ingredients: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        train_model(run_config(ingredients, tmp_path / "unet", data={"cache_latents": True}, optim={"steps": 1}))
        train_autoencoder(autoencoder_config(ingredients, tmp_path / "vae", optim={"steps": 1}))
    finally:
        os.umask(before)
    written = list(tmp_path.rglob("*.safetensors"))
    assert len(written) == 3 + 1 + 1 + 3 + 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o640}


def test_the_recorded_resolution_is_what_most_pictures_have(ingredients: Path, tmp_path: Path) -> None:
    def source(width: int, height: int, probability: float) -> dict[str, object]:
        size = {"height": height, "width": width, "textures": "public"}
        return {"name": "synthetic", "count": 2, "probability": probability, **size}

    data = {"sources": [source(48, 32, 0.9), source(64, 16, 0.1)]}
    path = train_model(run_config(ingredients, tmp_path, data=data, optim={"steps": 1}))
    assert load_model(path, device="cpu").info.resolution == 48


def test_crops_that_do_not_halve_evenly_are_refused_before_training(ingredients: Path, tmp_path: Path) -> None:
    run = autoencoder_config(ingredients, tmp_path)
    with pytest.raises(LotusError, match=r"\[loss\] crop = 31 does not divide by 2"):
        train_autoencoder(replace(run, loss=replace(run.loss, crop=31)))
