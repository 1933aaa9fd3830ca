"""Predictions by a ComfyUI server that has our nodes: its GPU, its models, its queue."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import Job, Task, failed
from .process import clean_environment, own_program
from .session import Session, predict_request


class ComfyUIBackend(Session):
    """Speaks with the server through a small program of ours, which runs in Blender's own Python.

    Args:
        url: of the server, such as http://127.0.0.1:8188.
        folder: for the log.
        online: whether the server may be on another computer.
        silence, stall: see Session. Other people's prompts may come first, so patience is long.

    `Job.models` are names that the server's loader offers; see `check`.
    """

    name = "ComfyUI client"
    ends_by_itself = True  # first it stops what the server does for us

    def __init__(
        self, url: str, folder: Path, *, online: bool = False, silence: float = 60.0, stall: float = 3600.0
    ) -> None:
        super().__init__(folder, silence=silence, stall=stall)
        self.url = url
        self._online = online

    def start(self, job: Job) -> Task:
        # By kind: what a model of the server predicts, only its user knows.
        return self._ask({**predict_request(job), "models": job.models, "url": self.url})

    def check(self) -> Task:
        """Ask what the server has; info: "models", names for `Job.models`, and "comfyui", its version."""
        return self._ask({"do": "models", "url": self.url})

    def command(self) -> Sequence[str]:
        return own_program("comfyui")

    def environment(self) -> Mapping[str, str]:
        return clean_environment(self._online)

    def _ask(self, request: Mapping[str, object]) -> Task:
        if not self._online and not is_local(self.url):
            return failed(
                f"{self.url} is on another computer: switch on Allow Online Access in the preferences under System, or"
                " use http://127.0.0.1:8188."
            )
        return self.submit(request)


def is_local(url: str) -> bool:
    """Whether an address is that of this computer; also for what is no address, which is told later."""
    try:
        host = urllib.parse.urlsplit(url).hostname
    except ValueError:
        return True
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
