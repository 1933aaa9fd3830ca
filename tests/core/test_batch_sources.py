"""Which pictures `lotus batch` takes: folders, globs, lists and sequences, and never its own results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

import lotus_core as lotus
from lotus_core.batch.items import find_items
from lotus_core.batch.pipeline import Limits
from lotus_core.batch.run import Plan, run
from lotus_core.batch.settings import Settings
from lotus_core.cli import main

from .batches import command, manifest, times_done, write_pictures


def test_sources(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/c.PNG", "b/shot.1001.exr", "b/shot.1002.exr", "b/shot.1003.exr", "b/v.mov", "b/n.txt",
                 "b/.hidden.png", "b/two.001.png", "b/two.002.png", "out/x.png", "same.jpg", "same.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    items, ignored = find_items(str(tmp_path), tmp_path / "out")
    assert {item.key: (item.kind, item.output) for item in items} == {
        "a.jpg": ("still", "a"),
        "b/c.PNG": ("still", "b/c"),
        "b/shot.####.exr": ("sequence", "b/shot"),
        "b/v.mov": ("video", "b/v"),
        "b/two.001.png": ("still", "b/two.001"),
        "b/two.002.png": ("still", "b/two.002"),
        "same.jpg": ("still", "same.jpg"),
        "same.png": ("still", "same.png"),
    }
    assert ignored == 1
    (shot,) = (item for item in items if item.kind == "sequence")
    assert shot.numbers == (1001, 1002, 1003)
    for pattern in ("shot.####.exr", "shot.%04d.exr"):
        (named,) = find_items(str(tmp_path / "b" / pattern), tmp_path / "out")[0]
        assert (named.kind, named.numbers, named.output) == ("sequence", shot.numbers, "shot")
    assert [i.key for i in find_items(str(tmp_path / "**" / "*.PNG"), tmp_path / "out")[0]] == ["b/c.PNG"]
    assert all(item.kind != "sequence" for item in find_items(str(tmp_path), tmp_path / "out", sequences=False)[0])
    for nothing in ("nowhere", "*.bmp", "none.####.exr", "b/n.txt"):
        with pytest.raises(lotus.LotusError):
            find_items(str(tmp_path / nothing), tmp_path / "out")


def test_a_glob_over_everything_takes_neither_results_nor_hidden_folders(
    checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / ".trash" / "old").mkdir(parents=True)
    shutil.copy(tmp_path / "set1" / "photo001.png", tmp_path / ".trash" / "old")
    monkeypatch.chdir(tmp_path)
    for out in ("out", "out", str(tmp_path / "set1" / "maps")):  # again, and elsewhere by its whole path
        options = ["--model", checkpoints["depth"], "--threads", "1", "--quiet"]
        assert main(["batch", "**/*.png", out, *options]) == 0
        assert "set1/photo001.png" in manifest(Path(out))["items"]
        shutil.copy(tmp_path / "set1" / "photo001.png", Path(out) / ".lotus-batch" / "clips")
    assert list(manifest(tmp_path / "out")["items"]) == ["set1/photo001.png"]
    items, _ = find_items(str(tmp_path / ".trash" / "*" / "*.png"), tmp_path / "out")  # named, so wanted
    assert [item.key for item in items] == ["old/photo001.png"]
    with pytest.raises(lotus.LotusError, match=r"out/set1/\*\.png matches is hidden, lies in out or was written"):
        find_items("out/set1/*.png", Path("out"))


@pytest.mark.parametrize(
    ("source", "destination", "taken"),
    [
        ("photos", "photos", ["a.png", "shot.####.png", "sub/b.png"]),
        ("photos/*.png", "photos", ["a.png", "shot.####.png"]),
        ("photos/**/*.png", "photos", ["a.png", "shot.####.png", "sub/b.png"]),
        ("photos/sub", "photos", ["b.png"]),  # whose results lie beside the folder
        ("photos/sub/*.png", "photos", ["b.png"]),
        ("link/*.png", "photos", ["a.png", "shot.####.png"]),
        ("photos", "photos/sub", ["a.png", "shot.####.png"]),  # below the pictures: passed over with all in it
        ("photos/**/*.png", "photos/sub", ["a.png", "shot.####.png"]),
    ],
)
def test_results_among_the_pictures_are_never_taken_for_pictures(
    source: str,
    destination: str,
    taken: list[str],
    checkpoints: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("a.png", "shot.0001.png", "shot.0002.png", "shot.0003.png", "sub/b.png", ".trash/c.png")
    for number, name in enumerate(names):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 32), (40 * number, 90, 30)).save(path)
    Path("link").symlink_to("photos")
    plan = Plan(source, Path(destination), Settings(models=(checkpoints["depth"],)), Limits(1, 2**28), threads=1)
    for done, before in ((len(taken), 0), (0, len(taken))):
        summary = run(plan)
        assert (summary.done, summary.before, summary.failures, summary.ignored) == (done, before, {}, 0)
        assert list(manifest(Path(destination))["items"]) == taken
    # The journal alone tells them, as after a kill, and the manifest alone.
    kept = Path(destination, "lotus-batch.json").rename("kept.json")
    assert [item.key for item in find_items(source, Path(destination))[0]] == taken
    shutil.rmtree(Path(destination, ".lotus-batch"))
    kept.rename(Path(destination, "lotus-batch.json"))
    assert [item.key for item in find_items(source, Path(destination))[0]] == taken


def test_results_of_other_commands_among_the_pictures_are_passed_over(
    checkpoints: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/sub/b.png", "photos/sub/b_depth_map.png", "photos/sub/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 32), "red").save(name)
    Path("photos/sub/c.json").write_text('{"maps": "of another program"}')
    taken = ["a.png", "sub/b.png", "sub/b_depth_map.png", "sub/c.png"]
    assert main(["batch", "photos/a.png", "photos", "--model", checkpoints["depth"], "--quiet"]) == 0
    assert main(["batch", "photos", "photos/earlier", "--model", checkpoints["depth"], "--quiet"]) == 0
    assert main(["predict", "photos/sub/b.png", "-o", "photos/sub", "--model", checkpoints["depth"], "--quiet"]) == 0
    assert Path("photos/a_depth.png").is_file()
    assert Path("photos/sub/b_depth_preview.png").is_file()
    for source in ("photos", "photos/**/*.png"):
        assert [item.key for item in find_items(source, Path("elsewhere"))[0]] == taken
    below = find_items("photos/sub", Path("photos/sub"))[0]
    assert [item.key for item in below] == ["b.png", "b_depth_map.png", "c.png"]
    assert [item.key for item in find_items("photos/a_depth.png", Path("elsewhere"))[0]] == ["a_depth.png"]  # named


def test_the_glob_of_a_folder_with_results_in_it_resumes(checkpoints: dict[str, str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (48, 32), "red").save(photos / name)
    for _ in range(2):
        assert main(command(photos / "*.*", photos, checkpoints)) == 0
        assert times_done(photos) == {"a.jpg": 1, "b.jpg": 1}


@pytest.mark.parametrize(
    "picture", ["a_depth.png", "sub/b_normal_preview.png", "shot/shot_depth.0001.png", "shot_uncertainty.png"]
)
def test_a_picture_that_a_result_would_replace_stops_the_batch(picture: str, tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg", "shot.0001.png", "shot.0002.png", "shot.0003.png", "free_depth.png", picture):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for source in (tmp_path, tmp_path / "**" / "*"):
        with pytest.raises(lotus.LotusError, match=f"may take the place of {tmp_path / picture}: choose another"):
            find_items(str(source), tmp_path)
        assert len(find_items(str(source), tmp_path / "out")[0]) == 5


def test_two_frames_of_one_number_are_refused(
    checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("f.001.png", "f.002.png", "f.003.png", "f.0002.png"):
        Image.new("RGB", (64, 48), "red").save(tmp_path / name)
    for source in (tmp_path, tmp_path / "f.###.png"):
        assert main(command(source, tmp_path / "out", checkpoints)) == 2
        told = capsys.readouterr().err
        assert f"{tmp_path / 'f.0002.png'} and f.002.png are both frame 2 of f.###.png" in told
    assert not (tmp_path / "out").exists()


def test_links_to_folders_are_followed_and_no_picture_is_taken_twice(tmp_path: Path) -> None:
    for name in ("disk/plates/b.png", "disk/plates/deep/c.png", "photos/a.png", "photos/sub/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photos = tmp_path / "photos"
    for link, target in (
        ("plates", "../disk/plates"),
        ("again", "sub"),
        ("round", "."),
        ("sub/up", ".."),
        ("deeper", "../disk/plates/deep"),
    ):
        (photos / link).symlink_to(target)
    (tmp_path / "disk" / "plates" / "back").symlink_to(photos)
    items, _ = find_items(str(photos), tmp_path / "out")
    assert [item.key for item in items] == ["a.png", "deeper/c.png", "plates/b.png", "sub/d.png"]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ([1001, 1002, 1003], (0, 0)),
        ([1, 3, 5, 7], (0, 0)),  # on twos
        ([1, 2, 4], (1, 3)),
        ([10, 12, 18, 20, 30], (6, 14)),
    ],
)
def test_a_gap_in_a_sequence_is_seen(tmp_path: Path, numbers: list[int], missing: tuple[int, int]) -> None:
    for number in numbers:
        (tmp_path / f"shot.{number:04d}.png").touch()
    (item,), _ = find_items(str(tmp_path), tmp_path / "out")
    assert item.missing == missing


def test_a_gap_in_a_sequence_is_told(
    checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 4):
        Image.new("RGB", (64, 48), (9 * number, 90, 0)).save(tmp_path / f"shot.{number:04d}.png")
    command = ["batch", str(tmp_path), str(tmp_path / "out"), "--model", checkpoints["depth"], "--video", "ffv1"]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "shot.####.png has a gap: 1 frame missing, from 3 on, and --video leaves no room for it." in told
