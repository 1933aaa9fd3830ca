"""One click makes the worker's environment: the real installer, venv, pip and wheel; only the index is a local one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from . import offline_index
from .fresh import FreshBlender
from .scenes import checks

CREATE = """
import os, time
from pathlib import Path

empty, index, photo = arguments
jobs = part("jobs").jobs
state = lambda: part("backends.environment").environment_state(part("preferences").environment_folder()).kind
report = {"before": state(), "offline": bpy.ops.lotus.create_environment.poll()}
bpy.context.preferences.system.use_online_access = True
preferences().torch_build = "cpu"
os.environ["PIP_NO_INDEX"] = "1"  # pip's own switches, which the installer leaves to the user
os.environ["PIP_FIND_LINKS"] = empty

# Cancelled while it is at work.
operator = part("operators.environment").LOTUS_OT_create_environment
operator.start(None, bpy.context)
process = jobs.run.task._session.pid
while jobs.step() and jobs.run.text != "Creating the environment":
    time.sleep(0.01)
report["pid"], start = process, time.monotonic()
jobs.cancel()
while jobs.step():
    time.sleep(0.01)
report["cancelled after"], report["cancelled"] = time.monotonic() - start, state()
report["message after cancel"] = jobs.message

# An index without the packages.
try:
    bpy.ops.lotus.create_environment()
except RuntimeError:
    report["failed"], report["log"], report["broken"] = jobs.message, jobs.log, state()

# Repaired.
os.environ["PIP_FIND_LINKS"] = index
texts, fractions = [], []
run_step = jobs.step
def step():
    going = run_step()
    if going:
        texts.append(jobs.run.text)
        fractions.append(jobs.run.fraction)
    return going
jobs.step = step
report["created"] = list(bpy.ops.lotus.create_environment())
report["notes"], report["ready"], report["texts"] = jobs.notes, state(), sorted(set(texts))
known = [fraction for fraction in fractions if fraction is not None]
report["grows"] = known == sorted(known)
bpy.ops.lotus.open_photo(filepath=photo)
lotus = bpy.context.scene.lotus
lotus.quality, lotus.resolution, lotus.use_normal = "CUSTOM", 64, False
preferences().device = "cpu"
report["predicted"] = list(bpy.ops.lotus.predict())
report["model"] = lotus.image.lotus.depth.lotus.model
report["python"] = str(jobs.backend().python)
answer(**report)
"""


@pytest.fixture(scope="module")
def report(fresh_blender: FreshBlender, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened when a user created the environment: cancelled it, failed, repaired it, and predicted."""
    place = tmp_path_factory.mktemp("Index")
    (place / "empty").mkdir()
    photo = place / "photo.png"
    Image.fromarray(checks(48, 64)).save(photo)
    index = offline_index.make(place / "wheels")
    return fresh_blender.run(CREATE, place / "empty", index, photo)


def test_it_needs_permission_to_go_online(report: dict[str, Any]) -> None:
    assert report["before"] == "missing"
    assert report["offline"] is False


def test_it_can_be_cancelled_and_nothing_goes_on(report: dict[str, Any]) -> None:
    import psutil

    assert report["cancelled after"] < 2  # 0.5 s on an idle machine
    assert report["cancelled"] in {
        "missing",
        "broken",
    }  # as far as it had come; the panel offers to create or repair it
    assert report["message after cancel"] == ""
    assert not psutil.pid_exists(report["pid"])


def test_a_failure_says_why_and_shows_the_log(report: dict[str, Any]) -> None:
    assert "No matching distribution found for pip>=24.1" in report["failed"]
    assert "ERROR: Could not find a version" in report["log"]
    assert report["broken"] == "broken"


def test_repairing_makes_an_environment_that_predicts(report: dict[str, Any], fresh_blender: FreshBlender) -> None:
    assert report["created"] == ["FINISHED"]
    assert report["ready"] == "ready"
    assert any("torch" in note for note in report["notes"])
    assert {"Creating the environment", "Updating pip", "Trying it out"} <= set(report["texts"])
    assert report["grows"]
    assert report["predicted"] == ["FINISHED"]
    assert report["model"] == "lotus-tiny-depth-g"
    folder = Path(report["python"])
    assert folder.is_relative_to(fresh_blender.user)
    assert list(folder.glob("[Ll]ib/**/lotus_core/__init__.py"))  # from the wheel in the zip, not the sources
