"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LotusError

if TYPE_CHECKING:
    from ..images import LoadedImage


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which weights, how large, where: for every command that predicts."""
    group = parser.add_argument_group("model")
    group.add_argument("--res", type=whole(0), metavar="N", help="longest edge the network sees; 0: the image's own")
    group.add_argument("--seed", type=whole(0), default=0, metavar="S", help="same seed, same result (default: 0)")
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--dtype", default="auto", metavar="T", help="auto, float32, float16, bfloat16 (default: auto)")
    group.add_argument("--reference", action="store_true", help="the arithmetic of the paper's code, for comparisons")
    group.add_argument(
        "--offload", action="store_true", help="for small GPUs: weights stay in main memory, a layer at a time moves"
    )
    add_part_options(parser)


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how it sees a photo, how fast: for the commands that predict maps of photos (`check_prediction`)."""
    add_model_options(parser)
    parser.add_argument(
        "--tile",
        type=whole(0),
        metavar="N",
        help="more detail in large photos: --res (default: the photo's size) in overlapping tiles of N pixels",
    )
    add_mirror(parser)
    add_fast_options(parser)


def add_mirror(parser: argparse.ArgumentParser) -> None:
    """--mirror alone, for what sees photos as a benchmark wants it."""
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="mean of the maps of the photo and of its mirror image: fewer errors in twice the time",
    )


def add_exposure(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--exposure, for the commands that read pictures: a number of stops, or None for automatic."""
    parser.add_argument(
        "--exposure",
        type=_stops,
        metavar="EV",
        help="stops for scene-linear EXR and HDR; auto (default): log-average at 18 %% grey",
    )


def exposure_notes(args: argparse.Namespace, image: LoadedImage) -> list[str]:
    """A sentence where `--exposure` was given for a picture that it cannot change."""
    if args.exposure is None or image.exposure is not None:
        return []
    return ["--exposure changed nothing: this is no scene-linear picture (EXR or HDR)."]


def _stops(text: str) -> float | None:
    return None if text == "auto" else between(-31, 31)(text)


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """--vae and --text-encoder: what a bare U-Net lacks."""
    group = parser.add_argument_group("for a U-Net file")
    group.add_argument("--vae", metavar="V", help="its autoencoder: file, folder or hub id")
    group.add_argument(
        "--text-encoder", metavar="T", help="folder or hub id with text_encoder/ and tokenizer/, for the empty prompt"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """--quiet: neither progress nor results on the terminal."""
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_fast_options(parser: argparse.ArgumentParser) -> None:
    """--fast-decoder and --fast-encoder."""
    group = parser.add_argument_group("speed")
    group.add_argument(
        "--fast-decoder",
        metavar="F",
        help="decode with a small autoencoder: name, file or folder (taesd for the released weights)",
    )
    group.add_argument("--fast-encoder", action="store_true", help="encode with the one of --fast-decoder as well")


def check_prediction(args: argparse.Namespace) -> None:
    """Before anything is read or written: raise LotusError for options of a prediction that do not go together."""
    if args.fast_encoder and args.fast_decoder is None:
        raise LotusError("--fast-encoder takes the autoencoder that --fast-decoder names: give both.")
    if args.reference and (args.tile or args.mirror):
        asked = "--tile" if args.tile else "--mirror"
        raise LotusError(f"--reference is the arithmetic of the original code, which has no {asked}: leave one out.")


def place(text: str) -> Path:
    """The type of an argument that names where results go: an empty one (a shell variable that is not set) would mean
    the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; for the current folder say .")
    return Path(text)


def whole(least: int) -> Callable[[str], int]:
    """The type of a whole-number argument that is at least `least`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small, the least is {least}")
        return value

    return convert


def between(low: float, high: float) -> Callable[[str], float]:
    """The type of a number argument strictly between `low` and `high`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return convert


def expand_wildcards(images: list[str]) -> list[str]:
    """Names with `*`, `?` or `[…]` become the files that they match, sorted: cmd and PowerShell leave that to programs.

    What is the name of a file, whatever is in it, stays, and among several so does what matches nothing: loading it
    then is one failure of some. Raises LotusError where the only one matches nothing.
    """
    from glob import glob

    found: list[str] = []
    for image in images:
        if not any(mark in image for mark in "*?[") or Path(image).exists():
            found.append(image)
            continue
        matches = sorted(match for match in glob(image, recursive=True) if Path(match).is_file())
        if not matches and len(images) == 1:
            raise LotusError(f"No file matches {image}: check the folder and the ending.")
        found += matches or [image]
    return found


def distinct_stems(images: list[str]) -> None:
    """Raise LotusError where two images would write the same file names."""
    seen: dict[str, str] = {}
    for image in images:
        stem = Path(image).stem
        other = seen.setdefault(stem.casefold(), image)  # file systems of Windows and macOS ignore case
        if other is not image:
            raise LotusError(
                f"{other} and {image} would both be written as {stem}_*: rename one or run them separately."
            )
