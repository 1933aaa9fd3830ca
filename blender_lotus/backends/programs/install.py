"""Makes the worker's environment: a venv, torch, lotus-geometry, and a trial start.

Speaks the worker's protocol: one request {"do": "install", ...}, progress, then "done" or "failed". What pip says goes
to the log. When Blender ends, so do we and pip.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lotus_core.worker import ALIVE_SECONDS
from lotus_core.worker.channel import Channel, read_lines

PIP = "pip>=24.1"  # the first with --progress-bar raw; ensurepip brings an older one
PYTHONS = ((3, 11), (3, 13))  # as requires-python of the wheel
NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows opens a console for programs otherwise
Report = Callable[[float, str], None]


class Refused(Exception):
    """One sentence on why the environment could not be made."""


def main() -> None:
    """Take the one request."""
    channel = Channel()
    requests = read_lines(0)
    channel.send("ready")
    request = json.loads(next(requests))
    for task in (lambda: _end_with(requests), lambda: _show_life(channel)):
        threading.Thread(target=task, daemon=True).start()
    id_ = request["id"]
    try:
        notes = install(request, lambda fraction, text: channel.send("progress", id=id_, fraction=fraction, text=text))
    except Refused as error:
        channel.send("failed", id=id_, message=str(error))
    except OSError as error:
        reason = f"{error.filename or request['folder']}: {error.strerror or error}"
        channel.send("failed", id=id_, message=f"{reason}: free some space or choose another folder.")
    else:
        channel.send("done", id=id_, environment=notes)
    os._exit(0)


def install(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Make the environment; returns what its marker file says. Raises Refused and OSError."""
    folder = Path(request["folder"])
    report(0.0, "Preparing")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _require_space(folder, float(request["gigabytes"]))
    base = request["python"] or sys.executable
    _require_version(base)
    (folder / request["marker"]).unlink(missing_ok=True)
    report(0.01, "Creating the environment")
    _run([base, "-I", "-m", "venv", "--clear", str(folder)], "The environment cannot be created")
    python = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    pip = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    report(0.04, "Updating pip")
    _run([*pip, "--upgrade", PIP], "pip cannot be updated")
    pip += ["--progress-bar", "raw"]
    pinned = ["-c", request["constraints"]]
    # The indexes of torch's other builds have few versions of what torch needs: those are pinned in the next step.
    source = pinned if request["index"] is None else ["--index-url", request["index"]]
    _pip([*pip, request["torch"], *source], "torch cannot be installed", report, 0.07, 0.7)
    wheel = f"{request['wheel']}[hub]"
    _pip([*pip, wheel, *pinned], "lotus-geometry cannot be installed", report, 0.7, 0.93)
    report(0.93, "Trying it out")
    notes = {**request["notes"], **_try_out(python), "created": time.strftime("%Y-%m-%d %H:%M:%S")}
    temporary = folder / f".{request['marker']}"
    temporary.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, folder / request["marker"])
    report(1.0, "Done")
    return notes


def _require_space(folder: Path, gigabytes: float) -> None:
    """Raise Refused where the environment does not fit; one that is there already makes room for it."""
    there = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    free = (shutil.disk_usage(folder.parent).free + there) / 1e9
    if free < gigabytes:
        raise Refused(
            f"The environment needs {gigabytes:.1f} GB, and {folder.parent} has room for {free:.1f} GB: free some"
            " space."
        )


def _require_version(python: str) -> None:
    ask = [python, "-I", "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{python} is no working Python ({error}): choose another.") from None
    if answer.returncode != 0:
        raise Refused(
            f"{python} cannot create environments ({_last_line(answer.stderr)}): install its venv module, on Debian"
            " python3-venv, or choose another Python."
        )
    version = tuple(int(number) for number in answer.stdout.split())
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        least, most = (f"{major}.{minor}" for major, minor in PYTHONS)
        raise Refused(
            f"{python} is Python {version[0]}.{version[1]}, but {least} to {most} is needed: choose another Python."
        )


def _pip(command: list[str], failure: str, report: Report, begin: float, end: float) -> None:
    """Run pip and report, between `begin` and `end`, how far its downloads are."""
    fraction, text = begin, "Looking for packages"
    report(fraction, text)
    last = 0.0
    for line in _lines(command, failure):
        if raw := re.fullmatch(r"Progress (\d+) of (\d+)", line):
            now, size = int(raw[1]), int(raw[2])
            if time.monotonic() - last > 0.2:
                last = time.monotonic()
                report(fraction, f"{text}: {now / 1e6:.0f} of {size / 1e6:.0f} MB")
            continue
        print(line, file=sys.stderr)
        if found := re.match(r"\s*(?:Downloading|Using cached) (\S+)", line):
            text = found[1].rsplit("/", 1)[-1].split("-")[0]
            # How many files there will be is not known: every one takes a part of what is left.
            fraction += (end - fraction) * 0.06
            report(fraction, text)
        elif line.startswith("Installing collected packages"):
            fraction, text = begin + 0.9 * (end - begin), "Installing"
            report(fraction, text)


def _run(command: list[str], failure: str) -> None:
    for line in _lines(command, failure):
        print(line, file=sys.stderr)


def _lines(command: list[str], failure: str) -> Iterator[str]:
    """The output of a command, stdout and stderr together. Raises Refused with its own reason where it fails."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        creationflags=NO_WINDOW,
    )
    _children.append(process)
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said = [*said[-50:], line.rstrip()]
        yield line.rstrip()
    if process.wait() != 0:
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise Refused(f"{failure}: {_last_line(chr(10).join(errors)) or 'it says not why'} (the log has all of it).")


def _try_out(python: Path) -> dict[str, Any]:
    """Start the worker; returns what it says of itself. Raises Refused where it does not come up."""
    worker = [str(python), "-I", "-X", "utf8", "-u", "-m", "lotus_core.worker"]
    process = subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, creationflags=NO_WINDOW)
    _children.append(process)
    assert process.stdout is not None
    found: dict[str, Any] = {}
    for line in process.stdout:
        message = json.loads(line)
        if message["event"] == "fatal":
            raise Refused(str(message["message"]))
        found |= {key: message[key] for key in ("python", "torch", "device", "devices") if key in message}
        if message["event"] == "ready":
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)
            return found
    raise Refused(f"The new environment does not work (exit code {process.wait()}): the log says why.")


_children: list[subprocess.Popen[Any]] = []


def _end_with(requests: Iterator[bytes]) -> None:
    """End, with all that we started, when Blender does or cancels."""
    for line in requests:
        if b'"cancel"' in line:
            break
    if sys.platform == "win32":
        for child in _children:
            with suppress(OSError):
                child.kill()
        os._exit(0)
    os.killpg(0, signal.SIGKILL)


def _show_life(channel: Channel) -> None:
    while True:
        time.sleep(ALIVE_SECONDS)
        channel.send("alive")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else ""


if __name__ == "__main__":
    main()
