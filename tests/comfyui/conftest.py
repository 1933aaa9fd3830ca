"""One ComfyUI server for all tests here that need no other options."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .server.running import Server, running_server

torch.set_num_threads(1)  # as in the server: more threads sum in another order, and bits are compared


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ComfyUI 0.30.0 on the CPU with this repository as custom node."""
    with running_server(tmp_path_factory.mktemp("comfyui")) as started:
        yield started
