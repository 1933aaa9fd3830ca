"""What is not the fault of a file ends a batch of `lotus batch`, and is not held against the file by the next run."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.batch.items import find_items
from lotus_core.cli import main

from .batches import command, times_done


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """A sequence of three frames."""
    folder = tmp_path / "shot"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (60 * number, 90, 30)).save(folder / f"shot.{number + 1:04d}.png")
    return folder


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_not_held_against_a_clip(
    shot: Path,
    checkpoints: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)  # as the motion is kept with
        assert main(command(shot, out, checkpoints)) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "No space left on device; free some space" in told
    assert not times_done(out)
    assert main(command(shot, out, checkpoints)) == 0
    assert times_done(out) == {"shot.####.png": 1}


def test_a_work_folder_that_cannot_be_made_is_one_sentence(
    shot: Path, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ((item,), _) = find_items(str(shot), out)
    place = out / ".lotus-batch" / "clips" / item.id
    place.parent.mkdir(parents=True)
    place.touch()
    assert main(command(shot, out, checkpoints)) == 2
    assert capsys.readouterr().err == (
        f"lotus: Cannot write {place}: File exists; free some space or choose another place.\n"
    )
    place.unlink()
    assert main(command(shot, out, checkpoints)) == 0


@pytest.mark.parametrize(
    ("package", "name", "content", "said"),
    [
        ("skimage.registration", "shot", b"", "needs scikit-image: pip install scikit-image"),
        ("av", "clip.mp4", b"not a video at all" * 50, "need PyAV: pip install av"),
        ("pillow_heif", "photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "needs pillow-heif: pip install"),
    ],
)
def test_a_missing_package_is_not_held_against_a_file(
    package: str,
    name: str,
    content: bytes,
    said: str,
    shot: Path,
    checkpoints: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = tmp_path / name, tmp_path / "out"
    if content:
        source.write_bytes(content)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, package, None)
        assert main(command(source, out, checkpoints)) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert said in told
    assert not times_done(out)
    # With it, the file is tried, and what is wrong with it is its own fault.
    assert main(command(source, out, checkpoints)) == (2 if content else 0)
    assert list(times_done(out).values()) == [1]


def test_a_model_that_cannot_be_loaded_is_not_held_against_a_clip(
    shot: Path, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "out", tmp_path / "models" / "depth.safetensors"
    model.parent.mkdir()
    assert main(command(shot, out, {"depth": str(model)})) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not times_done(out)
    shutil.copy(checkpoints["depth"], model)
    assert main(command(shot, out, {"depth": str(model)})) == 0
