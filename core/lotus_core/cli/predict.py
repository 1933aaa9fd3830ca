"""`lotus predict`: maps of one or more photos."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, LotusError
from ..files import json_text
from ..progress import Progress, part
from .console import Stopwatch, complain, progress_bar
from .options import (
    add_exposure,
    add_prediction_options,
    add_quiet,
    check_prediction,
    distinct_stems,
    exposure_notes,
    place,
    whole,
)
from .outputs import OutputFolder
from .overwriting import check_inputs_stay, check_record_is_ours
from .predictors import DEFAULT_SAMPLES, MAPS, RECONSTRUCTION, Predictors
from .record import choose_camera, versions, with_earlier_maps

if TYPE_CHECKING:
    from ..images import LoadedImage
    from ..maps import Depth, Normals, Uncertainty
    from ..maps.picture import Picture

    AnyMap = Depth | Normals | Uncertainty | Picture

FORMATS = ("png", "exr", "npy")


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("predict", help="depth, normal and uncertainty maps of photos")
    parser.add_argument("image", nargs="+", metavar="IMAGE", help="photo: JPEG, PNG, WebP, TIFF, EXR ...")
    parser.add_argument("-o", "--output", type=place, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--task",
        choices=(*MAPS, "all", RECONSTRUCTION),
        help="which maps (default: what --model predicts, else depth); reconstruct: the photo as the model sees it",
    )
    parser.add_argument("--format", choices=FORMATS, default="png", help="16-bit PNG (default), 32-bit EXR or NPY")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="M",
        help="name, file, folder or hub id; once for each kind of map",
    )
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a model that does not say it")
    parser.add_argument(
        "--samples", type=whole(2), default=DEFAULT_SAMPLES, metavar="N", help="for uncertainty (default: %(default)s)"
    )
    add_prediction_options(parser)
    add_exposure(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Predict every image; those that fail are named at the end and do not stop the others."""
    from ..images import load_image

    check_prediction(args)
    distinct_stems(args.image)
    wanted = MAPS if args.task == "all" else [args.task] if args.task in MAPS else None
    _check_places(args, wanted or (*MAPS, RECONSTRUCTION))
    if args.task == RECONSTRUCTION and (len(args.model) > 1 or args.tile or args.mirror):
        raise LotusError("--task reconstruct takes one --model, no --tile and no --mirror: leave the others out.")
    failures: list[LotusError] = []
    predictors: Predictors | None = None
    with OutputFolder(args.output) as folder, progress_bar(args.quiet) as progress:
        for index, path in enumerate(args.image):
            watch = Stopwatch()
            bar = part(progress, index, len(args.image), Path(path).name)
            try:
                image = load_image(path, exposure=args.exposure)
            except LotusError as error:
                failures.append(error)
                continue
            if predictors is None:  # only now, so that a bad file name is told at once; a bad model stops everything
                predictors = Predictors(args, args.model, wanted, progress=bar)
            try:
                written = predict_image(predictors, image, Path(path), folder, args, bar)
            except Cancelled:
                raise
            except LotusError as error:
                failures.append(error)
            else:
                if not args.quiet:
                    for note in (*predictors.notes, *exposure_notes(args, image)):
                        complain(f"{path}: {note}")
                    say(f"{path}: {', '.join(written)} in {args.output} ({watch})", progress)
    if failures and len(args.image) == 1:
        raise failures[0]
    if failures:
        for failure in failures:
            complain(failure)
        raise LotusError(
            f"{len(failures)} of {len(args.image)} images failed; the others were written to {args.output}."
        )


def _check_places(args: argparse.Namespace, maps: Sequence[str]) -> None:
    """Raise LotusError where results would take the place of a photo, or a record that of a file that is none."""
    stems = [Path(image).stem for image in args.image]
    names = [name for map_ in maps for name in (f"{map_}.{args.format}", f"{map_}_preview.png")]
    check_inputs_stay((args.output / f"{stem}_{name}" for stem in stems for name in names), args.image)
    for stem in stems:
        check_record_is_ours(args.output / f"{stem}.json")


def say(text: str, progress: Progress | None) -> None:
    """Print a result without breaking the bar."""
    if progress is None:
        print(text, flush=True)
    else:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stdout)


def predict_image(
    predictors: Predictors,
    image: LoadedImage,
    path: Path,
    folder: OutputFolder,
    args: argparse.Namespace,
    progress: Progress | None,
) -> list[str]:
    """Write all maps, previews and the record of one image into `folder`; returns the names of the files."""
    maps: Mapping[str, AnyMap]
    if args.task == RECONSTRUCTION:
        maps = {RECONSTRUCTION: predictors.reconstruct(image, progress)}
    else:
        maps = predictors.predict(image, progress)
    with folder.all_or_nothing() as staging:
        write_maps(maps, staging, path.stem, args.format)
        write_record(predictors, maps, image, path, staging, args)
        return sorted(file.name for file in staging.iterdir())


def write_maps(maps: Mapping[str, AnyMap], folder: Path, stem: str, suffix: str, previews: bool = True) -> None:
    """`<stem>_<map>.<suffix>` and, with `previews`, `<stem>_<map>_preview.png` for every map."""
    for name, values in maps.items():
        values.save(folder / f"{stem}_{name}.{suffix}")
        if previews:
            values.save_preview(folder / f"{stem}_{name}_preview.png")


def write_record(
    predictors: Predictors,
    maps: Mapping[str, AnyMap],
    image: LoadedImage,
    path: Path,
    folder: Path,
    args: argparse.Namespace,
) -> None:
    """`<stem>.json` in `folder`: where every map comes from and what its numbers mean.

    The maps of earlier commands that stay in args.output stay in the record as well.
    """
    stem = path.stem
    height, width = image.rgb.shape[:2]
    camera, source = choose_camera(image)
    record = {
        "image": str(path),
        "width": width,
        "height": height,
        "exposure_stops": image.exposure,
        "maps": {
            name: {
                "file": f"{stem}_{name}.{args.format}",
                "preview": f"{stem}_{name}_preview.png",
                **meaning(values),
                **predictors.describe(name),
            }
            for name, values in maps.items()
        },
        "camera": {**camera.to_dict(), "source": source},
        "seed": args.seed,
        "reference": args.reference,
        "notes": predictors.notes,
        "versions": versions(),
        "command": shlex.join(["lotus", *args.argv]),
    }
    written = {file.name for file in folder.iterdir()}
    record = with_earlier_maps(record, args.output / f"{stem}.json", written)
    (folder / f"{stem}.json").write_text(json_text(record, indent=2) + "\n", encoding="utf-8")


def meaning(values: AnyMap) -> dict[str, Any]:
    """The fields of a map that say how to read its numbers."""
    fields = ("space", "convention", "unit", "samples", "psnr_db")
    return {field: getattr(values, field) for field in fields if hasattr(values, field)}
