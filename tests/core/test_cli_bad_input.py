"""Whatever is wrong: one sentence on stderr, exit code 2, and nothing written."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from lotus_core.checkpoints import read_header
from lotus_core.cli import main

from .limits import files_of_at_most

Lotus = Callable[..., str]


@pytest.fixture
def lotus_fails(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Lotus:
    """Run a command that must fail as a user error and write nothing below tmp_path; returns its sentence."""

    def run(*argv: object) -> str:
        before = tree(tmp_path)
        capfd.readouterr()
        code = main([str(argument) for argument in argv])
        stdout, stderr = capfd.readouterr()
        assert (code, stdout) == (2, "")
        assert stderr.startswith("lotus: ")
        assert stderr.endswith((".\n", ")\n"))
        assert stderr.count("\n") == 1
        assert tree(tmp_path) == before
        return stderr

    return run


def tree(folder: Path) -> dict[str, int]:
    """Every file below, hidden ones too, with the time it was last changed; every folder."""
    return {str(path): path.stat().st_mtime_ns if path.is_file() else 0 for path in folder.rglob("*")}


def image_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.png"
    if kind == "text":
        path.write_text("this is not a picture\n")
    elif kind == "truncated":
        path = path.with_suffix(".jpg")
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "empty":
        path.touch()
    elif kind == "one-pixel":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "ribbon":
        Image.new("RGB", (20_000, 10)).save(path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no file"),
        ("text", "not an image"),
        ("truncated", "cut off"),
        ("empty", "empty"),
        ("one-pixel", "1×1"),
        ("ribbon", "20,000×10"),
        ("folder", "folder"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "mesh"])
def test_images(
    tmp_path: Path, checkpoints: dict[str, str], lotus_fails: Lotus, command: str, kind: str, said: str
) -> None:
    image = image_file(tmp_path, kind)
    target = tmp_path / "new" / "deep" if command == "predict" else tmp_path / "new" / "scene.glb"
    message = lotus_fails(command, image, "-o", target, "--model", checkpoints["depth"])
    assert said in message
    assert image.name in message


def checkpoint_file(folder: Path, kind: str, good: str) -> Path:
    path = folder / f"{kind}.safetensors"
    if kind == "truncated":
        path.write_bytes(Path(good).read_bytes()[:-1000])
    elif kind == "truncated-header":
        path.write_bytes(Path(good).read_bytes()[:100])
    elif kind == "nan":
        tensors = load_file(good)
        tensors["unet.conv_in.bias"][3] = float("nan")
        save_file(tensors, path, read_header(good).metadata)
    elif kind == "other-model":
        save_file({"model.embed_tokens.weight": torch.zeros(8, 4)}, path)
    elif kind == "other-shape":
        tensors = load_file(good)
        tensors["unet.conv_out.bias"] = torch.zeros(7)
        save_file(tensors, path, read_header(good).metadata)
    elif kind == "pickle":
        path = path.with_suffix(".ckpt")
        path.write_bytes(pickle.dumps({"state_dict": [1, 2, 3]}))
    elif kind == "renamed-pickle":
        torch.save({"weight": torch.zeros(3)}, path)
    elif kind == "picture":
        Image.new("RGB", (64, 64)).save(path, "PNG")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no file"),
        ("empty", "empty"),
        ("truncated", "cut off"),
        ("truncated-header", "cut off"),
        ("nan", "NaN"),
        ("other-model", "model.embed_tokens.weight"),
        ("other-shape", "conv_out.bias is 7, not 4"),
        ("pickle", "pickle"),
        ("renamed-pickle", "pickle"),
        ("picture", "not a usable safetensors file"),
        ("folder", "unet"),
    ],
)
def test_checkpoints(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], lotus_fails: Lotus, kind: str, said: str
) -> None:
    path = checkpoint_file(tmp_path, kind, checkpoints["depth"])
    message = lotus_fails("predict", photo, "-o", tmp_path / "new", "--model", path)
    assert said in message
    assert path.name in message


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("lotus-tiny-deph-g", "lotus-tiny-depth-g"),
        ("jingheya/lotus-normal-g-v1-1x", ""),
        ("lotus-normal-g-v11", "lotus-normal-g-v1-1"),
    ],
)
def test_an_unknown_model_name_brings_near_matches(
    tmp_path: Path, photo: str, lotus_fails: Lotus, monkeypatch: pytest.MonkeyPatch, name: str, match: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = lotus_fails("predict", photo, "-o", tmp_path / "new", "--model", name)
    assert name in message
    assert match in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "uncertainty", "--model", "depth-d"], "Lotus-D"),
        (["--task", "normal", "--model", "depth"], "normal does not use"),
        (["--model", "depth", "--model", "depth-d"], "both predict depth"),
        (["--res", "-1"], "--res"),
        (["--samples", "1"], "--samples"),
        (["--format", "tiff"], "--format"),
        (["--model", "depth", "--device", "abacus"], "abacus"),
        (["--model", "depth", "--dtype", "float3"], "float3"),
        (["--model", "depth", "--res", "100000"], "resolution"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], lotus_fails: Lotus, options: list[str], said: str
) -> None:
    argv = [checkpoints.get(option, option) if option != "normal" else option for option in options]
    argv = [
        value if before != "--task" else options[i]
        for i, (before, value) in enumerate(zip(["", *argv], argv, strict=False))
    ]
    assert said in lotus_fails("predict", photo, "-o", tmp_path / "new", *argv)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "scene.stl"], ".glb, .ply, .obj"),
        (["-o", "scene"], ".glb, .ply, .obj"),
        (["-o", "scene.glb", "--cut", "0"], "--cut"),
        (["-o", "scene.glb", "--fov", "180"], "--fov"),
        (["-o", "scene.glb", "--target-faces", "3"], "--target-faces"),
        (["-o", "scene.glb", "--mode", "relief", "--fov", "50"], "--fov has no meaning"),
        (["-o", "scene.glb", "--base", "2"], "--mode relief"),
        (["-o", "scene.glb", "--mode", "points", "--target-faces", "9"], "--target-faces"),
    ],
)
def test_mesh_options_that_make_no_sense(
    tmp_path: Path, photo: str, lotus_fails: Lotus, options: list[str], said: str
) -> None:
    assert said in lotus_fails("mesh", photo, "-o", tmp_path / "new" / options[1], *options[2:])


def test_two_images_of_one_name(tmp_path: Path, photo: str, lotus_fails: Lotus) -> None:
    (tmp_path / "sub").mkdir()
    other = shutil.copy(photo, tmp_path / "sub" / "Photo.png")
    message = lotus_fails("predict", photo, other, "-o", tmp_path / "new")
    assert str(photo) in message
    assert str(other) in message


@pytest.mark.parametrize("command", ["predict", "mesh", "demo"])
@pytest.mark.parametrize("place", ["a regular file", "/proc"])
def test_a_place_that_cannot_be_written(
    tmp_path: Path, photo: str, checkpoints: dict[str, str], lotus_fails: Lotus, command: str, place: str
) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    folder = blocker / "out" if place == "a regular file" else Path("/proc/lotus-test")
    if command == "demo":
        message = lotus_fails("demo", "-o", folder)
    else:
        target = folder if command == "predict" else folder / "scene.glb"
        message = lotus_fails(command, photo, "-o", target, "--model", checkpoints["depth"])
    assert "Cannot write" in message
    assert str(folder) in message


@dataclass(frozen=True)
class Disk:
    """A folder in which a map's file does not fit while `full` is entered."""

    folder: Path
    mounted: bool

    @contextmanager
    def full(self) -> Iterator[None]:
        """20 kB a file, unless the folder is a small file system."""
        with nullcontext() if self.mounted else files_of_at_most(20_000):
            yield


@pytest.fixture(params=["file size limit", "small file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """20 kB a file, or a file system of 40 kB where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = request.param == "small file system" and mount_tmpfs(folder, 40_000)
    yield Disk(folder, mounted)
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def mount_tmpfs(folder: Path, size: int) -> bool:
    if not shutil.which("mount") or os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("target", ["maps.png", "maps.exr", "maps.npy", "scene.glb", "scene.ply", "scene.obj"])
def test_a_full_disk(disk: Disk, tmp_path: Path, checkpoints: dict[str, str], lotus_fails: Lotus, target: str) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (128, 128), (90, 120, 60)).save(plain)
    argv = ["--model", checkpoints["depth"]]
    with disk.full():
        if target.startswith("maps"):
            message = lotus_fails("predict", plain, "-o", disk.folder, "--format", target[5:], "--seed", 1, *argv)
        else:
            message = lotus_fails("mesh", plain, "-o", disk.folder / target, "--cut", 100, *argv)
    assert "Cannot write" in message
    assert str(disk.folder) in message
    assert "free some space" in message


@pytest.mark.parametrize("command", [["train"], ["batch", "--task", "latents"]], ids=["train", "latents"])
def test_training_without_accelerate(
    tmp_path: Path, lotus_fails: Lotus, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    target = [] if command == ["train"] else [tmp_path / "latents"]
    config = Path(__file__).parents[2] / "configs" / "tiny-depth-g-1.toml"
    message = lotus_fails(command[0], config, *target, *command[1:])
    assert "needs accelerate: pip install accelerate" in message


def test_training_without_a_config(tmp_path: Path, lotus_fails: Lotus) -> None:
    assert "run.toml" in lotus_fails("train", tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text("this is = not toml = at all")
    assert "run.toml" in lotus_fails("train", tmp_path / "run.toml")


@pytest.mark.parametrize(
    "argv", [[], ["paint"], ["predict"], ["predict", "a.jpg"], ["info"], ["mesh", "a.jpg", "b.jpg", "-o", "c.glb"]]
)
def test_incomplete_command_lines(lotus_fails: Lotus, argv: list[str]) -> None:
    assert "--help" in lotus_fails(*argv)


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_info_refuses_a_checkpoint_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, str], cut: float
) -> None:
    whole = Path(checkpoints["depth"]).read_bytes()
    path = tmp_path_factory.mktemp("cut") / "cut.safetensors"
    path.write_bytes(whole[: int(cut * len(whole))])
    assert main(["info", str(path)]) == 2


@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(max_size=300),
    prefix=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0"]),
)
def test_any_bytes_for_a_photo_are_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, str], data: bytes, prefix: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "photo.jpg").write_bytes(prefix + data)
    assert main(["predict", str(folder / "photo.jpg"), "-o", str(folder / "out"), "--model", checkpoints["depth"]]) == 2
    assert [path.name for path in folder.iterdir()] == ["photo.jpg"]


def test_a_process_prints_one_line_and_no_traceback(tmp_path: Path, photo: str, checkpoints: dict[str, str]) -> None:
    broken = checkpoint_file(tmp_path, "nan", checkpoints["depth"])
    argv = [sys.executable, "-m", "lotus_core", "predict", photo, "-o", str(tmp_path / "out"), "--model", str(broken)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not (tmp_path / "out").exists()
