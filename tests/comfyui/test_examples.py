"""The example workflows' photo and clip in ComfyUI's input folder."""

from __future__ import annotations

from pathlib import Path

from comfyui_lotus.examples import CLIP, PHOTO, PLACED, place_examples


def test_they_are_put_there_once_and_stay_away_when_they_were_deleted(tmp_path: Path) -> None:
    place_examples(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PLACED, PHOTO, CLIP]
    (tmp_path / PHOTO).unlink()
    place_examples(tmp_path)
    assert not (tmp_path / PHOTO).exists()


def test_what_is_there_under_their_names_stays(tmp_path: Path) -> None:
    (tmp_path / PHOTO).write_bytes(b"mine")
    place_examples(tmp_path)
    assert (tmp_path / PHOTO).read_bytes() == b"mine"
    assert (tmp_path / CLIP).stat().st_size > 1000
