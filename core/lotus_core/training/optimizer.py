"""The optimiser of a run: AdamW, or Muon for kernels and matrices with AdamW for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .config import OptimConfig

_SMALLEST = 16
"""Kernels of fewer channels on either side (the first and last of a U-Net) stay with AdamW, as its author advises."""


def make_optimizer(parameters: Sequence[torch.nn.Parameter], optim: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser that [optim] asks for, over all of `parameters` in their order."""
    betas = (optim.betas[0], optim.betas[1])
    if optim.optimizer == "muon":
        return Muon(parameters, optim.lr, betas, optim.weight_decay)
    return torch.optim.AdamW(parameters, lr=optim.lr, betas=betas, weight_decay=optim.weight_decay, fused=True)


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon for matrices and convolution kernels, AdamW for the rest, as one optimiser of one rate.

    Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) steps along the orthogonalised momentum. A kernel is
    the matrix of out × (in · height · width). Steps are scaled to the size of AdamW's (Liu et al. 2025, arXiv
    2502.16982, Eq. 4), so that one rate and weight decay serve both.
    """

    def __init__(
        self, parameters: Sequence[torch.nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        matrices = [p for p in parameters if p.ndim >= 2 and min(p.shape[:2]) >= _SMALLEST]
        chosen = set(matrices)
        others = [p for p in parameters if p not in chosen]
        # torch's takes matrices only. Copies, since kernels in channels_last have no view of that shape.
        self._flat = {p: torch.nn.Parameter(p.detach().flatten(1).clone()) for p in matrices}
        # Each parameter's optimiser, and what that one knows it as.
        self._owner: dict[torch.nn.Parameter, tuple[torch.optim.Optimizer, torch.nn.Parameter]] = {}
        if matrices:
            muon = torch.optim.Muon(
                self._flat.values(), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            self._owner |= {p: (muon, flat) for p, flat in self._flat.items()}
        if others:
            adamw = torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
            self._owner |= {p: (adamw, p) for p in others}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; a closure is not supported."""
        for p, flat in self._flat.items():
            flat.copy_(p.flatten(1))
            flat.grad = None if p.grad is None else p.grad.flatten(1)
        for inner in {inner for inner, _ in self._owner.values()}:
            for group in inner.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            inner.step()
        for p, flat in self._flat.items():
            p.copy_(flat.view(p.shape))
        for p, (inner, name) in self._owner.items():
            if name in inner.state:
                self.state[p] = inner.state[name]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` read."""
        super().load_state_dict(state_dict)
        for p, (inner, name) in self._owner.items():
            inner.state.pop(name, None)
            if p in self.state:
                inner.state[name] = self.state[p]
