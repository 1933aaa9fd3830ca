"""Predictions, driven as the operator's timer drives them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .scenes import MODULE, part

PATIENCE = 400.0  # seconds; a machine with much other work needs minutes to import torch


def settings(bpy: Any, **values: Any) -> Any:
    """The scene's settings: only depth, seen 64 pixels wide, unless told otherwise."""
    chosen = bpy.context.scene.lotus
    fast = {"use_depth": True, "use_normal": False, "use_uncertainty": False, "quality": "CUSTOM", "resolution": 64}
    for name, value in (fast | values).items():
        setattr(chosen, name, value)
    return chosen


def long_job(bpy: Any) -> Any:
    """Settings that keep the worker busy until it is stopped."""
    return settings(bpy, use_depth=False, use_uncertainty=True, samples=64, resolution=384)


def preferences(bpy: Any) -> Any:
    """Of the extension."""
    return bpy.context.preferences.addons[MODULE].preferences


def begin(bpy: Any) -> Any:
    """Start a prediction as Predict does when its button is clicked; returns the run."""
    jobs = part("jobs").jobs
    settings_ = bpy.context.scene.lotus
    jobs.begin(part("frames").run_for(settings_.image, settings_, jobs.backend()))
    return jobs.run


def drive(until: Callable[[Any], bool] | None = None, patience: float = PATIENCE) -> None:
    """Step like the timer, until the run has ended or `until(run)` holds."""
    jobs = part("jobs").jobs
    end = time.monotonic() + patience
    while jobs.step():
        if until is not None and until(jobs.run):
            return
        assert time.monotonic() < end, f"still {jobs.run.text}"
        time.sleep(0.02)
    assert until is None, f"it ended before: {jobs.message or jobs.notes}"


def working(run: Any) -> bool:
    """The worker computes: its models are loaded."""
    return run.text not in {"", "Starting", "Cancelling"} and not run.text.startswith("Loading")


def enabled(bpy: Any, name: str) -> bool:
    """Whether a button of ours can be clicked: `bpy.ops.lotus.<name>` where the panel asks."""
    with bpy.context.temp_override(lotus_button=bpy.context.scene):
        return bool(getattr(bpy.ops.lotus, name).poll())


def fails(bpy: Any) -> str:
    """Predict until it fails; the sentence that the panel then shows."""
    begin(bpy)
    drive()
    message: str = part("jobs").jobs.message
    assert message, part("jobs").jobs.notes
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


def is_ready(bpy: Any) -> None:
    """After a fault: nothing runs any more, and Predict can be clicked."""
    assert not part("jobs").jobs.running
    assert enabled(bpy, "predict")
    assert not bpy.ops.lotus.cancel.poll()


def is_usable(bpy: Any) -> None:
    """The same, and the next prediction works."""
    is_ready(bpy)
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert bpy.context.scene.lotus.image.lotus.depth is not None


def files_in(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
