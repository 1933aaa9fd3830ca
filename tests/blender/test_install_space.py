"""Room for the worker's environment. The free space is a stand-in: a test cannot fill a disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from blender_lotus.backends.programs import install


def test_an_environment_that_is_made_anew_takes_the_room_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: SimpleNamespace(free=7.5e9))
    folder = tmp_path / "env"
    with pytest.raises(install.Refused, match=r"needs 8\.0 GB, and .* has room for 7\.5 GB: free some space\."):
        install._require_space(folder, 8.0)
    (folder / "lib").mkdir(parents=True)
    with open(folder / "lib" / "torch.so", "wb") as file:
        file.truncate(600_000_000)  # takes no room itself
    install._require_space(folder, 8.0)
