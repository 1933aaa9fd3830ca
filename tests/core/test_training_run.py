"""Short runs: overfitting, the protocol's switches, kill and resume, cached latents, two processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

from lotus_core.checkpoints import load_model
from lotus_core.data.cache import render_cache
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError
from lotus_core.training import latents
from lotus_core.training.autoencoder import latent_scale, train_autoencoder
from lotus_core.training.config import RunConfig, SourceConfig
from lotus_core.training.sources import open_source
from lotus_core.training.state import checkpoints, load_checkpoint
from lotus_core.training.trainer import train_model

from .training_runs import HEIGHT, WIDTH, autoencoder_config, log_lines, losses, run_config, table, write_toml

FORK = multiprocessing.get_context("fork")  # a child starts at once: nothing is imported again


def test_200_steps_overfit_8_samples(ingredients: Path, tmp_path: Path) -> None:
    path = train_model(
        run_config(
            ingredients,
            tmp_path,
            data={"cache_latents": True, "flip": False},
            optim={"steps": 200, "batch_size": 8, "lr": 4e-3, "warmup_steps": 20, "ema_decay": 0.9, "seed": 1},
            log={"every": 20, "checkpoint_every": 100, "validation_every": 200, "validation_samples": 8},
        )
    )
    curve = losses(tmp_path)
    assert curve[200] < 0.15 * curve[20], curve
    last = log_lines(tmp_path)[-1]
    assert last["validation_annotation_loss"] < 0.2
    model = load_model(path, device="cpu")
    assert (model.variant, model.info.task, model.info.space, model.info.resolution) == ("g", "depth", "disparity", 48)
    record = model.info.training
    assert (record["seed"], record["steps"]) == (1, 200)
    assert record["config"]["optim"]["lr"] == 4e-3
    assert record["hours"] >= 0
    assert "cpu" in record["hardware"]
    with Image.open(tmp_path / "validation" / "step-00000200.png") as sheet:
        assert sheet.size == (3 * 48, 8 * 32)  # image, truth, prediction


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"variant": "d"}},
        {"model": {"task": "normal"}},
        {"model": {"space": "depth"}, "scheduler": {"rescale_betas_zero_snr": True}},
        {"protocol": {"detail_preserver": False}},
        {"protocol": {"prediction": "v", "training_timesteps": 10}},
        {"protocol": {"prediction": "epsilon", "training_timesteps": 1000}},
        {"optim": {"gradient_accumulation": 2, "gradient_checkpointing": True, "channels_last": True}},
    ],
    ids=["lotus-d", "normal", "depth space", "no preserver", "v", "epsilon", "accumulation"],
)
def test_every_switch_of_the_protocol_trains(ingredients: Path, tmp_path: Path, sections: dict[str, Any]) -> None:
    sections = {**sections, "log": {"validation_every": 2, "validation_samples": 1}}
    sections["optim"] = {"steps": 2, **sections.get("optim", {})}
    path = train_model(run_config(ingredients, tmp_path, **sections))
    assert load_model(path, device="cpu").variant == sections.get("model", {}).get("variant", "g")
    measured = log_lines(tmp_path)[-1]
    metric = "mean_angle" if sections.get("model", {}).get("task") == "normal" else "abs_rel"
    assert measured[f"validation_{metric}"] > 0


def test_one_process_trains_runs_of_different_precision(ingredients: Path, tmp_path: Path) -> None:
    for precision in ("bf16", "no"):
        run = run_config(ingredients, tmp_path / precision, optim={"steps": 2, "mixed_precision": precision})
        assert train_model(run).is_file()
    half, full = losses(tmp_path / "bf16"), losses(tmp_path / "no")
    assert half == pytest.approx(full, rel=0.05)
    assert half != full


def test_accumulated_gradients_equal_one_larger_batch(ingredients: Path, tmp_path: Path) -> None:
    large = run_config(ingredients, tmp_path / "large", optim={"batch_size": 4})
    small = run_config(ingredients, tmp_path / "small", optim={"batch_size": 2, "gradient_accumulation": 2})
    for run in (large, small):
        train_model(run)
    assert losses(tmp_path / "small") == pytest.approx(losses(tmp_path / "large"), rel=1e-4)


def test_killed_runs_resume_to_the_same_curve(ingredients: Path, tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "optim": {"steps": 40},
        "log": {"checkpoint_every": 3, "validation_every": 10, "validation_samples": 1},
    }
    train_model(run_config(ingredients, tmp_path / "whole", **settings))
    output = tmp_path / "killed"
    run = run_config(ingredients, output, **settings)
    rng = random.Random(os.getpid())
    for target in (5, 16, 28):
        child = FORK.Process(target=train_model, args=(run, True))
        child.start()
        before = max((checkpoint_step(p) for p in checkpoints(output / "checkpoints")), default=0)
        while child.is_alive() and not ((output / "log.jsonl").exists() and max(losses(output), default=0) >= target):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        reached = max(losses(output))
        kept = checkpoint_step(checkpoints(output / "checkpoints")[-1])
        assert kept > before
        assert reached - kept <= 3
        load_checkpoint(checkpoints(output / "checkpoints")[-1])
    train_model(run, resume=True)
    assert losses(output) == losses(tmp_path / "whole")
    whole, killed = (load_file(tmp_path / name / "tiny.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert [line for line in log_lines(output) if "validation_abs_rel" in line] == [
        line for line in log_lines(tmp_path / "whole") if "validation_abs_rel" in line
    ]


def checkpoint_step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def test_a_folder_with_another_run_is_not_overwritten(ingredients: Path, tmp_path: Path) -> None:
    train_model(run_config(ingredients, tmp_path, optim={"steps": 2}))
    with pytest.raises(LotusError, match="already holds a training run"):
        train_model(run_config(ingredients, tmp_path, optim={"steps": 2}))
    other = run_config(ingredients, tmp_path, model={"task": "normal"})
    with pytest.raises(LotusError, match=r"\[model\] of the config differs"):
        train_model(other, resume=True)


def test_a_run_goes_on_with_its_own_data_wherever_they_lie(ingredients: Path, tmp_path: Path) -> None:
    shutil.copytree(ingredients / "scenes", tmp_path / "moved")
    render_cache(tmp_path / "scenes", SyntheticScenes(8, HEIGHT, WIDTH, seed=6, textures=None))
    train_model(run_config(ingredients, tmp_path / "whole", optim={"steps": 4, "schedule": "constant"}))

    def resume(folder: Path, steps: int, **data: Any) -> None:
        settings = {"data": {"sources": [{"name": "cache", "path": str(folder)}], **data}}
        optim = {"steps": steps, "schedule": "constant"}
        train_model(run_config(ingredients, tmp_path / "run", **settings, optim=optim), resume=True)

    resume(ingredients / "scenes", 2)
    with pytest.raises(LotusError, match=r'data source "cache" .*scenes holds other files than the run in'):
        resume(tmp_path / "scenes", 4)
    with pytest.raises(LotusError, match=r"\[data\] flip of the config differs"):
        resume(ingredients / "scenes", 4, flip=False)
    resume(tmp_path / "moved", 3)
    assert losses(tmp_path / "run")[3] == losses(tmp_path / "whole")[3]
    state = checkpoints(tmp_path / "run" / "checkpoints")[-1] / "state.json"
    before = json.loads(state.read_text())
    del before["content"]  # as versions before wrote it
    state.write_text(json.dumps(before))
    resume(ingredients / "scenes", 4)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_checkpoint_older_than_a_key_counts_it_at_its_default(ingredients: Path, tmp_path: Path) -> None:
    train_model(run_config(ingredients, tmp_path, optim={"steps": 2}))
    file = checkpoints(tmp_path / "checkpoints")[-1] / "state.json"
    state = json.loads(file.read_text())
    del state["config"]["protocol"]["preview"], state["config"]["optim"]["optimizer"]
    file.write_text(json.dumps(state))
    with pytest.raises(LotusError, match=r"\[protocol\] of the config differs"):
        train_model(run_config(ingredients, tmp_path, protocol={"decoded": 1.0, "preview": True}), resume=True)
    train_model(run_config(ingredients, tmp_path), resume=True)
    assert max(losses(tmp_path)) == 4


def test_checkpoints_hold_the_moving_average_and_old_ones_go(ingredients: Path, tmp_path: Path) -> None:
    train_model(
        run_config(ingredients, tmp_path, optim={"steps": 5, "ema_decay": 0.3}, log={"checkpoint_every": 1, "keep": 2})
    )
    found = checkpoints(tmp_path / "checkpoints")
    assert [checkpoint_step(path) for path in found] == [4, 5]
    (before, _), (after, _) = map(load_checkpoint, found)
    name = "conv_in.weight"
    expected = 0.3 * before["average"][name] + 0.7 * after["weights"][name]
    assert float((after["average"][name] - expected).abs().max()) < 1e-6
    exported = load_file(tmp_path / "tiny.safetensors")[f"unet.{name}"].float()
    assert float((exported - after["average"][name]).abs().max()) < 1e-3  # fp16
    assert not list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.bin"))  # nothing is pickled


def test_cached_latents_give_the_loss_of_encoding_on_the_fly(
    ingredients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = latents.encode_batch
    monkeypatch.setattr(latents, "encode_batch", lambda *args: encoded.append(1) or encode(*args))
    curves = []
    for name, cached in (("live", False), ("cached", True)):
        train_model(run_config(ingredients, tmp_path / name, model={"task": "normal"}, data={"cache_latents": cached}))
        curves.append(losses(tmp_path / name))
    assert curves[1] == pytest.approx(curves[0], rel=2e-3)  # float16 keeps 11 bits
    assert len(encoded) == 8
    more = run_config(
        ingredients, tmp_path / "cached", model={"task": "normal"}, data={"cache_latents": True}, optim={"steps": 5}
    )
    train_model(more, resume=True)
    assert len(encoded) == 8  # nothing is encoded twice


@pytest.mark.parametrize(
    ("protocol", "terms"),
    [
        # 1 and 3 of 4 pictures: 1 + 0, 2 + 1
        ({"reconstruction_share": 0.25, "spread": 0.5, "spread_share": 0.75}, ["spread_loss"]),
        ({"decoded": 1.0, "preview": True}, ["decoded_loss"]),
        ({"decoded": 1.0, "train": "both", "reconstruction_share": 0.25}, ["decoded_loss", "autoencoder_loss"]),
    ],
    ids=["shares", "preview", "both networks"],
)
def test_two_processes_are_one_run_of_twice_the_batch(
    ingredients: Path, tmp_path: Path, protocol: dict[str, Any], terms: list[str]
) -> None:
    change: dict[str, Any] = {"protocol": protocol}
    if "decoded_loss" in terms:  # leaves the sky out, so each process would average over its own share of points
        render_cache(tmp_path / "rooms", SyntheticScenes(8, HEIGHT, WIDTH, seed=5, textures=None, kinds=["room"]))
        change["data"] = {"sources": [{"name": "cache", "path": str(tmp_path / "rooms")}]}
    train_model(run_config(ingredients, tmp_path / "one", optim={"batch_size": 4}, **change))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = run_config(ingredients, tmp_path / "two", optim={"batch_size": 2}, **change)
    children = [FORK.Process(target=train_as, args=(run, rank, port)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    for term in ("reconstruction_loss", *terms):
        two, one = ([line[term] for line in log_lines(tmp_path / name)] for name in ("two", "one"))
        assert two == pytest.approx(one, rel=1e-4)


def test_accelerate_launch_starts_two_processes_that_are_one_run_of_twice_the_batch(
    ingredients: Path, tmp_path: Path
) -> None:
    train_model(run_config(ingredients, tmp_path / "one", optim={"batch_size": 4}))
    write_toml(table(ingredients, tmp_path / "two", optim={"batch_size": 2}), tmp_path / "two.toml")
    config = Path(__file__).parents[2] / "configs" / "accelerate" / "cpu.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    launch += ["-m", "lotus_core", "train", str(tmp_path / "two.toml")]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def train_as(run: RunConfig, rank: int, port: int) -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # what the parent set up for one process
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train_model(run)


def test_an_autoencoder_learns_and_states_its_scale(ingredients: Path, tmp_path: Path) -> None:
    run = autoencoder_config(
        ingredients,
        tmp_path,
        optim={"steps": 120, "batch_size": 8, "lr": 3e-3},
        log={"every": 10, "checkpoint_every": 60, "validation_every": 30, "validation_samples": 8},
    )
    folder = train_autoencoder(run)
    curve = losses(tmp_path)
    assert curve[120] < 0.7 * curve[10]
    first, *_, last = (line for line in log_lines(tmp_path) if "psnr_depth" in line)
    assert all(last[f"psnr_{kind}"] > first[f"psnr_{kind}"] for kind in ("image", "depth", "normal"))
    vae = AutoencoderKL.from_pretrained(folder)
    source = open_source(SourceConfig("cache", str(ingredients / "scenes")))
    with torch.no_grad():
        assert vae.config.scaling_factor == pytest.approx(latent_scale(vae, [source], 8), rel=1e-4)
