"""What tells data sets apart copes with any file name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from lotus_core.data.fingerprint import content_fingerprint
from lotus_core.data.synthetic import SyntheticScenes
from lotus_core.evaluation.benchmarks import frames_fingerprint


def test_names_that_are_not_utf_8_are_told_apart(tmp_path: Path) -> None:
    found = set()
    for number, name in enumerate((b"caf\xe9.png", b"caf\xe8.png")):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / os.fsdecode(name)
        try:
            Image.new("RGB", (8, 8), (200, 10, 10)).save(path)
        except OSError:
            pytest.skip("this file system takes no such names")  # macOS
        found.add(content_fingerprint(SyntheticScenes(1, 8, 8, textures=str(folder))))
        found.add(frames_fingerprint(folder, [(path,)]))
    assert len(found) == 4
