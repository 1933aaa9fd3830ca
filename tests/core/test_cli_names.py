"""Names of files that are no trouble: not valid UTF-8, in letters that the terminal lacks, or with wildcards."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lotus_core.cli import main
from lotus_core.files import json_text
from lotus_core.maps import Depth

from .batches import manifest, times_done
from .exr import write_exr

LATIN = os.fsdecode(b"caf\xe9")  # as an archive of an older system leaves it on Linux
not_utf8 = pytest.mark.skipif(sys.platform != "linux", reason="other systems hold names in UTF-8 or UTF-16 only")


def save_photo(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@given(st.text() | st.binary().map(lambda name: name.decode(errors="surrogateescape")))
def test_every_name_survives_a_readable_record(name: str) -> None:
    text = json_text({name: name})
    assert json.loads(text.encode()) == {name: name}
    assert json_text({"é写": 1}) == '{"é写": 1}'


@not_utf8
@pytest.mark.parametrize("suffix", ["png", "exr", "npy"])
def test_predict_takes_a_name_that_is_not_utf8(tmp_path: Path, checkpoints: dict[str, str], suffix: str) -> None:
    photo = tmp_path / f"{LATIN}.png"
    save_photo(photo)
    out = tmp_path / "out"
    argv = ["predict", str(photo), "-o", str(out), "--model", checkpoints["depth"], "--format", suffix]
    done = subprocess.run([sys.executable, "-m", "lotus_core", *argv], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"_depth." in done.stdout
    record = json.loads((out / f"{LATIN}.json").read_bytes())
    assert record["image"] == str(photo)
    assert shlex.split(record["command"])[2] == str(photo)
    assert Depth.load(out / record["maps"]["depth"]["file"]).values.shape == (32, 48)


@not_utf8
def test_a_batch_goes_on_over_names_that_are_not_utf8(
    tmp_path: Path, checkpoints: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / LATIN, tmp_path / "out"
    source.mkdir()
    save_photo(source / "plain.png")
    save_photo(source / f"{LATIN}.png")
    (source / f"{LATIN}.jpg").write_bytes(b"not a picture")
    for number in range(3):
        write_exr(tmp_path / "frame.exr", {"RGB": np.ones((32, 48, 3), np.float32)})
        (tmp_path / "frame.exr").rename(source / f"{LATIN}.{number:04d}.exr")
    argv = ["batch", str(source), str(out), "--model", checkpoints["depth"], "--format", "exr", "--threads", "1"]
    assert main(argv) == 2  # of the broken one
    assert "1 file failed" in capsys.readouterr().err
    record = manifest(out)
    assert record["items"].keys() == {"plain.png", f"{LATIN}.png", f"{LATIN}.####.exr"}
    assert record["failed"].keys() == {f"{LATIN}.jpg"}
    files = [file for item in record["items"].values() for file in item["files"]]
    assert all((out / file).is_file() for file in files)
    frames = [file for file in files if file.startswith(f"{LATIN}.exr/") and file.endswith(".exr")]
    assert [Depth.load(out / file).values.shape for file in frames] == [(32, 48)] * 3
    assert main(argv) == 2
    assert set(times_done(out).values()) == {1}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_letters_that_the_terminal_lacks_are_shown_as_escapes(
    tmp_path: Path, checkpoints: dict[str, str], encoding: str
) -> None:
    photo = tmp_path / "写真.png"
    save_photo(photo)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for argv in (
        ["predict", str(photo), "-o", str(tmp_path / "out"), "--model", checkpoints["depth"]],
        ["batch", str(photo), str(tmp_path / "图"), "--model", checkpoints["depth"]],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "lotus_core", *argv], capture_output=True, env=environment, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\u5199\\u771f" in done.stdout or b"\\u56fe" in done.stdout


def test_wildcards_that_the_shell_leaves_alone_are_expanded(
    tmp_path: Path,
    checkpoints: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "c[1].png", ".hidden.png", "sub/d.png", "notes.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        save_photo(Path(name)) if name.endswith("png") else Path(name).touch()
    Path("folder.png").mkdir()
    options = ["-o", "out", "--model", checkpoints["depth"]]

    def predicted(*images: str) -> list[str]:
        assert main(["predict", *images, *options]) == 0
        return [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]

    assert predicted("*.png") == ["a.png", "b.png", "c[1].png"]
    assert predicted("c[1].png", "[ab].png") == ["c[1].png", "a.png", "b.png"]  # a file's own name comes first
    assert predicted("**/?.png") == ["a.png", "b.png", os.path.join("sub", "d.png")]
    assert main(["predict", "*.jpg", *options]) == 2
    assert capsys.readouterr().err == "lotus: No file matches *.jpg: check the folder and the ending.\n"
    assert main(["mesh", "*.jpg", "-o", "scene.ply"]) == 2
    assert "No file matches *.jpg" in capsys.readouterr().err


def test_a_missing_photo_with_wildcards_in_its_name_does_not_stop_the_others(
    tmp_path: Path,
    checkpoints: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        save_photo(Path(name))
    missing = ["photo[1].png", "gone*.png", "what?.png"]
    assert main(["predict", "a.png", *missing, "[b].png", "-o", "out", "--model", checkpoints["depth"]]) == 2
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["a.png", "b.png"]
    assert err.splitlines() == [
        *(f"lotus: There is no file {name}." for name in missing),
        "lotus: 3 of 5 images failed; the others were written to out.",
    ]
    assert (tmp_path / "out" / "b_depth.png").is_file()
    assert main(["mesh", "a.png", "photo[1].png", "--poses", "nowhere", "-o", "scene.ply"]) == 2
    assert "No file matches" not in capsys.readouterr().err
