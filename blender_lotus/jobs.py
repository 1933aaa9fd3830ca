"""What runs outside Blender right now: at most one prediction or installation, its backend, and what to show of it."""

from __future__ import annotations

import atexit
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import bpy
from bpy.app.handlers import persistent

from . import progress
from .backends.base import Backend


class Run(Protocol):
    """Something in progress. `step` does a few milliseconds of work and returns True while it goes on."""

    title: str
    state: str  # as Task.state
    fraction: float | None
    text: str
    message: str
    notes: list[str]  # what the user should know although it went well
    result: str  # what came of it, when done
    of_file: bool  # whether it belongs to the .blend at hand, and ends with it

    def step(self) -> bool: ...
    def cancel(self) -> None: ...
    def log_tail(self, lines: int = 20) -> str: ...


class Jobs:
    """One per Blender session."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.message = ""  # what the last run that failed said, for the panel
        self.notes: list[str] = []  # what the last run wants the user to know
        self.log = ""
        self._backend: Backend | None = None
        self._key: tuple[str, str, bool] | None = None

    @property
    def running(self) -> bool:
        """Whether something is in progress."""
        return self.run is not None

    def begin(self, run: Run) -> None:
        """Make a run the current one."""
        self.run, self.message, self.notes, self.log = run, "", [], ""

    def refuse(self, message: str) -> None:
        """Show why a run could not begin."""
        self.message, self.notes, self.log = message, [], ""

    def step(self) -> bool:
        """Go on with the current run; False when it has ended (or was stopped)."""
        run = self.run
        if run is None:
            return False
        try:
            if run.step():
                return True
        except Exception as error:  # our own fault: the panel has to stay usable
            self._break(run, error)
        else:
            self._end()
        return False

    def cancel(self) -> None:
        """Ask the current run to stop."""
        if self.run is not None:
            self.run.cancel()

    def stop(self, note: str = "") -> None:
        """End the current run and its processes at once, without waiting; note: for the panel, if one was running."""
        run, self.run = self.run, None
        if run is not None:
            run.cancel()
            self.notes = [note] if note else []
        self.close_backend()
        if run is not None:
            run.step()  # its process is gone: it tidies up

    def backend(self) -> Backend:
        """The backend that the preferences name, kept between runs."""
        from .preferences import environment_folder, preferences

        chosen = preferences()
        python = bpy.path.abspath(chosen.python) if chosen.python else str(environment_folder())
        place = {"WORKER": python, "COMFYUI": chosen.comfyui_url}.get(chosen.backend, "")
        key = (chosen.backend, place, bpy.app.online_access)
        if self._backend is None or key != self._key:
            self.close_backend()
            self._backend, self._key = _make(*key), key
        return self._backend

    def known_models(self, kind: str) -> list[str]:
        """Names of models for "depth" or "normal" that the backend has told of, when it started or was checked; of a
        backend that does not say what they predict, those whose name does not speak against it.
        """
        other = "depth" if kind == "normal" else "normal"
        models = getattr(self._backend, "info", {}).get("models", [])
        told = [model["name"] for model in models if isinstance(model, dict) and model["task"] == kind]
        return told + [name for name in models if isinstance(name, str) and other not in name.lower()]

    def close_backend(self) -> None:
        """Stop the backend's processes; the next run starts new ones."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def register(self) -> None:
        bpy.app.handlers.load_pre.append(_on_load)
        atexit.register(self.stop)  # when there is no window any more

    def unregister(self) -> None:
        self.stop()
        progress.end()
        atexit.unregister(self.stop)
        if _on_load in bpy.app.handlers.load_pre:
            bpy.app.handlers.load_pre.remove(_on_load)
        self.message, self.notes, self.log = "", [], ""

    def _end(self) -> None:
        run, self.run = self.run, None
        assert run is not None
        if run.state == "failed":
            self.message, self.log = run.message, run.log_tail()
        self.notes = [*run.notes, run.result] if run.state == "done" else run.notes

    def _break(self, run: Run, error: Exception) -> None:
        """Fail a run that met what it does not expect."""
        traceback.print_exc()
        log = traceback.format_exc()
        with suppress(Exception):
            self.stop()  # the backend as well: what it is at is not known
        self.run, run.state = None, "failed"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        run.message = f"{run.title} stopped at an error inside Lotus ({reason}): try again, and report it with the log."
        self.message, self.notes, self.log = run.message, [], log


def _make(kind: str, place: str, online: bool) -> Backend:
    """A backend; each brings in only what it needs."""
    from .preferences import user_folder

    if kind == "WORKER":
        from .backends.worker import WorkerBackend

        return WorkerBackend(Path(place), user_folder("logs"), online=online)
    if kind == "COMFYUI":
        from .backends.comfyui import ComfyUIBackend

        return ComfyUIBackend(place, user_folder("logs"), online=online)
    from .backends.blender_pixels import read_pixels
    from .backends.files import FilesBackend

    return FilesBackend(read_pixels)


jobs = Jobs()


@persistent
def _on_load(*_: object) -> None:
    """Another file is about to be loaded: what is being predicted belongs to the old one, an installation does not."""
    if jobs.run is not None and jobs.run.of_file:
        jobs.stop("The prediction was stopped because another file was loaded.")
    progress.end()
