"""The commands that only tell, the demo, and what holds for every command."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import lotus_core as lotus
from lotus_core import Depth, Normals, Uncertainty
from lotus_core.checkpoints.single_file import save_model
from lotus_core.cli import main
from lotus_core.cli.console import progress_bar

from .models import official_folder

LOTUS = [sys.executable, "-m", "lotus_core"]


def told(capfd: pytest.CaptureFixture[str], *argv: str) -> dict[str, str]:
    """The "key: value" lines that a command prints."""
    capfd.readouterr()
    assert main(argv) == 0
    return dict(line.split(":", 1) for line in capfd.readouterr().out.splitlines())


def cpu_seconds() -> float:
    """Of all finished child processes. Unlike the clock, it does not count what else the machine is doing."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_immediate_and_names_every_command() -> None:
    start = cpu_seconds()
    for _ in range(3):
        done = subprocess.run([*LOTUS, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert (cpu_seconds() - start) / 3 < 0.5
    assert all(f"    {command} " in done.stdout for command in ("demo", "predict", "mesh", "models", "info", "train"))


@pytest.mark.parametrize("command", [["--help"], ["models"], ["info", "nothing"], ["predict", "nothing"]])
def test_what_needs_no_network_does_not_import_torch(tmp_path: Path, command: list[str]) -> None:
    code = (
        "import sys; from lotus_core.cli import main\n"
        f"try: main({[*command, *(['-o', str(tmp_path)] if command[0] == 'predict' else [])]!r})\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)


def test_models_lists_the_embedded_and_the_published(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    rows = {line.split()[0]: line for line in capfd.readouterr().out.splitlines()}
    assert "disparity" in rows["lotus-tiny-depth-g"]
    assert "in this package" in rows["lotus-tiny-normal-g"]
    assert "Lotus-D" in rows["jingheya/lotus-depth-d-v2-0-disparity"]


def test_info_of_our_file(checkpoints: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    facts = told(capfd, "info", checkpoints["depth"])
    assert "disparity (1 = near)" in facts["predicts"]
    assert "Lotus-G" in facts["variant"]
    assert "F16" in facts["U-Net"]
    assert facts["missing"].strip() == "nothing"
    assert "48 pixels" in facts["longest edge"]
    assert "Lotus-D" in told(capfd, "info", checkpoints["depth-d"])["variant"]


def test_info_says_in_a_line_how_ours_was_trained_and_all_of_it_on_request(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = told(capfd, "info", "lotus-tiny-depth-d")
    assert found["made of"].strip() == "lotus-tiny-depth-g.safetensors, without its noise"
    assert re.fullmatch(r" *[\d,]+ steps of \d+ pictures, \d+\.\d\d hours on 1× cpu .*, seed \d+", found["trained"])
    assert main(["info", "lotus-tiny-normal-g", "--training"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["config"]["model"]["task"] == "normal"
    assert record == lotus.load_model("lotus-tiny-normal-g").info.training
    mean = tmp_path / "mean.safetensors"
    depth = lotus.load_model("lotus-tiny-depth-g", "cpu", torch.float32).info.training
    parts = [{"model": name, "share": share, "training": depth} for name, share in (("a", 0.75), ("b", 0.25))]
    model = lotus.load_model("lotus-tiny-depth-g", "cpu", torch.float32)
    model.info = dataclasses.replace(model.info, training={"mean_of": parts})
    save_model(model, mean)
    assert told(capfd, "info", str(mean))["made of"].strip() == "the mean of a (75%), b (25%)"
    folder = tmp_path / "folder"
    assert main(["convert", "lotus-tiny-normal-g", str(folder), "--quiet"]) == 0
    assert "steps of" in told(capfd, "info", str(folder))["trained"]
    bare = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert main(["info", str(bare), "--training"]) == 2
    assert "says nothing of its training" in capfd.readouterr().err


def test_info_of_the_official_folder_and_its_bare_unet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = official_folder(tmp_path / "lotus-normal-d-v1-1", "d")
    facts = told(capfd, "info", str(folder))
    assert "normals" in facts["predicts"]
    assert "Lotus-D" in facts["variant"]
    assert facts["missing"].strip() == "nothing"
    shutil.rmtree(folder / "vae")
    assert facts.keys() - told(capfd, "info", str(folder)).keys() == {"vae"}

    bare = tmp_path / "lotus-depth-d-v1-0.safetensors"
    shutil.copy(folder / "unet" / "diffusion_pytorch_model.safetensors", bare)
    facts = told(capfd, "info", str(bare))
    assert "depth (1 = far)" in facts["predicts"]
    assert facts["missing"].strip() == "autoencoder (--vae), empty prompt (--text-encoder)"


def test_predict_with_an_official_folder(tmp_path: Path, photo: str, capfd: pytest.CaptureFixture[str]) -> None:
    nameless = official_folder(tmp_path / "my-model", "g")
    argv = ["predict", photo, "-o", str(tmp_path / "out"), "--model", str(nameless), "--res", "64", "--quiet"]
    assert main(argv) == 2
    assert "--task" in capfd.readouterr().err
    assert main([*argv, "--task", "depth", "--space", "depth"]) == 0
    assert Depth.load(tmp_path / "out" / "photo_depth.png").space == "depth"


def test_the_demo(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    start = cpu_seconds()
    done = subprocess.run([*LOTUS, "demo", "-o", str(out)], capture_output=True, text=True, timeout=300, check=True)
    assert cpu_seconds() - start < 60
    assert done.stderr == ""
    maps = {f"coffee_{name}{end}" for name in ("depth", "normal", "uncertainty") for end in (".png", "_preview.png")}
    written = {path.name for path in out.iterdir()}
    blend = {"scene.blend"} if find_spec("bpy") else set()  # what it holds: tests/blender/test_demo.py
    assert written == maps | blend | {"coffee.json", "overview.png", "scene.glb", "scene.scene.json"}
    assert all(name in done.stdout for name in written)

    depth = Depth.load(out / "coffee_depth.png")
    assert depth.values.shape == (400, 600)
    assert np.ptp(depth.values) > 0.3
    assert Normals.load(out / "coffee_normal.png").convention == "lotus"
    assert Uncertainty.load(out / "coffee_uncertainty.png").samples == 10
    scene = trimesh.load_scene(out / "scene.glb")
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) > 200_000
    assert mesh.visual.material.baseColorTexture.size == (600, 400)
    with Image.open(out / "overview.png") as sheet:
        assert sheet.width > 1400
    record = json.loads((out / "coffee.json").read_text(encoding="utf-8"))
    assert record["maps"]["depth"]["model"] == "lotus-tiny-depth-g"


def test_progress_shows_on_a_terminal(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    argv = [*LOTUS, "predict", photo, "-o", str(tmp_path / "out"), "--model", checkpoints["depth"]]
    screen, stderr = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", f"stty rows 40 cols 100 <&2 && exec {' '.join(argv)}"], stdout=subprocess.DEVNULL, stderr=stderr
    )
    os.close(stderr)
    shown = b""
    with suppress(OSError), open(screen, "rb", buffering=0) as file:  # Linux ends a terminal with an error
        while chunk := file.read(4096):
            shown += chunk
    assert process.wait(timeout=120) == 0
    assert b"photo.jpg: depth: Decoding" in shown
    assert b"100%" in shown


@pytest.mark.parametrize(("terminal", "quiet"), [(True, True), (False, False)])
def test_progress_stays_away(monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress_bar(quiet) as progress:
        assert progress is None


def test_ctrl_c_leaves_nothing(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    out = tmp_path / "out"
    argv = [
        "predict",
        photo,
        "-o",
        str(out),
        "--model",
        checkpoints["depth"],
        "--task",
        "uncertainty",
        "--samples",
        "100000",
    ]
    # A shell's background job (as CI may be) ignores Ctrl-C and hands that down: start the program as a terminal would.
    process = subprocess.Popen(
        [*LOTUS, *argv],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not out.exists():  # made at the very start
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (130, "lotus: stopped\n")
    assert not out.exists()


def test_ctrl_c_while_a_module_loads_is_130_too(tmp_path: Path) -> None:
    """CPython keeps in mind that Ctrl-C came inside an `exec` of text, and kills itself at the end of `python -m`."""
    (tmp_path / "pressed.py").write_text(
        "import sys\n"
        "from lotus_core.cli import main, models\n"
        "models.run = lambda args: exec('raise KeyboardInterrupt')\n"
        "sys.exit(main(['models']))\n"
    )
    done = subprocess.run([sys.executable, "-m", "pressed"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "lotus: stopped\n")


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        " ".join([*LOTUS, "models", "| true"]), shell=True, capture_output=True, check=True, timeout=60
    )
    assert done.stderr == b""
