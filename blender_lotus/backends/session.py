"""Backends that live in a process: one job at a time, patience with limits, cancelling that always works."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lotus_core.errors import LotusError
from lotus_core.maps.textures import Texture
from lotus_core.worker import ALIVE_SECONDS, PROTOCOL

from .base import Job, Prediction, Task, failed, read_record
from .process import LineProcess, StartError, log_file, log_tail

OBEY_SECONDS = 0.15  # from asking a process to stop to killing it; the panel promises half a second
LONGEST_GAP = 1.0  # seconds between two polls that count: Blender may have been busy, or the computer asleep


class ProcessTask(Task):
    """A task whose backend is a process. Without a request it is done when the process is ready."""

    def __init__(self, id_: str, session: Session, request: Mapping[str, Any] | None) -> None:
        super().__init__("Starting")
        self.id = id_
        self.request = request
        self.sent = False
        self.obey_by: float | None = None  # when a cancelled task's process is killed
        self._session = session

    def poll(self) -> bool:
        self._session.poll()
        return self.state == "running"

    def cancel(self) -> None:
        self._session.cancel(self)

    def log_tail(self, lines: int = 20) -> str:
        return self._session.log_tail(lines)


class Session:
    """Keeps one process, starts it when needed and again when it has died.

    Args:
        folder: of its log.
        silence: seconds without any sign of life after which it is given up, while it has something to do.
        stall: seconds without progress after which it is given up.
    """

    name = "process"
    restarts_when_killed = True
    ends_by_itself = False  # whether to leave it to the process to end when its pipes are closed

    def __init__(self, folder: Path, *, silence: float = 60.0, stall: float = 1800.0) -> None:
        self.info: dict[str, Any] = {}
        self._log = log_file(folder, self.name)
        self._silence_limit, self._stall_limit = silence, stall
        self._process: LineProcess | None = None
        self._task: ProcessTask | None = None
        self._ids = itertools.count(1)
        self._ready = self._greeted = False
        self._silence = self._stall = 0.0
        self._last_poll = time.monotonic()

    def command(self) -> Sequence[str]:
        """Program and arguments. Raises LotusError where there is none that could be run."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """The process's environment."""
        raise NotImplementedError

    def explain_start_failure(self, exit_code: int) -> str:
        """The sentence for a process that ended before it said anything."""
        return f"The {self.name} ended while starting ({_how(exit_code)}): {self._last_words()}"

    @property
    def state(self) -> str:
        """ "stopped", "starting", "ready" or "busy"."""
        if self._process is None or self._process.exit_code is not None:
            return "stopped"
        if not self._ready:
            return "starting"
        return "ready" if self._task is None else "busy"

    @property
    def log_path(self) -> Path:
        return self._log

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def warm_up(self) -> str:
        """Start the process now, so that the first job need not wait for it. Returns why it cannot, or ""."""
        if self._process is not None:
            if self._process.exit_code is None:
                return ""
            self._process.kill()
        self._ready = self._greeted = False
        self._silence = self._stall = 0.0
        self.info = {}
        try:
            self._process = LineProcess(self.command(), self._log, self.environment())
        except (StartError, LotusError) as error:
            self._process = None
            return str(error)
        return ""

    def submit(self, request: Mapping[str, Any] | None) -> Task:
        """Send a request as soon as the process is ready for it; None: only wait until it is ready."""
        self.poll()
        if self._task is not None:
            return failed("Another prediction is running: wait for it or cancel it.")
        reason = self.warm_up()
        if reason:
            return failed(reason)
        id_ = str(next(self._ids))
        self._task = task = ProcessTask(id_, self, None if request is None else {**request, "id": id_})
        self._silence = self._stall = 0.0
        self._last_poll = time.monotonic()
        self._send_when_ready()
        return task

    def poll(self) -> None:
        """Take in what the process said, and see whether it still lives. Waits for nothing."""
        now = time.monotonic()
        gap, self._last_poll = min(now - self._last_poll, LONGEST_GAP), now
        process = self._process
        if process is None:
            return
        exit_code = process.exit_code  # before reading: what it said last must not be missed
        messages = process.poll()
        self._silence = 0.0 if messages else self._silence + gap
        self._stall += gap
        for message in messages:
            try:
                self._take(message)
            except (KeyError, TypeError, ValueError) as error:
                self._give_up(f"The {self.name} sent an answer that cannot be understood ({error!r}): repair it.")
            if self._process is not process:
                return
        self._send_when_ready()
        waiting = self._task is not None or not self._ready
        if process.garbage is not None:
            shown = process.garbage[:60].decode("utf-8", "replace")
            self._give_up(f"What was started is not a {self.name}, it answers {shown!r}: choose another.")
        elif exit_code is not None:
            self._ended(exit_code)
        elif self._task is not None and self._task.obey_by is not None and now >= self._task.obey_by:
            self._stop("cancelled", "")
            if self.restarts_when_killed:
                self.warm_up()
        elif waiting and self._silence > self._silence_limit:
            self._give_up(
                f"The {self.name} has not answered for {self._silence_limit:.0f} s and was stopped: try again."
            )
        elif waiting and self._stall > self._stall_limit:
            minutes = self._stall_limit / 60
            self._give_up(
                f"The {self.name} has made no progress for {minutes:.0f} min and was stopped: lower the resolution."
            )

    def cancel(self, task: ProcessTask) -> None:
        """Stop a task: ask, and kill the process if it has not obeyed OBEY_SECONDS later."""
        if task is not self._task or task.obey_by is not None:
            return
        if not task.sent:
            self._task = None
            task.finish("cancelled")
            return
        assert self._process is not None
        task.text = "Cancelling"
        task.obey_by = time.monotonic() + OBEY_SECONDS
        self._process.send({"do": "cancel", "id": task.id})

    def close(self) -> None:
        """Kill the process and all its children. A running task counts as cancelled."""
        self._stop("cancelled", "")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote to stderr."""
        return log_tail(self._log, lines)

    def _send_when_ready(self) -> None:
        task = self._task
        if task is None or not self._ready or task.sent or self._process is None:
            return
        if task.request is None:
            self._task, task.info = None, self.info
            task.finish("done")
        else:
            task.sent = True
            self._process.send(task.request)

    def _take(self, message: dict[str, Any]) -> None:
        event = message["event"]
        task = self._task if self._task is not None and message.get("id") == self._task.id else None
        if event == "hello":
            self._greeted = True
            self._stall = 0.0
            self.info.update(message)
            if message["protocol"] != PROTOCOL:
                self._give_up(
                    f"The {self.name} is lotus-geometry {message['version']}, which this extension cannot talk to:"
                    " repair or update it."
                )
        elif event == "ready":
            self._ready = self._greeted = True
            self._stall = 0.0
            self.info.update(message)
        elif event == "fatal":
            self._give_up(str(message["message"]))
        elif event == "progress" and task is not None:
            if task.obey_by is None:
                task.fraction, task.text = message["fraction"], str(message["text"])
            self._stall = 0.0
        elif event in ("done", "failed", "cancelled") and task is not None:
            if task.obey_by is not None or event == "cancelled":
                task.finish("cancelled")
            elif event == "failed":
                task.finish("failed", str(message["message"]))
            else:
                self._complete(task, message)
            self._task = None  # only now: an answer that cannot be understood fails the task

    def _complete(self, task: ProcessTask, message: dict[str, Any]) -> None:
        task.info = message
        if "models" in message:
            self.info["models"] = message["models"]
        if "files" in message:
            try:
                record = read_record(Path(message["record"])) if message.get("record") else {}
            except LotusError as error:
                task.finish("failed", str(error))
                return
            files = {map_: Path(path) for map_, path in message["files"].items()}
            previews = {map_: Path(path) for map_, path in message.get("previews", {}).items()}
            textures = {map_: Texture.from_dict(made) for map_, made in message.get("textures", {}).items()}
            task.prediction = Prediction(files, previews, record, textures=textures)
        task.finish("done")

    def _ended(self, exit_code: int) -> None:
        if exit_code == 0 and self._ready and self._task is None:
            self._stop("done", "")
        elif not self._greeted:
            self._give_up(self.explain_start_failure(exit_code))
        elif exit_code == -9:
            self._give_up(
                f"The {self.name} was killed, most likely because memory ran out: choose a lower resolution or close"
                " other programs."
            )
        else:
            self._give_up(f"The {self.name} ended unexpectedly ({_how(exit_code)}): {self._last_words()}")

    def _give_up(self, reason: str) -> None:
        self._stop("failed", reason)

    def _stop(self, state: Any, message: str) -> None:
        process, task = self._process, self._task
        self._process = self._task = None
        self._ready = self._greeted = False
        if process is not None and self.ends_by_itself and self._silence < OBEY_SECONDS + ALIVE_SECONDS * 2:
            process.release()
        elif process is not None:
            process.kill()
        if task is not None:
            task.finish("cancelled" if task.obey_by is not None else state, message)
        elif message:
            self.info = {"message": message}

    def _last_words(self) -> str:
        words = [line.strip() for line in log_tail(self._log, 5).splitlines() if line.strip()]
        return words[-1].rstrip(".") + "." if words else "it left no message."


def predict_request(job: Job) -> dict[str, Any]:
    """A job in the words of the worker's protocol."""
    return {
        "do": "predict",
        "image": str(job.image),
        "folder": str(job.folder),
        "maps": list(job.maps),
        "models": list(job.models.values()),
        "options": job.options,
        "textures": job.textures,
    }


def _how(exit_code: int) -> str:
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
