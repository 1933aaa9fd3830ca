"""Atomic writing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from lotus_core.errors import LotusError
from lotus_core.files import atomic_path, shared_mode


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def stop_in_the_middle() -> None:
        with atomic_path(target) as temporary:
            assert temporary.suffix == ".txt"
            assert temporary.parent == tmp_path
            temporary.write_text("half")
            raise RuntimeError("stopped in the middle")

    with pytest.raises(RuntimeError):
        stop_in_the_middle()
    assert target.read_text() == "old"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(LotusError, match="there is no folder"), atomic_path(tmp_path / "no" / "a.txt"):
        pass
    with pytest.raises(LotusError, match="it is a folder"), atomic_path(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(LotusError, match="there is no folder"), atomic_path(tmp_path / "file" / "a.txt"):
        pass


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with atomic_path(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LotusError, match="No space left on device"):
        fill_the_disk()
    assert os.listdir(tmp_path) == []


def test_a_private_file_gets_the_permissions_of_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.touch(0o600)
    before = os.umask(0o027)
    try:
        shared_mode(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.safetensors"]
