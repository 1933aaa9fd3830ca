"""The worker's process: reads requests, sends events, ends with its parent. See the package for the protocol."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
import warnings
from typing import Any

from .. import __version__
from ..errors import Cancelled, LotusError
from . import ALIVE_SECONDS, PROTOCOL
from .channel import Channel, read_lines

GRACE_SECONDS = 1.0  # that a job gets to clean up after itself once the parent is gone
UNUSABLE = 3  # exit code of an environment that lacks a package


class Worker:
    """Two threads beside the main one, which does the work: one listens to the parent, one shows that we are alive."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._busy: str | None = "start"  # what is being worked on
        self._cancelled: set[str] = set()
        self._ended = threading.Event()
        self._parent = os.getppid()
        for task in (self._listen, self._watch):
            threading.Thread(target=task, daemon=True).start()

    def run(self) -> int:
        """Serve until the parent is gone; returns the exit code."""
        try:
            info = describe()
        except ImportError as error:
            self._channel.send("fatal", message=_lacking(error))
            return UNUSABLE
        from .jobs import Jobs

        jobs = Jobs()
        self._channel.send("ready", **info)
        while True:
            self._busy = None
            if self._ended.is_set():
                return 0
            message = self._requests.get()
            if self._ended.is_set():
                return 0
            self._busy = id_ = str(message.get("id"))
            try:
                self._serve(jobs, id_, message)
            except Cancelled:
                self._channel.send("cancelled", id=id_)
            except LotusError as error:
                self._channel.send("failed", id=id_, message=str(error))
            except MemoryError:
                self._channel.send("failed", id=id_, message="Not enough memory: choose a lower resolution.")
            except OSError as error:
                traceback.print_exc()
                where = error.filename or "A file"
                self._channel.send("failed", id=id_, message=f"{where}: {error.strerror or error}.")
            except Exception as error:  # a bug is told as one, and the next job gets its chance
                traceback.print_exc()
                reason = " ".join(str(error).split())
                self._channel.send(
                    "failed", id=id_, message=f"Unexpected {type(error).__name__} ({reason}): the log has the details."
                )

    def _serve(self, jobs: Any, id_: str, message: dict[str, Any]) -> None:
        from .jobs import Request

        def cancel() -> bool:
            return self._ended.is_set() or id_ in self._cancelled

        def progress(fraction: float, text: str) -> None:
            self._channel.send("progress", id=id_, fraction=round(fraction, 4), text=text)

        if message.get("do") != "predict":
            raise LotusError(f"There is no request {message.get('do')!r}: the host and the worker differ in version.")
        request = Request.from_json(message)
        self._channel.send("done", id=id_, **jobs.predict(request, progress, cancel))

    def _listen(self) -> None:
        for line in read_lines(0):
            try:
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                print(f"lotus worker: a line that is no request was ignored ({error})", file=sys.stderr)
                continue
            if message.get("do") == "cancel":
                self._cancelled.add(str(message.get("id")))
            else:
                self._requests.put(message)
        self._end()

    def _watch(self) -> None:
        while True:
            time.sleep(ALIVE_SECONDS)
            # A process that Blender forked can hold our stdin open after Blender's death.
            if os.name == "posix" and os.getppid() != self._parent:
                self._end()
            if self._busy is not None and not self._ended.is_set():
                self._channel.send("alive")

    def _end(self) -> None:
        """Let a running job clean up, but not for long."""
        self._ended.set()
        self._requests.put({})
        time.sleep(GRACE_SECONDS)
        os._exit(0)


def describe() -> dict[str, Any]:
    """What this environment can do. Imports everything a prediction needs. Raises ImportError."""
    import diffusers  # noqa: F401
    import torch

    from .. import predict  # noqa: F401
    from ..checkpoints import list_models
    from ..checkpoints.load import choose_device
    from ..model_info import ModelInfo

    models = [ModelInfo.from_metadata(header.metadata) for header in list_models().values()]
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "torch": torch.__version__,
        "device": str(choose_device()),
        "devices": devices,
        "device_names": [torch.cuda.get_device_name(name) if name.startswith("cuda") else name for name in devices],
        "models": [{"name": model.name, "task": model.task, "space": model.space} for model in models],
    }


def _lacking(error: ImportError) -> str:
    name = (error.name or str(error)).split(".")[0]
    return f"The Python environment {sys.prefix} has no working {name} ({error}): repair it or choose another."


def main() -> int:
    """Run the worker until its parent is gone."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    channel = Channel()
    channel.send("hello", protocol=PROTOCOL, version=__version__, python=sys.version.split()[0], pid=os.getpid())
    return Worker(channel).run()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the other threads wait in system calls that an orderly shutdown would wait for
