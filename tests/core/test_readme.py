"""README: commands that scripts take out of it, and things it promises."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lotus_core import Depth, Normals
from lotus_core.cli import parser
from lotus_core.errors import LotusError

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["main", "tests"])
def test_marked_commands_are_one_line_with_constraints(name: str) -> None:
    blocks = re.findall(rf"^<!-- command: {name} -->\n```[^\n]*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0].count("\n") == 1
    assert "-c constraints.txt" in blocks[0]


def test_ci_runs_the_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "README.md" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [README, CLI], ids=["README", "cli.md"])
def test_every_command_line_shown_is_understood(text: str) -> None:
    shown = re.findall(r"^(?:\S.* && )?lotus ((?!.*\[)[a-z].*)$", text, re.MULTILINE)
    assert len(shown) >= 3
    for line in shown:
        argv = shlex.split(re.split(r" {2,}", line)[0])
        try:
            parser().parse_args(argv)
        except LotusError as error:
            pytest.fail(f"lotus {line}: {error}")


def test_the_python_example_runs(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(Path(photo).parent)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["depth"].values.shape == names["normals"].values.shape[:2] == (64, 96)
    assert Depth.load("depth.exr").space == "disparity"
    assert Normals.load("normal.png").convention == "opengl"


@pytest.mark.parametrize("page", [*sorted(path.name for path in (ROOT / "docs").glob("*.md")), "README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
