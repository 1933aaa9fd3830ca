"""`lotus batch` on folders of photos: what it writes, what it leaves out, and how it goes on after a kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from lotus_core.batch.items import find_items
from lotus_core.batch.manifest import Record
from lotus_core.batch.pipeline import Limits, read_ahead
from lotus_core.batch.settings import Settings
from lotus_core.cli import main, parser

from .batches import command, journal, manifest, results, times_done, write_pictures
from .models import official_folder, wide_unet


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 mixed files, 4 of them unreadable."""
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(folder, 40, broken=4)
    return folder


@pytest.fixture(scope="module")
def undisturbed(source: Path, checkpoints: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run that nobody interrupts writes."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(command(source, out, checkpoints)) == 2
    assert set(times_done(out).values()) == {1}
    return results(out)


def test_every_photo_gets_the_maps_that_predict_gives_it(
    source: Path, checkpoints: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    assert len(undisturbed) == 36 * 2 + 1
    photo = source / "set1" / "photo001.png"
    assert main(["predict", str(photo), "-o", str(tmp_path), "--model", checkpoints["depth"], "--quiet"]) == 0
    from hashlib import sha256

    for name in ("photo001_depth.png", "photo001_depth_preview.png"):
        assert undisturbed[f"set1/{name}"] == sha256((tmp_path / name).read_bytes()).hexdigest()


def test_bad_files_are_named_and_the_exit_code_says_so(
    source: Path, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = tmp_path / "few"
    few.mkdir()
    for name in ("photo000.jpg", "photo038.tif", "photo036.jpg"):
        shutil.copy(source / "set0" / name, few)
    (few / "notes.txt").write_text("not a picture")
    assert main(command(few, out, checkpoints)) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in told[:-1]] == ["photo036.jpg", "photo038.tif"]
    assert "2 files failed" in told[-1]
    assert set(manifest(out)["failed"]) == {"photo036.jpg", "photo038.tif"}
    assert list(manifest(out)["items"]) == ["photo000.jpg"]
    # Still reported by a second run, and not tried again until they are mended.
    assert main(command(few, out, checkpoints)) == 2
    assert set(times_done(out).values()) == {1}
    for name in ("photo038.tif", "photo036.jpg"):
        Image.new("RGB", (40, 40), "red").save(few / name)
    assert main(command(few, out, checkpoints)) == 0
    assert not manifest(out)["failed"]


def test_kills_cost_nothing_that_was_finished(
    source: Path, checkpoints: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rng = random.Random(4)
    argv = [sys.executable, "-m", "lotus_core", *command(source, out, checkpoints)]
    kills = 0
    for count in (2, 12, 25):  # lines of the journal after which it is killed, and a little later
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(times_done(out)) < count:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.05)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        for path in out.rglob("*.png"):
            if ".lotus-batch" not in path.parts:
                Image.open(path).load()  # whole
    assert kills >= 2
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 2
    assert results(out) == undisturbed
    assert set(times_done(out).values()) == {1}
    assert sum("run" in line for line in journal(out)) == 4
    assert not list((out / ".lotus-batch" / "staging").glob("*/*"))


def test_a_kill_between_the_journal_and_the_move_is_completed_without_predicting(
    source: Path, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    out, one = tmp_path / "out", tmp_path / "one"
    one.mkdir()
    shutil.copy(source / "set0" / "photo000.jpg", one)
    assert main(command(one, out, checkpoints)) == 0
    whole = results(out)
    # As a kill leaves it: entered, but its files still in staging.
    line = journal(out)[-1]
    staging = out / ".lotus-batch" / "staging" / "journal" / line["staging"]
    staging.mkdir()
    for file in line["files"]:
        os.replace(out / file, staging / Path(file).name)
    assert main(command(one, out, checkpoints)) == 0
    assert results(out) == whole
    assert times_done(out) == {"photo000.jpg": 1}


def test_what_changed_or_was_lost_is_done_again_and_nothing_else(
    source: Path, checkpoints: dict[str, str], tmp_path: Path
) -> None:
    out, some = tmp_path / "out", tmp_path / "some"
    some.mkdir()
    for number in (0, 4, 8):
        shutil.copy(source / "set0" / f"photo{number:03d}.jpg", some)
    assert main(command(some, out, checkpoints)) == 0
    Image.new("RGB", (40, 40), "blue").save(some / "photo004.jpg")
    (out / "photo008_depth.png").unlink()
    os.utime(some / "photo000.jpg")  # touched, but the same
    assert main(command(some, out, checkpoints)) == 0
    assert times_done(out) == {"photo000.jpg": 1, "photo004.jpg": 2, "photo008.jpg": 2}


def test_other_options_or_a_second_run_at_once_are_refused(
    source: Path, checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, one = tmp_path / "out", tmp_path / "one"
    one.mkdir()
    shutil.copy(source / "set0" / "photo000.jpg", one)
    assert main(command(one, out, checkpoints)) == 0
    before = results(out)
    assert main(command(one, out, checkpoints, "--format", "exr")) == 2
    assert "holds a batch with format = png, not exr" in capsys.readouterr().err
    settings = Settings(models=(checkpoints["depth"],))
    with Record(out, settings):
        assert main(command(one, out, checkpoints)) == 2
    assert "Another lotus batch is writing" in capsys.readouterr().err
    assert results(out) == before


def test_a_bare_unet_gets_its_parts_which_decide_the_results(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, unet = str(official_folder(tmp_path / "parts", "g", wide=True)), tmp_path / "lotus-depth-g-v1-0.safetensors"
    save_file(wide_unet("g").state_dict(), unet)
    out, one = tmp_path / "out", tmp_path / "one"
    one.mkdir()
    shutil.copy(source / "set1" / "photo001.png", one)
    bare = {"depth": str(unet)}
    options = ("--vae", parts, "--text-encoder", parts, "--res", "64", "--device", "cpu")
    assert main(command(one, out, bare, *options)) == 0
    assert {manifest(out)["settings"][name] for name in ("vae", "text_encoder")} == {parts}
    photo = str(one / "photo001.png")
    assert main(["predict", photo, "-o", str(tmp_path), "--model", str(unet), *options, "--quiet"]) == 0
    assert (out / "photo001_depth.png").read_bytes() == (tmp_path / "photo001_depth.png").read_bytes()
    # What a worker of Ray is given is the same.
    args = parser().parse_args(command(one, out, bare, *options))
    sent = Settings.from_json(json.loads(json.dumps(Settings.of(args).to_json()))).namespace()
    assert (sent.vae, sent.text_encoder) == (parts, parts)
    other = shutil.copytree(parts, tmp_path / "other")
    assert main(command(one, out, bare, *options, "--vae", str(other))) == 2
    assert f"holds a batch with vae = {parts}, not {other}" in capsys.readouterr().err


def test_shards_share_no_file_and_leave_none_out(
    source: Path, checkpoints: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for shard in ("2/3", "1/3", "3/3"):
        assert main(command(source, out, checkpoints, "--shard", shard)) in (0, 2)
    assert results(out) == undisturbed
    assert len(times_done(out)) == 40
    assert set(times_done(out).values()) == {1}
    per_shard = [len(path.read_text().splitlines()) for path in (out / ".lotus-batch").glob("journal-*.jsonl")]
    assert len(per_shard) == 3
    assert min(per_shard) > 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "8", "--gpus", "0"], "--workers and --gpus: add --engine ray, or leave them out."),
        (["--address", "auto"], "--address: add --engine ray, or leave it out."),
        (["--cpus", "2", "--engine", "local"], "--cpus: add --engine ray, or leave it out."),
        (["--retries", "0", "--chunk", "16"], "--chunk and --retries: add --engine ray, or leave them out."),
    ],
)
def test_options_of_ray_without_it_are_refused(
    options: list[str], said: str, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", str(source), str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err == f"lotus: Only Ray takes {said}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x", "1", "1/0"])
def test_a_shard_that_makes_no_sense_is_one_sentence(
    shard: str, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", str(source), str(tmp_path / "out"), "--shard", shard]) == 2
    assert capsys.readouterr().err == f"lotus: --shard is I/N with I from 1 to N, as in 3/8, not {shard!r}.\n"


def test_pictures_in_flight_are_bounded(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    write_pictures(tmp_path, 24, size=(600, 400))
    items, _ = find_items(str(tmp_path), tmp_path / "out")
    one = 600 * 400 * 3 * 4
    limits = Limits(4, 2 * 3 * one)  # room for three pictures that wait
    started: list[str] = []

    def counted() -> object:
        for item in items:
            started.append(item.key)
            yield item

    with ThreadPoolExecutor(4) as readers:
        for number, read in enumerate(read_ahead(counted(), Settings(), limits, readers), start=1):  # type: ignore[arg-type]
            assert read.image is not None
            assert len(started) - number <= 3
    assert len(started) == 24
