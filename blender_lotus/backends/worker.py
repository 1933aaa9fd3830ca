"""Predictions by `python -m lotus_core.worker`, in an environment of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import Job, Task
from .environment import find_python
from .process import clean_environment
from .session import Session, predict_request


class WorkerBackend(Session):
    """Keeps a worker, whose models stay loaded between jobs.

    Args:
        python: a Python that has lotus-geometry and torch, or the folder of its environment.
        folder: for the worker's log.
        online: whether models may be downloaded.
        silence, stall: see Session.
    """

    name = "worker"

    def __init__(
        self, python: Path, folder: Path, *, online: bool = False, silence: float = 60.0, stall: float = 1800.0
    ) -> None:
        super().__init__(folder, silence=silence, stall=stall)
        self.python = python
        self._online = online

    def start(self, job: Job) -> Task:
        return self.submit(predict_request(job))

    def check(self) -> Task:
        """Start the worker; info: "torch", "device", "device_names", "models" and more of its `ready` event."""
        return self.submit(None)

    def command(self) -> Sequence[str]:
        # -I: no PYTHON* variables, no user site, no current folder; the environment alone decides what is imported.
        return [str(find_python(self.python)), "-I", "-X", "utf8", "-u", "-m", "lotus_core.worker"]

    def environment(self) -> Mapping[str, str]:
        return clean_environment(self._online)

    def explain_start_failure(self, exit_code: int) -> str:
        if "No module named" in self.log_tail(3) and "lotus_core" in self.log_tail(3):
            return (
                f"The Python at {self.python} has no lotus-geometry: create an environment in the preferences, or"
                " choose one that has it."
            )
        return super().explain_start_failure(exit_code)
