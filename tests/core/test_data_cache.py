"""Caches of rendered scenes: they grow, refuse scenes of another kind, and name what is damaged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lotus_core.data import cache
from lotus_core.data.cache import SceneCache, main, packed, render_cache
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.errors import LotusError


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SHARD", 2)


def scenes(count: int, seed: int = 5) -> SyntheticScenes:
    return SyntheticScenes(count, 24, 32, seed=seed, textures=None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_cache_grows_to_the_scenes_it_would_have_had_at_once(tmp_path: Path) -> None:
    for count in (3, 5, 5):
        render_cache(tmp_path / "grown", scenes(count))
    render_cache(tmp_path / "whole", scenes(5))
    assert names(tmp_path / "grown") == names(tmp_path / "whole")
    grown, whole = SceneCache(tmp_path / "grown"), SceneCache(tmp_path / "whole")
    assert len(grown) == len(whole) == 5
    assert all(torch.equal(grown[i].image, whole[i].image) for i in range(5))
    render_cache(tmp_path / "grown", scenes(3))  # fewer are there already
    assert len(SceneCache(tmp_path / "grown")) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seed", "6"], "holds scenes of seed 5, not 6"),
        (["--width", "48"], "holds scenes of size 32×24, not 48×24"),
        (["--kinds", "room"], "holds scenes of kinds street, not room"),
    ],
)
def test_other_scenes_are_not_mixed_into_a_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    arguments = [str(tmp_path), "--count", "2", "--height", "24", "--width", "32", "--seed", "5", "--workers", "1"]
    arguments += ["--kinds", "street"]
    assert main(arguments) == 0
    before = names(tmp_path)
    capsys.readouterr()
    assert main([*arguments, "--count", "4", *change]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert names(tmp_path) == before


def test_a_file_in_the_place_of_a_cache_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "scenes").write_text("mine")
    with pytest.raises(LotusError, match=r"Cannot make the folder .*scenes: a file has that name; move it"):
        render_cache(tmp_path / "scenes", scenes(2))
    assert (tmp_path / "scenes").read_text() == "mine"


def test_caches_of_older_versions_are_read_and_grow(tmp_path: Path) -> None:
    render_cache(tmp_path, scenes(2))
    (shard,) = tmp_path.iterdir()
    save_file(load_file(shard), shard)  # without the words about its scenes
    render_cache(tmp_path, scenes(4))
    assert len(SceneCache(tmp_path)) == 4
    shard.rename(tmp_path / "scenes-first.safetensors")
    assert len(SceneCache(tmp_path)) == 4


def test_scenes_that_would_count_twice_are_refused_and_put_right(tmp_path: Path) -> None:
    render_cache(tmp_path, scenes(2))
    save_file(packed([scenes(1)[0]]), tmp_path / "scenes-0000000-0000001.safetensors")
    with pytest.raises(LotusError, match=r"0000001.safetensors holds scenes that scenes-0000000-0000002.* count twice"):
        SceneCache(tmp_path)
    render_cache(tmp_path, scenes(2))
    assert len(SceneCache(tmp_path)) == 2


def test_scenes_of_different_sizes_do_not_make_a_cache(tmp_path: Path) -> None:
    render_cache(tmp_path, scenes(2))
    larger = SyntheticScenes(1, 32, 32, seed=5, textures=None)
    save_file(packed([larger[0]]), tmp_path / "scenes-0000002-0000003.safetensors")
    with pytest.raises(LotusError, match="holds scenes of different sizes"):
        SceneCache(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    render_cache(tmp_path, scenes(2))
    read = SceneCache(tmp_path)
    (shard,) = tmp_path.iterdir()
    os.truncate(shard, shard.stat().st_size // 2)
    for action in (lambda: SceneCache(tmp_path), lambda: read[0], lambda: render_cache(tmp_path, scenes(2))):
        with pytest.raises(LotusError, match=rf"The scene shard {shard} cannot be read .*: delete it"):
            action()


def test_shards_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        render_cache(tmp_path, scenes(1))
    finally:
        os.umask(before)
    (shard,) = tmp_path.iterdir()
    assert stat.S_IMODE(shard.stat().st_mode) == 0o640
