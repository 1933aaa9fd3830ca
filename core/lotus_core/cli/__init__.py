"""The `lotus` command: one module per subcommand, each with `add` (its arguments) and `run` (what it does).

Exit codes: 0 done; 2 something the user can put right, told in one line on stderr; 130 stopped by Ctrl-C. Anything else
is a bug and shows its traceback. Modules here import numpy, torch and the like inside functions, so that `lotus --help`
is immediate.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..errors import NO_MORE, Cancelled, LotusError
from . import batch, bench, convert, demo, eval, info, mesh, models, predict, train
from .console import complain
from .options import expand_wildcards

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, what shells expect


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise LotusError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    root = Parser(prog="lotus", description="Depth, normals, uncertainty and a textured mesh from one photo.")
    root.add_argument("--version", action="version", version=f"lotus {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (demo, predict, mesh, batch, convert, models, info, train, eval, bench):
        command.add(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code."""
    _show_any_name()
    if not sys.warnoptions:  # `python -W ...` still shows them: what libraries warn about, users cannot act on
        warnings.simplefilter("ignore")
    try:
        args = parser().parse_args(argv)
        args.argv = list(sys.argv[1:] if argv is None else argv)
        if "image" in args:
            args.image = expand_wildcards(args.image)
        args.run(args)
        sys.stdout.flush()
    except (KeyboardInterrupt, Cancelled) as stopped:
        # Where Ctrl-C came inside an `exec` of text (dataclasses make their methods so, while modules load), CPython
        # notes it as unhandled though it was caught, and `python -m` ends by the signal. The next `exec` forgets it.
        exec("")
        told = str(stopped) if isinstance(stopped, Cancelled) else ""
        complain("stopped" if told in ("", NO_MORE) else told)
        return INTERRUPTED
    except BrokenPipeError:  # `lotus models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LotusError as error:
        return _failed(error)
    except OSError as error:
        return _failed(f"{error.filename or 'A file'}: {error.strerror or error}.")
    except MemoryError:
        return _failed("Not enough memory: choose a smaller --res or close other programs.")
    return 0


def _show_any_name() -> None:
    """Letters that the terminal's encoding, or that of a pipe, lacks are printed as escapes, not a reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _failed(reason: object) -> int:
    complain(reason)
    return USER_ERROR
