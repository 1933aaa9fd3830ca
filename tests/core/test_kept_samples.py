"""Samples that are read twice, as the uncertainty of normals needs them."""

from __future__ import annotations

import pytest
import torch

from lotus_core import running
from lotus_core.errors import LotusError
from lotus_core.running import KeptTensors

from .limits import files_of_at_most


@pytest.mark.parametrize("in_memory", [1 << 20, 100])
def test_samples_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(running, "KEPT_IN_MEMORY", in_memory)
    samples = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    with KeptTensors() as kept:
        for sample in samples:
            kept.append(sample)
        for _ in range(2):
            assert torch.equal(torch.stack(list(kept)), samples)


def test_a_full_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "KEPT_IN_MEMORY", 100)
    with KeptTensors() as kept, files_of_at_most(20_000):
        kept.append(torch.zeros(1000))
        with pytest.raises(LotusError, match=r"do not fit into the folder for temporary files, .* TMPDIR"):
            for _ in range(20):
                kept.append(torch.zeros(1000))
