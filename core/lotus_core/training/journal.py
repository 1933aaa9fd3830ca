"""The run's log: one JSON object per line, and a progress bar on a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import LotusError
from ..files import atomic_path


class Journal:
    """Appends to `log.jsonl`. A resumed run drops the lines of steps that the kill lost, and a torn last line."""

    def __init__(self, path: Path, start: int, total: int, active: bool = True) -> None:
        """`start`: step resumed from; `total`: steps of the run; `active`: False on all processes but one."""
        self._path, self._active = path, active
        if not active:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LotusError(f"Cannot create the run's folder {path.parent}: {error.strerror or error}.") from error
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= start] if start else []
        with atomic_path(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))
        self._bar = tqdm(total=total, initial=start, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)

    def write(self, step: int, **values: Any) -> None:
        """Log `values` after `step` steps."""
        if self._active:
            rounded = {k: round(v, 7) if isinstance(v, float) else v for k, v in values.items()}
            with open(self._path, "a") as file:
                file.write(json.dumps({"step": step, **rounded}) + "\n")
            if "loss" in values:
                self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)

    def latest(self, prefix: str) -> dict[str, float]:
        """The values whose names begin with `prefix`, of the last line that has such; none where no line does."""
        for line in reversed(_lines(self._path) if self._active else []):
            found = {name: value for name, value in json.loads(line).items() if name.startswith(prefix)}
            if found:
                return found
        return {}

    def advance(self) -> None:
        """One more step is done."""
        if self._active:
            self._bar.update(1)

    def close(self) -> None:
        """Finish the progress bar."""
        if self._active:
            self._bar.close()


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            continue
        lines.append(line)
    return lines
