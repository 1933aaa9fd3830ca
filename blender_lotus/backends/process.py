"""A process that answers in lines of JSON, watched without ever waiting for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import lotus_core

READ_AT_ONCE = 1 << 20  # bytes taken in per poll: a process that floods us must not hold Blender up
LONGEST_LINE = 1 << 20
TAIL_BYTES = 32_768
NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows opens a console for programs otherwise
OLD_LOG_SECONDS = 7 * 86_400


class StartError(Exception):
    """The program cannot be started: one sentence on why."""


class LineProcess:
    """Runs `command` with pipes for stdin and stdout, and a log file for stderr.

    Args:
        command: program and arguments.
        log: file that stderr goes to, replaced. Where it cannot be written, stderr is dropped: a full disk must not
            keep the message about the full disk from being shown.
        environment: the whole environment of the process.

    Raises StartError where there is no such program.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log_path = log
        self.garbage: bytes | None = None  # the first line that was not a JSON object
        self._unread = b""
        self._unsent = b""
        self._closed = False
        self._sink: IO[bytes] | int
        try:
            self._sink = log.open("wb")
        except OSError:
            self._sink = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._sink,
                env=dict(environment),
                bufsize=0,
                creationflags=NO_WINDOW,
                start_new_session=True,  # a process group of its own, to be killed as one; Windows ignores it
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StartError(f"{command[0]} cannot be started ({reason}): choose another Python.") from None
        finally:
            if not isinstance(self._sink, int):
                self._sink.close()  # the process has its own
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        if sys.platform != "win32":  # there it needs Python 3.12; see _read and _flush
            os.set_blocking(self._stdin.fileno(), False)
            os.set_blocking(self._stdout.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue one line; it leaves now or, where the pipe is full, with the next polls."""
        self._unsent += json.dumps(message).encode("ascii") + b"\n"
        self._flush()

    def poll(self) -> list[dict[str, Any]]:
        """The messages that arrived since the last call. Sets `garbage` at what is none, and then reads no more."""
        self._flush()
        if self.garbage is not None:
            return []
        *lines, self._unread = (self._unread + self._read()).split(b"\n")
        messages: list[dict[str, Any]] = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self.garbage = line
                return messages
            messages.append(message)
        if len(self._unread) > LONGEST_LINE:
            self.garbage = self._unread[:200]
        return messages

    def kill(self) -> None:
        """End the process and all its children now; does not wait for their end."""
        if self._process.poll() is None:
            if sys.platform == "win32":
                with suppress(OSError):  # killing it ourselves first would hide its children from taskkill
                    subprocess.Popen(
                        ["taskkill", "/F", "/T", "/PID", str(self.pid)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        creationflags=NO_WINDOW,
                    )
            else:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
        self._close()

    def release(self) -> None:
        """Close the pipes and let the process end by itself, which ours do when nobody listens to them."""
        self._close()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, for tests and scripts. False where it has not come."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def _close(self) -> None:
        self._closed = True
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):
                pipe.close()

    def _read(self) -> bytes:
        """What has arrived, at most READ_AT_ONCE bytes, without waiting."""
        data = b""
        while not self._closed and len(data) < READ_AT_ONCE:
            try:
                if sys.platform == "win32":
                    import _winapi
                    import msvcrt

                    ready = _winapi.PeekNamedPipe(msvcrt.get_osfhandle(self._stdout.fileno()))[0]
                    if not ready:
                        break
                    chunk = os.read(self._stdout.fileno(), ready)
                else:
                    chunk = os.read(self._stdout.fileno(), 65536)
            except OSError:  # BlockingIOError: nothing there; BrokenPipeError (Windows): ended
                break
            if not chunk:
                break
            data += chunk
        return data

    def _flush(self) -> None:
        # On Windows a write waits where the pipe is full. The worker always reads, and a message is far shorter.
        try:
            while self._unsent and not self._closed:
                self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # it has ended, which its exit code says
            self._unsent = b""


def log_tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log; nothing where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    # A progress bar rewrites its line: what it showed last is what counts.
    return "\n".join([line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")][-lines:])


def own_program(name: str) -> list[str]:
    """The command that runs one of our programs with Blender's own Python and the standard library."""
    boot = "import runpy, sys; sys.path += sys.argv[1:3]; runpy.run_module(sys.argv[3], run_name='__main__')"
    places = [str(Path(lotus_core.__file__).parent.parent), str(Path(__file__).parent)]
    return [str(own_python()), "-I", "-X", "utf8", "-u", "-c", boot, *places, f"programs.{name}"]


def own_python() -> Path:
    """The Python that runs us: Blender's is a library of Blender, but the program lies beside it.

    Raises StartError where it does not.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    named = [Path(sys.executable or "")] if Path(sys.executable or "").name.lower().startswith("python") else []
    beside = [Path(sys.prefix, *parts) for parts in (("bin", version), ("bin", "python3"), ("python.exe",))]
    for path in (*named, *beside):
        if path.is_file():
            return path
    raise StartError(f"There is no Python program in {sys.prefix}: install Blender from blender.org.")


def clean_environment(online: bool) -> dict[str, str]:
    """Ours, without what would lead another Python astray; offline, the Hugging Face libraries are told so."""
    astray = ("PYTHON", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(astray)}
    if not online:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment


def log_file(folder: Path, name: str) -> Path:
    """A log file of this Blender in `folder` (made where missing); those that are a week old go."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{name}-*.log"):
            if time.time() - old.stat().st_mtime > OLD_LOG_SECONDS:
                old.unlink()
    return folder / f"{name}-{os.getpid()}.log"
