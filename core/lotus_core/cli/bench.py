"""`lotus bench`: what a prediction costs on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from ..progress import Progress, part
from .console import progress_bar, table
from .options import add_prediction_options, add_quiet, check_prediction, whole
from .predictors import DEFAULT_MODELS, check_space, load_for_maps

if TYPE_CHECKING:
    import torch

    from ..measure import Cost
    from ..model import LotusModel

HEADING = ("pixels", "what", "seconds", "peak memory", "TFLOP", "of matrix peak")


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "bench",
        help="time, memory and arithmetic of a prediction on this machine",
        description="Time, peak memory, floating-point operations and their share of the measured matrix-product peak"
        " of a prediction: exact; with --fast-decoder; in tiles with --tile; the mean with the mirror image with"
        " --mirror; and with --plain as the original code computes it. The comparison with other methods is"
        " benchmarks/compare.py.",
    )
    parser.add_argument("--model", metavar="M", help="name, file, folder or hub id (default: the embedded depth model)")
    parser.add_argument(
        "--sizes", type=whole(64), nargs="+", metavar="N", help="edges of square images (default: the checkpoint's own)"
    )
    parser.add_argument("--rounds", type=whole(1), default=2, metavar="N", help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="also the original code's computation: diffusers' networks one after the other, the image in one piece;"
        " float16 on CUDA, elsewhere float32, under autocast to bfloat16 where --dtype auto would take that on a CPU",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="add the table to a Markdown file")
    parser.add_argument("--task", choices=("depth", "normal"), help="of a model that does not say it")
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a model that does not say it")
    add_prediction_options(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, print, and add to the report."""
    from ..measure import matmul_peak
    from ..model import device_of

    check_prediction(args)
    if args.res is not None:
        raise LotusError("The sizes that are measured are named by --sizes: leave out --res.")
    if args.reference:
        raise LotusError("The original code's way is measured by --plain: leave out --reference.")
    with progress_bar(args.quiet) as progress:
        model = _load(args)
        device, dtype = device_of(model), next(model.unet.parameters()).dtype
        reference = _plain(args, device) if args.plain else None
        peak = matmul_peak(device, dtype)
        rows: list[tuple[str, ...]] = [HEADING]
        sizes = args.sizes or [model.info.resolution]
        for number, size in enumerate(sizes):
            rows += _rows(size, _costs(args, model, reference, size, part(progress, number, len(sizes))), peak)
    words = f"{model.info.name}, {device}, {dtype}, matrix products {peak / 1e12:.2f} TFLOP/s"
    print(f"{words}\n\n{table(rows)}")
    if args.report:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|---" * len(HEADING) + "|")
        with args.report.open("a", encoding="utf-8") as file:
            file.write(f"{words}\n\n" + "\n".join(lines) + "\n\n")


def _load(args: argparse.Namespace, fold: bool = True) -> LotusModel:
    name = args.model or DEFAULT_MODELS[args.task or "depth"]
    model = load_for_maps(name, args, [args.task] if args.task else [], fold=fold)
    if args.task not in (None, model.info.task):
        raise LotusError(f"{name} predicts {model.info.task}, not the --task {args.task}: leave --task out.")
    check_space([model.info.task], args.space)
    return model


def _plain(args: argparse.Namespace, device: torch.device) -> LotusModel:
    """The model as the original code has it: neither folded nor offloaded, in its precision."""
    from ..plain import plain_dtype

    its_own = {"dtype": plain_dtype(device), "offload": False, "fast_decoder": None}
    return _load(argparse.Namespace(**{**vars(args), **its_own}), fold=False)


def _costs(
    args: argparse.Namespace, model: LotusModel, plain: LotusModel | None, size: int, progress: Progress | None
) -> dict[str, Cost]:
    """Of every way to predict an image of size×size pixels."""
    from ..measure import measure
    from ..model import device_of
    from ..plain import plain_autocast, plain_map
    from ..predict import LotusPredictor

    photo = _photo(size)
    predictor = LotusPredictor(model)
    predictor.fast_decoder_psnr = 0.0  # measured for the first map only: not part of the steady state
    make = getattr(predictor, model.info.task)
    calls: dict[str, Callable[[], object]] = {}
    if plain is not None:
        dtype = str(next(plain.unet.parameters()).dtype).removeprefix("torch.")
        name = "autocast to bfloat16" if plain_autocast(plain) else dtype
        calls[f"plain, {name}"] = partial(plain_map, plain, photo)
    calls["exact"] = partial(make, photo, resolution=0)
    if args.fast_decoder:
        calls["fast decoder"] = partial(make, photo, resolution=0, decoder="fast")
    if args.fast_encoder:
        calls["fast at both ends"] = partial(make, photo, resolution=0, decoder="fast", encoder="fast")
    if args.tile and size > model.info.resolution:
        calls[f"tiles of {args.tile}"] = partial(make, photo, tile=args.tile)
    if args.mirror:
        calls["with the mirror image"] = partial(make, photo, resolution=0, mirror=True)
    total, done = len(calls) * (args.rounds + 1), 0

    def shown(name: str, call: Callable[[], object]) -> None:
        nonlocal done
        if progress is not None:
            progress(done / total, f"{size}×{size}, {name}")
        call()
        done += 1

    return measure({name: partial(shown, name, call) for name, call in calls.items()}, device_of(model), args.rounds)


def _photo(size: int) -> Any:
    """The bundled photo, cut to a square and brought to size×size: uint8."""
    from importlib.resources import as_file, files

    import numpy as np
    from PIL import Image, ImageOps

    with as_file(files("lotus_core") / "assets" / "coffee.jpg") as path, Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))


def _rows(size: int, costs: dict[str, Cost], peak: float) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, cost in costs.items():
        share = cost.share_of(peak)
        rows.append(
            (
                f"{size}×{size}",
                name,
                f"{cost.seconds:.2f}",
                "not known" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e9:.2f} GB",
                "" if cost.flops is None else f"{cost.flops / 1e12:.3g}",
                "" if share is None else f"{100 * share:.0f} %",
            )
        )
    return rows
