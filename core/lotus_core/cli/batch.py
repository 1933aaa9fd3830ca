"""`lotus batch`: maps of whole folders, image sequences and videos, on one machine or a cluster, resumable."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..batch.settings import Settings
from ..errors import Cancelled, LotusError
from .console import complain
from .options import add_exposure, add_prediction_options, add_quiet, between, check_prediction, place, whole
from .predict import FORMATS
from .predictors import DEFAULT_SAMPLES, MAPS

if TYPE_CHECKING:
    from ..batch.journal import Finished
    from ..batch.ray_engine import Cluster
    from ..batch.run import Summary

SHARDS = ("latents", "samples")  # what training reads, made of a config
NAMED_FAILURES = 20  # bad files that are named on the screen; the manifest has all


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "batch",
        help="maps of folders, image sequences and videos, resumable",
        description="Maps of all in SRC: a folder and what is below it, a glob in quotes, frames as shot.####.exr, or a"
        " video. Run the same command again to go on where it was stopped.",
    )
    parser.add_argument("source", metavar="SRC", help="folder, 'glob', shot.####.exr, video or training config")
    parser.add_argument("destination", type=place, metavar="DST", help="folder for the results, laid out like SRC")
    parser.add_argument(
        "--task",
        choices=(*MAPS, "all", *SHARDS),
        help="which maps (default: what --model predicts, else depth); latents, samples: for training, of a config",
    )
    parser.add_argument("--model", action="append", default=[], metavar="M", help="once for each kind of map")
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a model that does not say it")
    parser.add_argument(
        "--samples", type=whole(2), default=DEFAULT_SAMPLES, metavar="N", help="for uncertainty (default: %(default)s)"
    )
    _add_results(parser)
    _add_clips(parser)
    add_prediction_options(parser)
    _add_engine(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("--format", choices=FORMATS, default="png", help="16-bit PNG (default), 32-bit EXR or NPY")
    group.add_argument("--no-previews", dest="previews", action="store_false", help="leave the pictures to look at out")
    add_exposure(group)
    group.add_argument("--retry", action="store_true", help="try files again that failed in an earlier run")


def _add_clips(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("videos and image sequences")
    group.add_argument(
        "--video", choices=("ffv1", "x265", "prores"), help="a video for each map instead of a file for each frame"
    )
    group.add_argument("--fps", type=between(0, 1000), default=24.0, help="of videos of image sequences (default: 24)")
    group.add_argument("--noise", choices=("shared", "motion", "fresh"), default="shared", help="default: shared")
    group.add_argument(
        "--range",
        choices=("two-pass", "causal", "frame"),
        default="two-pass",
        help="one range over each scene (default), from the frames so far, or a range for each frame",
    )
    group.add_argument(
        "--smooth", type=_share, default=0.8, metavar="F", help="over time, 0 none to 0.95 (default: 0.8)"
    )
    group.add_argument("--no-cuts", dest="cuts", action="store_false", help="the clip is one scene: look for no cuts")
    group.add_argument(
        "--no-sequences", dest="sequences", action="store_false", help="numbered files are single stills"
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it runs")
    group.add_argument("--engine", choices=("local", "ray"), default="local")
    group.add_argument("--shard", default="1/1", metavar="I/N", help="do part I of N, for arrays of jobs")
    group.add_argument("--threads", type=whole(1), metavar="N", help="CPU threads of the network, in each worker")
    group.add_argument("--io-threads", type=whole(1), metavar="N", help="that read, and as many that write")
    group.add_argument("--io-memory", type=between(0, 4096), metavar="GIB", help="for pictures and maps that wait")
    group.add_argument("--address", metavar="A", help="ray: of a cluster, auto for this machine's (default: start one)")
    group.add_argument("--workers", type=whole(1), metavar="N", help="ray: how many (default: 2)")
    group.add_argument("--cpus", type=between(0, 1024), metavar="N", help="ray: of each worker (default: 1)")
    group.add_argument("--gpus", type=_gpus, metavar="F", help="ray: of each worker, 0.25: four share one")
    group.add_argument("--chunk", type=whole(1), metavar="N", help="ray: files a worker gets at once (default: 16)")
    group.add_argument("--retries", type=whole(0), metavar="N", help="ray: of a chunk whose worker died (default: 3)")


def run(args: argparse.Namespace) -> None:
    """Run the batch and say what became of it. Raises LotusError where a file failed."""
    from ..batch.pipeline import Limits
    from ..batch.run import Plan, check_destination
    from ..batch.run import run as run_batch
    from ..batch.sharding import parse_shard
    from ..batch.video import require_av

    check_prediction(args)
    check_destination(args.source, args.destination)
    if args.video:
        require_av()
    shards = args.task if args.task in SHARDS else None
    if (shards is None) == args.source.endswith(".toml"):
        raise LotusError(f"--task {' and '.join(SHARDS)} are made of a training config (.toml), and maps of pictures.")
    args.maps = () if shards else MAPS if args.task == "all" else (args.task,) if args.task else ()
    args.models = tuple(args.model)
    if shards:
        _check_shards(args)
    if args.tile and args.noise == "motion":
        raise LotusError("--noise motion cannot follow tiles: leave --tile out, or take --noise shared.")
    if args.mirror and args.noise == "motion":
        raise LotusError("--noise motion cannot follow mirror images: leave --mirror out, or take --noise shared.")
    plan = Plan(
        args.source,
        args.destination,
        Settings.of(args),
        Limits.of(args.io_threads, args.io_memory),
        _cluster(args),
        parse_shard(args.shard),
        args.sequences,
        args.retry,
        args.threads,
        shards,
    )
    with _stop_on_terminate(), _Bar(args.quiet) as bar:
        summary = run_batch(plan, bar.start, bar.item, bar.frame)
    _report(summary, args)


def _check_shards(args: argparse.Namespace) -> None:
    """Raise LotusError for options of pictures where a training config says all."""
    given, usual = Settings.of(args), Settings()
    odd = [name for name in vars(usual) if getattr(given, name) != getattr(usual, name)]
    if odd:
        names = {"models": "model", "previews": "no-previews", "cuts": "no-cuts"}
        flags = ", ".join(f"--{names.get(name, name).replace('_', '-')}" for name in odd)
        raise LotusError(f"Of {args.task} the config says all: leave out {flags}.")


def _cluster(args: argparse.Namespace) -> Cluster | None:
    """Where Ray is to run, None for this process alone. Raises LotusError for options of Ray without it."""
    from ..batch.ray_engine import Cluster

    given = {field.name: getattr(args, field.name) for field in fields(Cluster)}
    given = {name: value for name, value in given.items() if value is not None}
    if args.engine == "ray":
        return Cluster(**given)
    if given:
        named, them = " and ".join(f"--{name}" for name in given), "it" if len(given) == 1 else "them"
        raise LotusError(f"Only Ray takes {named}: add --engine ray, or leave {them} out.")
    return None


@contextmanager
def _stop_on_terminate() -> Iterator[None]:
    """SIGTERM, which schedulers send before they kill, ends a batch as Ctrl-C does: in order."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Cancelled

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Bar:
    """Items done, their rate and the time left, on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._active = not quiet and sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, todo: int, before: int) -> None:
        if self._active:
            from tqdm import tqdm

            self._bar = tqdm(total=todo + before, initial=before, unit="file", leave=False, dynamic_ncols=True)

    def item(self, finished: Finished) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str("")
            self._bar.update(1)

    def frame(self, key: str, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(f"{key}: frame {done}{f' of {total}' if total else ''}")


def _report(summary: Summary, args: argparse.Namespace) -> None:
    failed = len(summary.failures)
    if not args.quiet:
        parts = [f"{summary.done} done"]
        parts += [f"{summary.before} before"] if summary.before else []
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{summary.ignored} files of other kinds passed over"] if summary.ignored else []
        rate = f"{summary.done / summary.seconds:.2f} a second" if summary.done else "nothing to do"
        print(f"{args.destination}: {', '.join(parts)} ({summary.seconds:.1f} s, {rate}); {summary.manifest.name}")
        for key, (count, first) in summary.gaps.items():
            lost = ", and --video leaves no room for it" if args.video else ""
            complain(f"{key} has a gap: {count} frame{'s' if count > 1 else ''} missing, from {first} on{lost}.")
    if failed:
        for key, reason in list(summary.failures.items())[:NAMED_FAILURES]:
            complain(f"{key}: {reason}")
        more = f" ({NAMED_FAILURES} of them named here)" if failed > NAMED_FAILURES else ""
        what = "1 file" if failed == 1 else f"{failed} files"
        raise LotusError(
            f"{what} failed{more}; the others were written to {args.destination}. Mend or remove them, or try"
            " them again with --retry."
        )


def _share(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else between(0, 0.9500001)(text)


def _gpus(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else between(0, 1024)(text)
