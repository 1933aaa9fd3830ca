"""docs/evidence.md is what its sources give, and every command that it, README and the guides name can be given."""

from __future__ import annotations

import argparse
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.heading import heading
from lotus_core.cli import parser

DOCS = [report.ROOT / "README.md", *sorted((report.ROOT / "docs").glob("*.md"))]


def test_the_page_and_the_model_card_are_up_to_date() -> None:
    report.main(["--check"])
    assert [path.name for path in report.guides()] == ["embedded-checkpoints.md"]


def test_a_changed_report_is_noticed_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("benchmarks", "docs"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "PAGE", tmp_path / "docs/evidence.md")
    (tmp_path / "benchmarks/tiny.md").write_text(
        "# Tiny\n\n`python -m benchmarks.tiny`\n\n## Part\n\n[a](../docs/b.md)\n"
    )
    card = tmp_path / "docs/card.md"
    card.write_text("# Card\n\n<!-- begin: benchmarks/tiny.md -->\nold\n<!-- end -->\n\nafter\n")
    with pytest.raises(SystemExit, match=r"evidence\.md is not up to date"):
        report.main(["--check"])
    report.main([])
    report.main(["--check"])
    body = "`python -m benchmarks.tiny`\n\n### Part\n\n[a](b.md)\n"
    assert card.read_text() == f"# Card\n\n<!-- begin: benchmarks/tiny.md -->\n{body}<!-- end -->\n\nafter\n"
    assert f"## Tiny\n\n{body}" in report.PAGE.read_text(encoding="utf-8")
    (tmp_path / "benchmarks/tiny.md").write_text("# Tiny\n\n`python -m benchmarks.tiny`, again\n")
    with pytest.raises(SystemExit, match="not up to date"):
        report.main(["--check"])


def test_it_has_every_report_table_and_plot() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    for path in report.reports():
        assert f"(../benchmarks/{path.name})" in page
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("|"):
                assert line in page
    for pictures in report.PICTURES.values():
        for name, _ in pictures:
            assert f"](pictures/{name})" in page


def test_a_report_names_the_split_lists_that_it_read() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", nargs="+", action="append", default=[])
    parser.add_argument("--report")
    chosen = parser.parse_args(["--depth", "nyu", "/data/nyu", "files.txt", "NYUv2, one frame", "--report", "x.md"])
    head = heading(parser, chosen, "benchmarks.real", "Title")
    assert "`python -m benchmarks.real --depth nyu DIR files.txt 'NYUv2, one frame'`" in head


def test_a_report_names_a_switch_as_it_is_given() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--report")
    chosen = parser.parse_args(["--mirror", "--count", "1", "--report", "x.md"])
    command = re.search(r"`(.*)`", heading(parser, chosen, "benchmarks.tiny", "Title"))
    assert command is not None
    assert command[1] == "python -m benchmarks.tiny --mirror --count 1"
    again = parser.parse_args(command[1].split()[3:])
    assert (again.mirror, again.count) == (True, 1)


def test_every_report_names_the_command_that_made_it() -> None:
    for path in report.reports():
        assert any(c.startswith("python -m") for c in report.commands_in(path.read_text(encoding="utf-8"))), path.name


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_its_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!\w+:|#)([^)#]+)", text):
        assert (path.parent / link).exists(), link
    for link, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#([^)]+)\)", text):
        page = path.parent / link if link else path
        headings = (line.lstrip("# ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
        assert anchor in map(report._anchor, headings), f"{link}#{anchor}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_the_commands_it_names_can_be_given(path: Path) -> None:
    for command in report.commands_in(path.read_text(encoding="utf-8")):
        words = command.replace("[", " ").replace("]", " ").replace("|", " ").replace("(", " ").split()
        options = [re.match(r"[\w-]+", word)[0] for word in words if word.startswith("--")]  # type: ignore[index]
        if words[0] == "lotus":
            subcommand = commands().get(words[1])
            if subcommand is None:  # prose, or COMMAND
                assert not options or words[1].isupper(), command
                continue
            known = {name for action in subcommand._actions for name in action.option_strings}
            assert set(options) <= known, command
        else:
            source = source_of(words[2])
            assert '__name__ == "__main__"' in source or "__main__.py" in source, command
            for option in options:
                assert f'"{option}"' in source, f"{command} has no {option}"


@cache
def commands() -> dict[str, argparse.ArgumentParser]:
    """Subcommand of `lotus` → its parser."""
    return next(action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))


def source_of(module: str) -> str:
    """The source of a benchmark, of all its files where it is a package."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"There is no {module}."
    assert spec.origin is not None
    origin = Path(spec.origin)
    files = sorted(origin.parent.glob("*.py")) if spec.submodule_search_locations else [origin]
    return "\n".join(f"{file.name}\n{file.read_text(encoding='utf-8')}" for file in files)
