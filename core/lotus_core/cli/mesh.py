"""`lotus mesh`: a textured mesh of one photo, or one surface of several with known poses."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from ..progress import Progress, part
from .console import Stopwatch, complain, progress_bar
from .mesh_files import preview_path, written_files
from .mesh_options import CALIBRATED, add_shape_options, check_options, extra_maps, scene_options
from .options import add_exposure, add_prediction_options, add_quiet, check_prediction, exposure_notes, place, whole
from .outputs import OutputFolder
from .overwriting import check_inputs_stay
from .predictors import DEFAULT_MODELS, Predictors
from .record import choose_camera, photo_pixels, versions

if TYPE_CHECKING:
    from ..geometry import Scene
    from ..geometry.poses import PosedImage
    from ..images import LoadedImage

PREVIEW_SIZE = 1024  # pixels, longest edge


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("mesh", help="a textured mesh of a photo, or of several with known poses")
    parser.add_argument("image", nargs="+", metavar="IMAGE", help="photo: JPEG, PNG, WebP, TIFF, EXR ...")
    parser.add_argument("-o", "--output", type=place, required=True, metavar="FILE", help="scene.glb, .ply or .obj")
    parser.add_argument("--preview", action="store_true", help="draw the result too, as <stem>.preview.png")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="M",
        help=f"depth model, and once more for a normal model (default: {DEFAULT_MODELS['depth']})",
    )
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a model that does not say it")
    add_shape_options(parser)
    several = parser.add_argument_group("several photos")
    several.add_argument(
        "--poses", metavar="P", help="where they were taken from: a folder of COLMAP text files, or a JSON file"
    )
    several.add_argument("--voxels", type=whole(8), metavar="N", help="along the longest side (default: 192)")
    add_prediction_options(parser)
    add_exposure(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Predict depth, build the scene, write it with a record of how it was made."""
    from ..checkpoints.meaning import UntoldError
    from ..geometry.alignment import check_points
    from ..images import load_image
    from ..plates import common_exposure, is_plate

    check_options(args)
    check_prediction(args)
    check_inputs_stay(written_files(args), [*args.image, *filter(None, [args.poses])])
    posed = _poses(args)
    watch = Stopwatch()
    with OutputFolder(args.output.parent) as folder, progress_bar(args.quiet) as progress:
        exposure = args.exposure
        if posed and exposure is None:  # one for all: they share a surface, and its colours
            exposure = common_exposure([path for path in args.image if is_plate(Path(path))])
        images = [load_image(path, exposure=exposure) for path in args.image]
        if args.known is not None:  # before the prediction, which may take minutes
            height, width = images[0].rgb.shape[:2]
            check_points(width, height, args.known[:2], args.known[2:4])
        alone = args.shape == "normals"
        wanted = ["normal"] if alone else None
        try:
            predictors = Predictors(args, args.model, wanted, also=extra_maps(args), progress=progress)
        except UntoldError as error:  # its sentence names --task, which is not an option here
            raise LotusError(
                f"Nothing that can be trusted says what {error.place} predicts: pass --space disparity or --space depth"
                f" if depth; if normals, make a file that says so: lotus convert {error.place} new.safetensors --task"
                " normal."
            ) from None
        if "depth" not in predictors.maps and not alone:
            raise LotusError(f"A mesh needs depth, which {args.model[0]} does not predict: name a depth model as well.")
        if args.mode == "relief" and "normal" in predictors.maps and not alone:
            raise LotusError("A relief is made of the depth: leave out the normal model, or add --shape normals.")
        if posed and "normal" in predictors.maps:
            raise LotusError("Several photos are fused by their depth alone: leave out the normal model.")
        steps = len(images) + 2
        maps = [predictors.predict(image, part(progress, i, steps)) for i, image in enumerate(images)]
        building = part(progress, len(images), steps)
        scene = _fused(args, posed, images, maps, building) if posed else _single(args, images[0], maps[0], building)
        if progress is not None:
            progress(1 - 1 / steps, "saving")
        record = {
            **({"images": args.image, "poses": args.poses} if posed else {"image": args.image[0]}),
            "exposure_stops": next((each.exposure for each in images if each.exposure is not None), None),
            "models": {name: predictors.describe(name) for name in predictors.maps},
            "seed": args.seed,
            "versions": versions(),
            "command": shlex.join(["lotus", *args.argv]),
        }
        with folder.all_or_nothing() as staging:
            scene.save(staging / args.output.name, **record)
            if args.preview:
                _save_preview(scene, preview_path(staging / args.output.name))
            if args.maps is not None:
                scene.save_maps(staging, args.output.stem, args.maps)
    failed = (scene.record.get("calibration") or {}).get("failed")
    if failed is not None and not args.quiet:
        complain(f"--far auto: {failed} Used {scene.record['far']:g} instead.")
    if not args.quiet:
        stride = scene.options.stride
        if args.stride is None and stride is not None and stride > 1:
            complain(f"The photo is large: one vertex for {stride} × {stride} pixels (--stride 1: on every pixel).")
        for note in predictors.notes:
            complain(note)
        for path, image in zip(args.image, images, strict=True):
            for note in exposure_notes(args, image):
                complain(f"{path}: {note}")
        print(f"{args.output}: {_summary(args, scene, images)} ({watch})")


def _poses(args: argparse.Namespace) -> list[PosedImage]:
    if args.poses is None:
        return []
    from ..geometry.poses import match_poses, read_poses

    return match_poses(args.image, read_poses(args.poses))


def _single(args: argparse.Namespace, image: LoadedImage, maps: dict[str, Any], progress: Progress | None) -> Scene:
    import numpy as np

    from ..geometry import build_scene
    from ..maps import Depth

    photo = photo_pixels(image)
    depth = maps["depth"] if "depth" in maps else Depth(np.ones(photo.shape[:2], np.float32), "disparity")
    options = scene_options(args, image.focal_35mm)
    return build_scene(depth, photo, maps.get("normal"), maps.get("uncertainty"), options, progress)


def _fused(
    args: argparse.Namespace,
    posed: list[PosedImage],
    images: list[LoadedImage],
    maps: list[dict[str, Any]],
    progress: Progress | None,
) -> Scene:
    from ..geometry.fused_scene import build_fused_scene

    return build_fused_scene(
        posed,
        [each["depth"] for each in maps],
        [photo_pixels(image) for image in images],
        [each["uncertainty"] for each in maps] if "uncertainty" in maps[0] else None,
        scene_options(args, None),
        progress=progress,
        **({} if args.voxels is None else {"voxels": args.voxels}),
    )


def _save_preview(scene: Scene, path: Path) -> None:
    from PIL import Image

    Image.fromarray(scene.preview(PREVIEW_SIZE)).save(path)


def _summary(args: argparse.Namespace, scene: Scene, images: list[LoadedImage]) -> str:
    mesh = scene.mesh
    faces = f"{len(mesh.faces):,} quads" if args.quads else f"{len(mesh.triangles()):,} triangles"
    size = f"{len(mesh.vertices):,} vertices, {faces}" if len(mesh.faces) else f"{len(mesh.vertices):,} points"
    if args.poses is not None:
        return f"{size}, {len(images)} photos aligned to {scene.record['aligned_to']}"
    if scene.camera is None:
        return size
    source = choose_camera(images[0], args.fov)[1]
    if args.far == CALIBRATED and "error_deg" in (scene.record["calibration"] or {}):
        source = "the normals" if source == "default" else source
        source += f", --far {scene.record['far']:.3g}"
    return f"{size}, field of view {scene.camera.horizontal_fov_deg:.0f}° from {source}"
