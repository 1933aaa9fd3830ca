"""The package root is free: front ends import it at start-up, inside somebody else's program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "core"
SCRIPT = """
import sys, time
began = time.perf_counter()
import lotus_core
took = time.perf_counter() - began
print(took, "torch" in sys.modules, "numpy" in sys.modules)
"""


def test_import_takes_under_300_ms_and_leaves_torch_alone() -> None:
    runs = [_run(SCRIPT).split() for _ in range(3)]
    assert min(float(run[0]) for run in runs) < 0.3
    assert {(run[1], run[2]) for run in runs} == {("False", "False")}


def test_listing_and_describing_models_needs_no_torch() -> None:
    script = "import sys; from lotus_core.checkpoints import list_models, read_header; list_models()"
    assert _run(f"{script}; print('torch' in sys.modules)") == "False"


def test_every_public_name_can_be_loaded() -> None:
    assert _run("import lotus_core as l; print(all(getattr(l, name) for name in l.__all__))") == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert _run("import lotus_core as l; print(hasattr(l, 'load_modle'), 'load_model' in dir(l))") == "False True"


def _run(script: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(CORE)!r})\n{script}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
