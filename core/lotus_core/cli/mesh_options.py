"""The arguments of `lotus mesh`: what there is, where each has a meaning, and what they say to the geometry."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import LotusError
from .options import between, whole
from .predictors import DEFAULT_SAMPLES

if TYPE_CHECKING:
    from ..geometry import SceneOptions

SUFFIXES = (".glb", ".ply", ".obj")
MODES = {"perspective": "what the camera saw", "relief": "the flat picture raised by its depth", "points": "no faces"}
CALIBRATED = "auto"  # --far
SPACE = ("perspective", "points")
# Option → modes that it has a meaning in. Options that are not here have one in all.
ONLY_IN = {
    "fov": SPACE,
    "far": SPACE,
    "known": SPACE,
    "refine": SPACE,
    "fusion": SPACE,
    "maps": SPACE,
    "fill_holes": SPACE,
    "smooth": SPACE,
    "cut": SPACE,
    "quads": ("perspective",),
    "min_faces": ("perspective",),
    "target_faces": ("perspective", "relief"),
    "voxels": ("perspective",),
    "base": ("relief",),
    "width": ("relief",),
    "height": ("relief",),
}
# The uncertainty of several photos only cuts (--max-std, which predicts it by itself).
ONLY_ONE_PHOTO = (
    *(name for name in ONLY_IN if name not in ("min_faces", "target_faces", "voxels")),
    "stride",
    "shape",
    "uncertainty",
)


def number_or_auto(text: str) -> float | str:
    """The type of --far."""
    return CALIBRATED if text == CALIBRATED else between(1, 1e6)(text)


def add_shape_options(parser: argparse.ArgumentParser) -> None:
    """Everything between the maps and the file. None means not given: the default is that of SceneOptions."""
    length, share = between(0, 1e4), between(0, 1)
    modes = "; ".join(f"{name}: {meaning}" for name, meaning in MODES.items())
    group = parser.add_argument_group("camera and distance")
    group.add_argument("--mode", choices=tuple(MODES), default="perspective", help=modes)
    group.add_argument(
        "--fov",
        type=between(1, 170),
        metavar="DEG",
        help="horizontal field of view (default: EXIF, else 55 along the longer side)",
    )
    group.add_argument(
        "--far",
        type=number_or_auto,
        metavar="F",
        help="distance of the depth map's far end, its near end being at 1 (default: 10); auto: from the normals",
    )
    group.add_argument(
        "--known",
        nargs=5,
        type=between(-1e9, 1e9),
        metavar=("X1", "Y1", "X2", "Y2", "METRES"),
        help="the true distance between the surface at two pixels: the mesh is in metres",
    )
    group = parser.add_argument_group("surface")
    group.add_argument(
        "--cut",
        type=between(0, float("inf")),
        metavar="F",
        help="tear the surface where neighbouring distances differ by more than this fraction (default: 0.04)",
    )
    group.add_argument("--sky", type=share, metavar="F", help="remove what is less near than this (0 far ... 1 near)")
    group.add_argument("--max-std", type=share, metavar="F", help="remove what is less certain than this (0 ... 1)")
    group.add_argument("--min-faces", type=whole(0), metavar="N", help="drop smaller islands (default: 64)")
    group.add_argument("--fill-holes", type=whole(1), metavar="N", help="close holes of up to N pixels")
    group.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        help="sharpen soft depth edges, and put in the detail of the normals where a normal model is named (default)",
    )
    group.add_argument(
        "--fusion",
        choices=("poisson", "bilateral"),
        help="how normals sharpen the depth: at once (default), or in seconds, keeping more edges; predicts normals",
    )
    group.add_argument(
        "--shape",
        choices=("depth", "normals"),
        help="what the surface is made from (default: depth); normals: from them alone, as for the relief of a face",
    )
    group.add_argument(
        "--smooth", type=between(0, 100), metavar="PX", help="smooth as far as PX pixels where the depth is uncertain"
    )
    group.add_argument(
        "--stride",
        type=whole(1),
        metavar="N",
        help="a vertex on every Nth pixel (default: 1, and of large photos the smallest that leaves 2 million)",
    )
    group.add_argument("--quads", action="store_true", default=None, help="faces with four corners; .obj only")
    group.add_argument(
        "--target-faces", type=whole(4), metavar="N", help="reduce to N triangles, most where it is flat"
    )
    group = parser.add_argument_group("maps")
    group.add_argument(
        "--maps",
        choices=("opengl", "directx"),
        help="write <stem>.distance.exr, .normal.png, .curvature.exr and .occlusion.exr of the surface, of a normal"
        " model with --target-faces or --stride .tangent.png; normal maps green up (opengl) or down (directx)",
    )
    group = parser.add_argument_group("relief")
    group.add_argument("--width", type=length, metavar="MM", help="of the picture (default: 100)")
    group.add_argument(
        "--height", type=length, metavar="MM", help="of the nearest point above the farthest (default: 10)"
    )
    group.add_argument("--base", type=between(0, 1e3), metavar="MM", help="close it with a base, for 3D printing")
    group = parser.add_argument_group("uncertainty")
    group.add_argument(
        "--uncertainty",
        action="store_true",
        default=None,
        help="predict it too: it weights the normals and goes into the file (--max-std and --smooth do so as well)",
    )
    group.add_argument(
        "--samples", type=whole(2), default=DEFAULT_SAMPLES, metavar="N", help="behind it (default: %(default)s)"
    )


def check_options(args: argparse.Namespace) -> None:
    """Raise LotusError for what can be told before any work."""
    path = args.output
    if path.suffix.lower() not in SUFFIXES:
        raise LotusError(f"Cannot write {path}: meshes are saved as {', '.join(SUFFIXES)}; change the end of the name.")
    if path.is_dir():
        raise LotusError(f"Cannot write {path}: it is a folder; give a file name.")
    if args.poses is None and len(args.image) > 1:
        raise LotusError("Several photos become one surface by their poses: add --poses (see lotus mesh --help)")
    if args.poses is None and args.voxels is not None:
        raise LotusError("--voxels has no meaning without --poses: leave it out.")
    if args.poses is not None and args.mode == "relief":
        raise LotusError("--mode relief is of one photo: leave out --poses or choose another mode.")
    for name in (name for name in ONLY_ONE_PHOTO if args.poses is not None and getattr(args, name) is not None):
        raise LotusError(f"{_flag(name)} has no meaning with --poses: leave it out.")
    for name, modes in ONLY_IN.items():
        if getattr(args, name) is not None and args.mode not in modes:
            raise LotusError(
                f"{_flag(name)} has no meaning in --mode {args.mode}: leave it out or choose --mode {modes[0]}."
            )
    if args.shape == "normals":
        for name in ("fusion", "far", "sky", "refine"):
            if getattr(args, name) is not None:
                raise LotusError(f"{_flag(name)} has no meaning with --shape normals: leave it out.")
    if args.fusion is not None and args.refine is False:
        raise LotusError("--fusion is how --refine works: leave out --fusion or --no-refine.")
    if args.quads and (path.suffix.lower() != ".obj" or args.target_faces is not None):
        raise LotusError("--quads needs an .obj file and no --target-faces: everything else holds triangles.")


def extra_maps(args: argparse.Namespace) -> list[str]:
    """Maps that the options need besides those of the named models."""
    uncertain = args.uncertainty is not None or args.max_std is not None or args.smooth is not None
    slanted = args.far == CALIBRATED or args.fusion is not None or args.shape == "normals"
    # The uncertainty of a mesh is that of depth; without depth, a normal model would give its own.
    alone = args.shape == "normals" and uncertain
    return ["normal"] * slanted + ["uncertainty"] * uncertain + ["depth"] * alone


def scene_options(args: argparse.Namespace, focal_35mm: float | None) -> SceneOptions:
    """What the arguments say; those that were not given keep the defaults of SceneOptions."""
    from ..geometry import SceneOptions

    given = {
        "fov_deg": args.fov,
        "cut": args.cut,
        "known_length": None if args.known is None else tuple(args.known),
        "sky": args.sky,
        "max_std": args.max_std,
        "min_faces": args.min_faces,
        "fill_holes": args.fill_holes,
        "refine": args.refine,
        "fusion": args.fusion,
        "shape": args.shape,
        "smooth_px": args.smooth,
        "stride": args.stride,
        "quads": args.quads,
        "target_faces": args.target_faces,
        "width_mm": args.width,
        "relief_mm": args.height,
        "base_mm": args.base,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if args.far is not None:
        chosen["far"] = None if args.far == CALIBRATED else args.far
    return SceneOptions(mode=args.mode, focal_35mm=focal_35mm, **chosen)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
