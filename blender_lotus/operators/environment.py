"""The worker's environment and the ComfyUI server: create, repair, check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from lotus_core.errors import LotusError

from ..backends.base import Task
from ..backends.environment import install_environment
from ..jobs import jobs
from ..preferences import environment_folder, preferences, user_folder
from .predict import ModalRun

WHEELS = Path(__file__).resolve().parent.parent / "wheels"  # what build.py puts into the extension


class TaskRun:
    """A task of a backend as a run of the panel. See `jobs.Run`."""

    of_file = False

    def __init__(self, title: str, task: Task, tell: Callable[[dict[str, Any]], str]) -> None:
        """tell: says in a few words what came of the task, given its info."""
        self.title, self.task = title, task
        self.notes: list[str] = []
        self.result = ""
        self._tell = tell
        self._copy()

    def step(self) -> bool:
        """Poll once."""
        running = self.task.poll()
        self._copy()
        return running

    def _copy(self) -> None:
        task = self.task
        self.state: str = task.state
        self.fraction, self.text, self.message = task.fraction, task.text, task.message
        if task.state == "done":
            self.result = f"{self.title}: {self._tell(task.info)}"

    def cancel(self) -> None:
        """Ask to stop."""
        self.task.cancel()

    def log_tail(self, lines: int = 20) -> str:
        """The end of the log."""
        return self.task.log_tail(lines)


class LOTUS_OT_create_environment(ModalRun, bpy.types.Operator):
    """Create the worker's environment: a Python of its own with torch; downloads one to several gigabytes"""

    bl_idname = "lotus.create_environment"
    bl_label = "Create Environment"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.online_access:
            cls.poll_message_set("Switch on Allow Online Access in the preferences under System, Network")
            return False
        return super().poll(context)

    def start(self, _context: bpy.types.Context) -> None:
        wheels = sorted(WHEELS.glob("lotus_geometry-*.whl"))
        if not wheels:
            raise LotusError("This copy of the extension has no wheel inside; install the zip that build.py makes.")
        jobs.close_backend()
        task = install_environment(
            environment_folder(),
            wheels[-1],
            WHEELS / "constraints.txt",
            build=preferences().torch_build,
            online=bpy.app.online_access,
            log_folder=user_folder("logs"),
        )
        jobs.begin(TaskRun("Environment", task, lambda info: _of_worker(info["environment"])))


class LOTUS_OT_check_backend(ModalRun, bpy.types.Operator):
    """Start the backend and tell what it has"""

    bl_idname = "lotus.check_backend"
    bl_label = "Check"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if preferences().backend == "FILES":
            cls.poll_message_set("Maps that are files need no check")
            return False
        return super().poll(context)

    def start(self, _context: bpy.types.Context) -> None:
        backend = jobs.backend()
        if preferences().backend == "COMFYUI":
            jobs.begin(TaskRun("ComfyUI", backend.check(), _of_comfyui))
        else:
            jobs.begin(TaskRun("Worker", backend.check(), _of_worker))


def _of_worker(info: dict[str, Any]) -> str:
    names = info.get("device_names") or info.get("devices") or [info.get("device", "")]
    return f"works, Python {info.get('python', '?')}, torch {info.get('torch', '?')}, computes on {', '.join(names)}"


def _of_comfyui(info: dict[str, Any]) -> str:
    return f"version {info.get('comfyui') or 'unknown'}, {len(info['models'])} Lotus models"


CLASSES = (LOTUS_OT_create_environment, LOTUS_OT_check_backend)
