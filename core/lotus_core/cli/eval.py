"""`lotus eval`: score a model, or saved predictions, on a published benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from .console import progress_bar, table
from .options import add_mirror, add_model_options, add_quiet, check_prediction, place, whole
from .predictors import DEFAULT_MODELS, Predictors

if TYPE_CHECKING:
    from ..evaluation.depth_benchmarks import Area, DepthBenchmark
    from ..evaluation.normal_benchmarks import NormalBenchmark
    from ..evaluation.predictions import PredictionSource

DATASETS = {
    "depth": ("nyu", "kitti", "eth3d", "scannet", "diode"),
    "normal": ("nyu", "scannet", "ibims", "sintel", "oasis"),
}


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "eval",
        help="score a model on a published benchmark",
        description="Score a model, or saved predictions, on a benchmark; docs/evaluation.md has the layouts. A run "
        "that was stopped goes on when the same command is given again.",
    )
    parser.add_argument("task", choices=tuple(DATASETS), help="what to score")
    names = sorted({name for names in DATASETS.values() for name in names})
    parser.add_argument("--dataset", required=True, choices=names, help="the benchmark")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="its folder, unpacked")
    parser.add_argument("--split", type=Path, metavar="LIST", help="split list (default: the usual name inside --data)")
    parser.add_argument("-o", "--output", type=place, required=True, metavar="DIR", help="folder for the results")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", metavar="M", help="name, file, folder or hub id (default: the embedded one)")
    what.add_argument("--predictions", type=Path, metavar="DIR", help="score saved maps instead of a model")
    parser.add_argument("--space", choices=("disparity", "depth"), help="of depth files or folders that do not say it")
    parser.add_argument(
        "--convention", choices=("lotus", "opengl", "directx", "opencv"), help="of normal files that do not say it"
    )
    parser.add_argument(
        "--samples",
        type=whole(1),
        default=1,
        metavar="N",
        help="average N noise samples; from 2 on score uncertainty too",
    )
    add_mirror(parser)
    parser.add_argument(
        "--area",
        choices=("eigen", "garg"),
        help="of KITTI's pictures, which part is scored (default: garg)",
    )
    parser.add_argument("--limit", type=whole(1), metavar="N", help="only the first N samples")
    parser.add_argument("--save-predictions", action="store_true", help="keep the maps in DIR/predictions")
    parser.add_argument("--allow-missing", action="store_true", help="go on without samples whose files are missing")
    add_model_options(parser)
    add_quiet(parser)
    parser.set_defaults(run=run, tile=None, fast_decoder=None, fast_encoder=False)


def run(args: argparse.Namespace) -> None:
    """Score, print the table, and say where the rest lies."""
    from ..evaluation.run import evaluate

    if args.dataset not in DATASETS[args.task]:
        raise LotusError(f"--dataset for {args.task} is one of {', '.join(DATASETS[args.task])}, not {args.dataset}.")
    _check(args)
    benchmark = _open(args)
    if not args.quiet:
        print(benchmark.report)
        if benchmark.without_truth:
            print(f"{benchmark.title}: {benchmark.without_truth} more entries of the list have no ground truth")
    source, described = _source(args, benchmark)
    settings = {"task": args.task, "dataset": args.dataset, "data": str(args.data.resolve())}
    settings["split"] = str((args.split or args.data / benchmark.spec.list_name).resolve())
    settings |= {"frames": len(benchmark), "area": _area(args) if args.dataset == "kitti" else "", **described}
    with progress_bar(args.quiet) as progress:
        result = evaluate(
            benchmark,
            source,
            args.output,
            settings,
            uncertainty=args.samples > 1,
            save_predictions=args.save_predictions,
            limit=args.limit,
            progress=progress,
        )
    if not args.quiet:
        columns = [(name, f"{value:.4g}") for name, value in result.metrics.items()]
        heading, values = zip(*columns, strict=True)
        print(table([(result.title, *heading), (result.counted, *values)]))
        print(f"\n{table(result.comparison())}\nfrom {result.paper.source}")
        for note in result.notes:
            print(note)
        print(f"\nper_sample.csv, summary.md, .csv and .json, and pictures are in {args.output}")


# Options of a model, and what they are where nobody gave them.
_OF_A_MODEL = {
    "samples": 1,
    "mirror": False,
    "res": None,
    "seed": 0,
    "device": "auto",
    "dtype": "auto",
    "reference": False,
    "offload": False,
    "vae": None,
    "text_encoder": None,
}


def _check(args: argparse.Namespace) -> None:
    """Raise LotusError for options that would be without effect."""
    given = [f"--{name.replace('_', '-')}" for name, usual in _OF_A_MODEL.items() if getattr(args, name) != usual]
    if args.predictions is not None and given:
        raise LotusError(f"{given[0]} needs a model, and saved predictions are scored as they are: leave it out.")
    if args.area is not None and (args.task, args.dataset) != ("depth", "kitti"):
        raise LotusError("--area is for KITTI's depth alone: leave it out.")
    if args.space is not None and args.task != "depth":
        raise LotusError("--space is for depth alone: leave it out.")
    if args.convention is not None and (args.task != "normal" or args.predictions is None):
        raise LotusError("--convention is for saved normals, with --predictions: leave it out.")
    check_prediction(args)


def _open(args: argparse.Namespace) -> DepthBenchmark | NormalBenchmark:
    from ..evaluation.depth_benchmarks import DepthBenchmark
    from ..evaluation.normal_benchmarks import NormalBenchmark

    if args.task == "depth":
        area, allow = _area(args), args.allow_missing
        return DepthBenchmark(args.dataset, args.data, args.split, area=area, allow_missing=allow)
    return NormalBenchmark(args.dataset, args.data, args.split, allow_missing=args.allow_missing)


def _area(args: argparse.Namespace) -> Area:
    area: Area = args.area or "garg"
    return area


def _source(
    args: argparse.Namespace, benchmark: DepthBenchmark | NormalBenchmark
) -> tuple[PredictionSource, dict[str, Any]]:
    """Where predictions come from, and what of it decides the figures."""
    from ..checkpoints.identity import identify
    from ..evaluation.predictions import ModelPredictions, SavedPredictions

    if args.predictions is not None:
        saved = SavedPredictions(args.predictions, args.task, args.space, args.convention)
        return saved, {
            "predictions": str(args.predictions.resolve()),
            "space": args.space,
            "convention": args.convention,
        }
    from ..model_info import RELEASED_RESOLUTION
    from ..predict import LotusPredictor

    predictors = Predictors(args, [args.model] if args.model else [], [args.task])
    model = predictors.models[args.task]
    if args.samples > 1 and model.variant == "d":
        raise LotusError(
            f"{model.info.name} is Lotus-D, which gives one answer: leave out --samples, or name a Lotus-G."
        )
    resolution = args.res
    if resolution is None:  # the paper's protocol for models of its size; smaller ones see what they were trained on
        paper = model.info.resolution == RELEASED_RESOLUTION
        resolution = benchmark.resolution if paper else model.info.resolution
    described: dict[str, Any] = {"space": model.info.space}
    for part, name in (
        ("model", args.model or DEFAULT_MODELS[args.task]),
        ("vae", args.vae),
        ("text_encoder", args.text_encoder),
    ):
        described[part], described[f"{part}_fingerprint"] = identify(name) if name else (None, None)
    described |= {
        "resolution": resolution,
        "seed": args.seed,
        "samples": args.samples,
    }
    # What --dtype auto stands for is the device's choice.
    described |= {"dtype": predictors.describe(args.task)["dtype"], "reference": args.reference}
    options = {"resolution": resolution, "seed": args.seed, "reference": args.reference, "mirror": args.mirror}
    described["mirror"] = args.mirror or None  # None counts as not recorded, as in runs from before the option
    return ModelPredictions(LotusPredictor(model), args.samples, **options), described
