"""LotusMesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from comfy_api.latest import io

from lotus_core.errors import LotusError

from .bar import interruptible_bar
from .dependencies import importing
from .frames import Frames
from .meshes import CameraType, GlbType, MeshType, camera_info, glb_file, mesh_value
from .schema import DepthType, NormalType, UncertaintyType, advanced, schema

if TYPE_CHECKING:
    from lotus_core import Depth, Normals, Uncertainty


SMALLEST_ISLAND = 64
NOWHERE = 1e9  # a cut that no two distances differ by
NO_ALPHA = (64, 64)  # the size of Load Image's mask of a photo without alpha
_BUILDING = 0.8  # of the node's time; the rest writes the file


class LotusMesh(io.ComfyNode):
    """A textured mesh of one frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LotusMesh",
            display_name="Lotus Mesh",
            description="A textured mesh of a photo and its depth, for Preview 3D and Save 3D Model.",
            search_aliases=["depth to mesh", "image to 3d", "glb", "relief", "2.5d", "displacement"],
            inputs=[
                DepthType.Input("depth", tooltip="From Lotus Depth."),
                io.Image.Input("image", tooltip="The photo that the depth is of; it becomes the texture."),
                NormalType.Input(
                    "normal",
                    optional=True,
                    tooltip="perspective: from Lotus Normal, puts fine detail into the surface.",
                ),
                UncertaintyType.Input(
                    "uncertainty",
                    optional=True,
                    tooltip="From Lotus Uncertainty with the depth model: see max_uncertainty.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White: what to keep. Black is left out of the mesh. The mask of Load Image is white where"
                    " a photo is transparent: put Invert Mask between.",
                ),
                io.Combo.Input(
                    "mode",
                    options=["perspective", "relief"],
                    default="perspective",
                    tooltip="perspective: what the camera saw. relief: the flat picture raised by its depth, in"
                    " millimetres, with a base for 3D printing.",
                ),
                io.Float.Input(
                    "fov",
                    default=0.0,
                    min=0.0,
                    max=170.0,
                    step=1.0,
                    tooltip="perspective: horizontal field of view of the photo, degrees. 0: 55 along its longer side.",
                ),
                io.Float.Input(
                    "far",
                    default=10.0,
                    min=0.0,
                    max=1000.0,
                    step=0.5,
                    tooltip="perspective: distance of the far end of the depth's range, the near end being at 1."
                    " 0: found from `normal`, which must be connected then.",
                ),
                io.Float.Input(
                    "cut",
                    default=0.04,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="perspective: the surface tears where neighbouring distances differ by more than this"
                    " fraction. 0: nowhere.",
                ),
                io.Int.Input(
                    "target_faces",
                    default=200_000,
                    min=0,
                    max=10_000_000,
                    tooltip="Reduce to about so many triangles, most where it is flat; borders and islands stay, so"
                    " that there is a least. 0: keep all, two a pixel; of an image above 2 megapixels two for every"
                    " 2 × 2, 3 × 3 … pixels.",
                ),
                advanced(
                    io.Float.Input(
                        "sky",
                        default=0.0,
                        min=0.0,
                        max=1.0,
                        step=0.01,
                        tooltip="Leave out what is less near than this (0 far … 1 near).",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "max_uncertainty",
                        default=1.0,
                        min=0.0,
                        max=1.0,
                        step=0.005,
                        tooltip="Leave out what is less certain than this share of the depth range; needs the"
                        " uncertainty.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "base",
                        default=2.0,
                        min=0.0,
                        max=1000.0,
                        step=0.5,
                        tooltip="relief: thickness of the base, millimetres. 0: an open surface.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "relief_height",
                        default=10.0,
                        min=0.1,
                        max=1000.0,
                        step=0.5,
                        tooltip="relief: height of the nearest point, millimetres; the picture is 100 wide.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "frame",
                        default=0,
                        min=0,
                        max=100_000,
                        tooltip="Which frame of a batch to mesh.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "min_faces",
                        optional=True,  # prompts saved before it came lack it
                        default=SMALLEST_ISLAND,
                        min=1,
                        max=1_000_000,
                        tooltip="perspective: leave out islands of fewer quads (pairs of triangles). 1: keep all.",
                    )
                ),
            ],
            outputs=[
                MeshType.Output("mesh", tooltip="For Save 3D Model and the mesh nodes."),
                GlbType.Output(
                    "glb", tooltip="A GLB file with the photo as texture and the photo's camera, for Preview 3D."
                ),
                CameraType.Output(
                    "camera", tooltip="The photo's own view, of a relief that from in front, for Preview 3D."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        depth: list[Depth],
        image: torch.Tensor,
        mode: str,
        fov: float,
        far: float,
        cut: float,
        target_faces: int,
        sky: float,
        max_uncertainty: float,
        base: float,
        relief_height: float,
        frame: int,
        normal: list[Normals] | None = None,
        uncertainty: list[Uncertainty] | None = None,
        mask: torch.Tensor | None = None,
        min_faces: int = SMALLEST_ISLAND,
    ) -> io.NodeOutput:
        with importing():
            import fast_simplification  # noqa: F401  # what target_faces needs
            import trimesh  # noqa: F401  # what writes the GLB file

            from lotus_core import Depth
            from lotus_core.geometry import SceneOptions, build_scene

        frames = Frames(image)
        photo = _photo(frames, frame)
        chosen = _of_frame(depth, frame, "depth")
        if mask is not None:
            keep = _keep(mask, frame, chosen.values.shape)
            chosen = Depth(chosen.values, chosen.space, chosen.mask & keep)
        if mode == "perspective" and 0 < far <= 1:
            raise LotusError(
                f"far is {far:g}, but the near end lies at 1: choose more, or 0 to find it from the normals."
            )
        options = SceneOptions(
            mode=mode,  # type: ignore[arg-type]
            fov_deg=fov or None,
            far=far or None,
            cut=cut or NOWHERE,
            target_faces=target_faces or None,
            sky=sky or None,
            max_std=max_uncertainty if max_uncertainty < 1 else None,
            base_mm=base or None,
            relief_mm=relief_height,
            min_faces=min_faces,
        )
        show = interruptible_bar()
        scene = build_scene(
            chosen,
            photo,
            None if normal is None else _of_frame(normal, frame, "normal"),
            None if uncertainty is None else _of_frame(uncertainty, frame, "uncertainty"),
            options,
            lambda fraction, text: show(fraction * _BUILDING, text),
        )
        return io.NodeOutput(mesh_value(scene), glb_file(scene), camera_info(scene))


def _of_frame(maps: list[Any], frame: int, name: str) -> Any:
    if frame >= len(maps):
        raise LotusError(f"There is no frame {frame}: the {name} input has {len(maps)}, counted from 0.")
    return maps[frame]


def _photo(frames: Frames, frame: int) -> np.ndarray:
    if frame >= len(frames):
        raise LotusError(f"There is no frame {frame}: the image input has {len(frames)}, counted from 0.")
    colour = frames.crop(frames.array(frame))[..., :3]
    return np.rint(np.broadcast_to(colour, (*colour.shape[:2], 3)) * 255).astype(np.uint8)


def _keep(mask: torch.Tensor, frame: int, size: tuple[int, int]) -> np.ndarray:
    from lotus_core.geometry.surface import check_aspect

    masks = mask[None] if mask.ndim == 2 else mask[:, 0] if mask.ndim == 4 and mask.shape[1] == 1 else mask
    if masks.ndim != 3 or 0 in masks.shape:
        shape = "×".join(map(str, mask.shape))
        raise LotusError(f"The mask is {shape}, but batch×height×width is needed, of at least one pixel.")
    if frame >= len(masks) > 1:
        raise LotusError(f"There is no frame {frame}: the mask input has {len(masks)}, counted from 0.")
    chosen = masks[min(frame, len(masks) - 1)].detach().float().cpu()
    if tuple(chosen.shape) == NO_ALPHA and size != NO_ALPHA:  # Load Image's for a photo without transparency
        if not chosen.any():
            raise LotusError(
                "The mask is what Load Image gives for a photo without transparency, black all over: leave the mask"
                " unconnected, or put Invert Mask between."
            )
        if bool((chosen == 1).all()):  # inverted
            return np.ones(size, dtype=bool)
    if tuple(chosen.shape) != size:
        check_aspect(chosen.shape, size, "mask")
        chosen = torch.nn.functional.interpolate(chosen[None, None], size, mode="bilinear")[0, 0]
    return (chosen > 0.5).numpy()
