"""What is stored in the .blend: settings per scene, and on each image which maps belong to it or which map it is."""

from __future__ import annotations

from collections.abc import Callable

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from lotus_core.checkpoints.registry import PUBLISHED, hub_id, list_models

QUALITIES = (
    ("FAST", "Fast", "Half the size that the model was trained for: a quick look"),
    ("MODEL", "Standard", "The size that the model was trained for"),
    ("FULL", "Full", "The network sees every pixel of the photo: slow, and needs memory"),
    ("CUSTOM", "Custom", "Choose the longest edge that the network sees"),
)
MAP_KINDS = (
    ("NONE", "Not a map", "An ordinary image"),
    ("DEPTH", "Depth", "A depth map of Lotus: grey float values in 0…1"),
    ("NORMAL", "Normals", "A normal map of Lotus: OpenGL axes, coded as 0.5 n + 0.5"),
    ("UNCERTAINTY", "Uncertainty", "An uncertainty map of Lotus: standard deviation"),
)


def is_photo(_settings: object, image: bpy.types.Image) -> bool:
    """Images that can be predicted from: no maps, no render results."""
    return image.lotus.kind == "NONE" and image.source in {"FILE", "GENERATED", "SEQUENCE"}


def _models_for(task: str) -> Callable[..., list[str]]:
    """What a model field suggests while it is edited: the names that a prediction of `task` can use."""

    def search(_settings: object, _context: object, text: str) -> list[str]:
        from .jobs import jobs

        embedded = [name for name, header in list_models().items() if header.metadata.get("task") == task]
        published = [hub_id(name) for name, meaning in PUBLISHED.items() if meaning.task == task]
        known = dict.fromkeys([*embedded, *jobs.known_models(task), *published])  # the backend's, once it has told
        return [name for name in known if text.lower() in name.lower()]

    return search


class LotusImage(bpy.types.PropertyGroup):
    """On every image: `depth`, `normal`, `uncertainty` of a photo; `kind` and what its numbers mean of a map."""

    depth: PointerProperty(type=bpy.types.Image, name="Depth", description="The depth map of this photo")
    normal: PointerProperty(type=bpy.types.Image, name="Normals", description="The normal map of this photo")
    uncertainty: PointerProperty(type=bpy.types.Image, name="Uncertainty", description="The uncertainty of its depth")
    focal_35mm: FloatProperty(
        name="35 mm focal length", description="From the photo's EXIF data; 0: unknown", default=0.0, min=0.0
    )
    kind: EnumProperty(items=MAP_KINDS, name="Kind", description="Which map this image is", default="NONE")
    space: StringProperty(name="Space", description='Of a depth map: "disparity" (1 = near) or "depth" (1 = far)')
    unit: StringProperty(name="Unit", description='Of an uncertainty map: "depth" or "degrees"')
    samples: IntProperty(name="Samples", description="How many samples an uncertainty map was made of", min=0)
    frames: IntProperty(name="Frames", description="Of a sequence of maps: how many; 0: one map", min=0)
    frame_offset: IntProperty(name="Offset", description="Of a sequence of maps: its first file's number less 1")
    model: StringProperty(name="Model", description="The checkpoint that predicted this map")


class LotusSettings(bpy.types.PropertyGroup):
    """`scene.lotus`: what Predict uses. Scripts set these and call `bpy.ops.lotus.predict()`."""

    image: PointerProperty(
        type=bpy.types.Image,
        name="Photo",
        description="The photo or image sequence to predict from",
        poll=is_photo,
    )
    use_depth: BoolProperty(name="Depth", description="Predict the depth map", default=True)
    use_normal: BoolProperty(name="Normals", description="Predict the normal map", default=True)
    use_uncertainty: BoolProperty(
        name="Uncertainty", description="Predict how sure the depth is, from several samples", default=False
    )
    quality: EnumProperty(
        items=QUALITIES, name="Quality", description="How large the network sees the photo", default="MODEL"
    )
    resolution: IntProperty(
        name="Longest edge",
        description="Longest edge that the network sees, in pixels; used by the quality Custom",
        default=768,
        min=64,
        max=8192,
        subtype="PIXEL",
    )
    mirror: BoolProperty(
        name="With Mirror Image",
        description="Predict the mirror image of the photo as well and take the mean: fewer errors in twice the time",
        default=False,
    )
    samples: IntProperty(
        name="Samples", description="How many predictions the uncertainty compares", default=8, min=2, max=64
    )
    seed: IntProperty(name="Seed", description="Of the noise; the same seed gives the same maps", default=0, min=0)
    depth_model: StringProperty(
        name="Depth model",
        description="Name, file or hub id of the checkpoint for depth; empty: the small one that is built in",
        search=_models_for("depth"),
        search_options={"SUGGESTION"},
    )
    normal_model: StringProperty(
        name="Normal model",
        description="Name, file or hub id of the checkpoint for normals; empty: the small one that is built in",
        search=_models_for("normal"),
        search_options={"SUGGESTION"},
    )
    frame_start: IntProperty(name="First frame", description="Of a sequence, counted from 1", default=1, min=1)
    frame_count: IntProperty(
        name="Frames", description="How many frames of a sequence; 0: all of them", default=0, min=0
    )


CLASSES = (LotusImage, LotusSettings)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Image.lotus = PointerProperty(type=LotusImage)
    bpy.types.Scene.lotus = PointerProperty(type=LotusSettings)


def unregister() -> None:
    del bpy.types.Scene.lotus
    del bpy.types.Image.lotus
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
