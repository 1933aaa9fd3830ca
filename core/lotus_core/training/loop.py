"""The loop both trainings share: optimiser steps, schedule, averaging, checkpoints, resume, log."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import nn

from ..data.fingerprint import content_fingerprint
from ..data.sample import SampleSource
from ..errors import Cancelled, LotusError
from .checks import check_same_run, checkpoint_interval
from .config import AnyRunConfig, OptimConfig
from .hardware import hardware
from .journal import Journal
from .optimizer import make_optimizer
from .order import derive
from .state import checkpoints, load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint

LossFunction = Callable[[int, Callable[..., Any]], dict[str, torch.Tensor]]
"""(micro-batch number of the run, the module as it is to be called) → named scalars; "loss" is differentiated."""

_PATIENCE = timedelta(days=1)
"""How long processes wait for one that prepares alone, as when it encodes the latents. The default is ten minutes."""


def learning_rate(step: int, optim: OptimConfig) -> float:
    """Rate of the update that follows `step` updates: linear warm-up, then constant or half a cosine."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    if optim.schedule == "constant":
        return optim.lr
    progress = min(1.0, (step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps))
    low = optim.final_lr_fraction
    return optim.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def make_accelerator(optim: OptimConfig) -> Accelerator:
    """Device, precision and processes of a run; also sets the CPU threads it may use."""
    if optim.threads:
        torch.set_num_threads(optim.threads)
    # Several processes without a GPU find each other only when told that they run on CPUs; else each trains alone.
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpus = processes > 1 and not (torch.cuda.is_available() or torch.xpu.is_available())
    # accelerate keeps the precision of a process's first run, and refuses another one in a later run.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=on_cpus,
        mixed_precision=optim.mixed_precision,
        gradient_accumulation_steps=optim.gradient_accumulation,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


class TrainingLoop:
    """Trains one module.

    Args:
        run: the config; only its optim, log and output sections are read, the whole is recorded.
        module: holds the parameters to train (those with requires_grad).
        sources: the opened [data] sources, whose content is recorded.
        resume: continue from the newest checkpoint of the output folder if it has one.

    Raises LotusError when the folder holds another run, or a run that `resume` does not continue.
    """

    def __init__(
        self,
        run: AnyRunConfig,
        module: nn.Module,
        sources: Sequence[SampleSource],
        accelerator: Accelerator,
        resume: bool,
    ) -> None:
        self.run_config, self.optim, self.accelerator = run, run.optim, accelerator
        self.folder = Path(run.output.dir)
        self._content = [content_fingerprint(source) for source in sources]
        self._checkpoints = self.folder / "checkpoints"
        self._every_steps, self._every_seconds = checkpoint_interval(run.log.checkpoint_every)
        self.step, self._seconds, self._started = 0, 0.0, time.monotonic()
        self._sums: dict[str, float] = {}
        self._summed = 0
        self._stop = False

        module.to(accelerator.device)  # first: Muon makes its copies of the kernels where they lie
        self.raw = module
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self.module, self.optimizer = accelerator.prepare(module, make_optimizer(self._parameters, run.optim))
        # Only the training call is compiled: validation has other shapes and would compile once more for each.
        self._called = torch.compile(self.module) if run.optim.compile else self.module
        if run.optim.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = [p.detach().clone() for p in self._parameters]
        self._restore(resume)
        self.journal = Journal(
            self.folder / "log.jsonl", self.step, run.optim.steps, active=accelerator.is_main_process
        )

    # -- the run -------------------------------------------------------------------------------------------------

    def run(
        self,
        losses: LossFunction,
        validate: Callable[[int], dict[str, float]],
        export: Callable[[], None],
    ) -> None:
        """Train to the last step. `validate` and `export` see the averaged weights.

        Raises Cancelled after SIGTERM, which finishes the step and leaves a checkpoint.
        """
        log = self.run_config.log
        previous = signal.signal(signal.SIGTERM, self._on_terminate) if _is_main_thread() else None
        if self.step >= self.optim.steps and self.accelerator.is_main_process:
            with self.averaged_weights():  # resumed after the end: the kill may have come before the export
                export()
        saved_step, saved_at = self.step, time.monotonic()
        window_start, window_step = time.monotonic(), self.step
        try:
            stop = False
            while self.step < self.optim.steps and not stop:
                self._update(losses)
                self.journal.advance()
                last = self.step == self.optim.steps
                if self.step % log.every == 0 or last:
                    now = time.monotonic()
                    rate = (self.step - window_step) / max(now - window_start, 1e-9)
                    self._log_losses(rate)
                    window_start, window_step = now, self.step
                if log.validation_every and (self.step % log.validation_every == 0 or last):
                    try:
                        with self.averaged_weights():
                            self.journal.write(self.step, **validate(self.step))
                    except Exception:  # a held-out sample that cannot be read: the steps so far are not lost
                        self._save(export)  # without waiting for processes that may have met nothing
                        raise
                    window_start, window_step = time.monotonic(), self.step
                due = 0 < self._every_seconds <= time.monotonic() - saved_at
                due, stop = self._any(due, self._stop)
                if due or stop or last or 0 < self._every_steps <= self.step - saved_step:
                    self.accelerator.wait_for_everyone()
                    self._save(export)
                    saved_step, saved_at = self.step, time.monotonic()
                    window_start, window_step = time.monotonic(), self.step
        finally:
            self.journal.close()
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)
        self.accelerator.wait_for_everyone()  # a process that ends sooner would take the one that saves along
        if self.step < self.optim.steps:
            raise Cancelled(
                f"Training stopped at step {self.step} of {self.optim.steps}, which is saved in {self.folder}: go on"
                " with lotus train --resume."
            )

    def _any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, true where any process raised it: clocks and signals differ, and all must save at one step."""
        if self.accelerator.num_processes == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
        return tuple(value > 0 for value in self.accelerator.reduce(raised, "sum").tolist())

    def _update(self, losses: LossFunction) -> None:
        rate = learning_rate(self.step, self.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for micro in range(self.optim.gradient_accumulation):
            with self.accelerator.accumulate(self.module):
                number = self.step * self.optim.gradient_accumulation + micro
                # What dropout draws depends on the position in the run, so that resumed runs go on as they would have.
                torch.manual_seed(derive(self.optim.seed, "dropout", number, self.accelerator.process_index))
                values = losses(number, self._called)
                self.accelerator.backward(values["loss"])
                if self.accelerator.sync_gradients and self.optim.grad_clip > 0:
                    self.accelerator.clip_grad_norm_(self._parameters, self.optim.grad_clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
            for name, value in values.items():
                shared = self.accelerator.reduce(value.detach().float(), "mean").item()
                self._sums[name] = self._sums.get(name, 0.0) + shared
            self._summed += 1
        if not math.isfinite(self._sums["loss"]):
            raise LotusError(
                f"The loss is not finite at step {self.step + 1}: lower [optim] lr, or use mixed_precision bf16 or no."
            )
        self.step += 1
        decay = min(self.optim.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1 - decay)

    def _log_losses(self, rate: float) -> None:
        means = {name: total / self._summed for name, total in self._sums.items()}
        images = rate * self.optim.batch_size * self.optim.gradient_accumulation * self.accelerator.num_processes
        self.journal.write(
            self.step,
            **means,
            lr=learning_rate(self.step - 1, self.optim),
            steps_per_second=rate,
            images_per_second=images,
        )
        self._sums, self._summed = {}, 0

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside, the module's parameters are the exponential moving average."""
        self._swap()
        self.raw.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.raw.train()
            self._swap()

    def _swap(self) -> None:
        for index, parameter in enumerate(self._parameters):
            parameter.data, self._average[index] = self._average[index], parameter.data

    # -- records -------------------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """What made the weights: config, seed, steps, hours, hardware."""
        return {
            "config": asdict(self.run_config),
            "seed": self.optim.seed,
            "steps": self.step,
            "hours": round(self._elapsed() / 3600, 3),
            "hardware": hardware(self.accelerator),
            "torch": torch.__version__,
        }

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._started

    def _on_terminate(self, signum: int, frame: object) -> None:
        self._stop = True

    def _save(self, export: Callable[[], None]) -> None:
        if not self.accelerator.is_main_process:
            return
        names = [name for name, p in self.raw.named_parameters() if p.requires_grad]
        scaler = self.accelerator.scaler
        state = {
            "seconds": self._elapsed(),
            "sums": self._sums,
            "summed": self._summed,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "config": asdict(self.run_config),
            "content": self._content,
        }
        tensors: dict[str, dict[str, torch.Tensor]] = {
            "weights": dict(zip(names, self._parameters, strict=True)),
            "average": dict(zip(names, self._average, strict=True)),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        save_checkpoint(self._checkpoints, self.step, tensors, state, self.run_config.log.keep)
        with self.averaged_weights():
            export()

    def _restore(self, resume: bool) -> None:
        found = checkpoints(self._checkpoints)
        if not found:
            return
        if not resume:
            raise LotusError(
                f"{self.folder} already holds a training run: continue it with --resume, or change [output] dir."
            )
        tensors, state = load_checkpoint(found[-1])
        check_same_run(self.run_config, self._content, state, self.folder)
        names = [name for name, p in self.raw.named_parameters() if p.requires_grad]
        with torch.no_grad():
            for name, parameter, average in zip(names, self._parameters, self._average, strict=True):
                parameter.copy_(tensors["weights"][name])
                average.copy_(tensors["average"][name])
        restore_optimizer(self.optimizer.optimizer, tensors["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self._seconds = state["step"], state["seconds"]
        self._sums, self._summed = state["sums"], state["summed"]


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
