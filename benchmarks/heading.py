"""How a benchmark's report begins: a title, and the command that gives it again."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any


def heading(parser: argparse.ArgumentParser, chosen: argparse.Namespace, module: str, title: str) -> str:
    """Markdown title and command. Options at their defaults are left out, and folders are called DIR.

    Models other than the default ones are named in the title, so that reports of several can stand on one page.
    """
    words, models = [], []
    for name, value in vars(chosen).items():
        if name == "report" or value == parser.get_default(name):
            continue
        option = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        words += [option if each is True else f"{option} {_shown(each)}" for each in values]  # a switch has no value
        models += [_shown(value)] if name.endswith("model") else []
    title += f": {', '.join(models)}" if models else ""
    return f"# {title}\n\n`{' '.join([f'python -m {module}', *words])}`\n\n"


def _shown(value: Any) -> str:
    """A benchmark's name, folder and further words, quoted for a shell, or a single value; of a file its name."""
    if isinstance(value, list):
        return " ".join([value[0], "DIR", *map(shlex.quote, value[2:])])
    return Path(str(value)).name
