"""A ComfyUI server for a test, and its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .client import Client
from .install import HERE, NEWEST, ROOT, installed

PACKS = HERE.parent / "packs"
STARTS_WITHIN = 600.0  # seconds; 12 on an idle machine, over 180 on one with eight times its load


@dataclass
class Server:
    """base: ComfyUI's base folder with custom_nodes, models, input, output. log: its output, to be read at any time."""

    client: Client
    base: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def resident_bytes(self) -> int:
        """Memory that the server holds now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def running_server(
    base: Path,
    *options: str,
    version: str = NEWEST,
    pack: Path = ROOT,
    packs: Sequence[str] = ("probe",),
    environment: dict[str, str] | None = None,
    cache: Sequence[str] = ("--cache-classic",),
) -> Iterator[Server]:
    """A server on a free port of 127.0.0.1 with `pack` as custom_nodes/lotus and `packs` from tests/comfyui/packs.

    options: of main.py, beside --cpu. cache: those about the cache; () for what ComfyUI does by itself. environment:
    variables to add, such as PYTHONPATH.
    """
    comfyui = installed(version)
    for folder in ("custom_nodes", "models", "input", "output"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    for name, source in (("lotus", pack), *((name, PACKS / name) for name in packs)):
        link = base / "custom_nodes" / name
        if not link.exists():
            link.symlink_to(source)
    port = _free_port()
    log = base / "server.log"
    command = [
        str(comfyui.python), str(HERE / "launcher.py"), str(comfyui.root), "--cpu", "--listen", "127.0.0.1",
        "--port", str(port), "--disable-api-nodes", "--base-directory", str(base), *cache,
        "--database-url", "sqlite:///:memory:", *options,
    ]  # fmt: skip
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **(environment or {}),
    }
    variables.pop("PYTHONPATH", None) if "PYTHONPATH" not in (environment or {}) else None
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=variables, cwd=base)
    try:
        _wait_for(port, process, log)
        yield Server(Client(port), base, log, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/queue", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"ComfyUI did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-4000:]}")
