"""Command line: `python -m benchmarks.ablation run` and `report`; see the package's text."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import __doc__ as ABOUT
from .report import MAPS, collect, write_report
from .run import run_all
from .scenes import Scale
from .sheet import draw_maps


def main(argv: list[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train and measure everything that is not done yet")
    run.add_argument("--out", type=Path, default=Path("runs/ablation"))
    run.add_argument("--rendered", type=Path, help="folder of lotus_core.data.cache to take the training scenes from")
    run.add_argument("--scenes", type=int, default=Scale.scenes, help="for training (default: %(default)s)")
    run.add_argument("--steps", type=int, default=Scale.steps, help="of every training (default: %(default)s)")
    run.add_argument("--batch", type=int, default=Scale.batch, help="samples of a step (default: %(default)s)")
    run.add_argument("--seeds", type=int, default=Scale.seeds, help="trainings of a rung (default: %(default)s)")
    run.add_argument("--fig7-seeds", type=int, default=Scale.fig7_seeds, help="of a cell (default: %(default)s)")
    run.add_argument("--measured", type=int, default=Scale.measured, help="scenes of a domain (default: %(default)s)")
    run.set_defaults(call=_run)
    report = commands.add_parser("report", help="tables and plots of what is done")
    given = report.add_mutually_exclusive_group()
    given.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of `run`")
    given.add_argument("--saved", type=Path, help="the JSON of an earlier report, instead")
    report.add_argument("--report", type=Path, default=Path("benchmarks/ablation.md"))
    report.add_argument("--results", type=Path, default=Path("benchmarks/results/ablation.json"))
    report.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    report.set_defaults(call=_report)
    a = parser.parse_args(argv)
    a.call(a)


def _run(a: argparse.Namespace) -> None:
    names = ("scenes", "steps", "batch", "seeds", "fig7_seeds", "measured")
    run_all(a.out, Scale(**{name: getattr(a, name) for name in names}), a.rendered)


def _report(a: argparse.Namespace) -> None:
    saved = json.loads(a.saved.read_text(encoding="utf-8")) if a.saved else collect(a.out)
    if not a.saved:
        a.pictures.mkdir(parents=True, exist_ok=True)
        draw_maps(a.out, Scale(**saved["scale"]), a.pictures / MAPS)
    write_report(saved, a.report, a.results, a.pictures)
    print(f"{a.report}, {a.results}")


if __name__ == "__main__":
    main()
