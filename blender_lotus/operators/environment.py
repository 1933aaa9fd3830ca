"""The worker's environment and the ComfyUI server: create, repair, check."""

from __future__ import annotations

from pathlib import Path

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

    def __init__(self, title: str, task: Task) -> None:
        self.title, self.task = title, task
        self.notes: list[str] = []
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
    done_text = "ready"

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
        jobs.begin(TaskRun("Environment", task))


class LOTUS_OT_check_backend(ModalRun, bpy.types.Operator):
    """Start the backend and tell what it has"""

    bl_idname = "lotus.check_backend"
    bl_label = "Check"
    bl_options = {"INTERNAL"}
    done_text = "works"

    def start(self, _context: bpy.types.Context) -> None:
        backend = jobs.backend()
        check = getattr(backend, "check", None)
        if check is None:
            raise LotusError("Files need no check.")
        jobs.begin(TaskRun("Backend", check()))


CLASSES = (LOTUS_OT_create_environment, LOTUS_OT_check_backend)
