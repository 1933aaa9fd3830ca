"""Uses of image sequences and movies show the frame of the timeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import bpy


class Span(NamedTuple):
    """Which frames of a sequence are shown: how many, and the number of the file before the first."""

    frames: int
    offset: int


def span_of(image: bpy.types.Image) -> Span:
    """Of a sequence or movie; of a still 1 and 0."""
    return Span(max(image.lotus.frames or image.frame_duration, 1), image.lotus.frame_offset)


def follow_timeline(user: bpy.types.ImageUser, image: bpy.types.Image) -> None:
    """Let a use of an image sequence or movie show the frame of the timeline, its first at frame 1."""
    if image.source not in {"SEQUENCE", "MOVIE"}:
        return
    user.frame_duration, user.frame_offset = span_of(image)
    user.frame_start = 1
    user.use_auto_refresh = True


def follow_span(image: bpy.types.Image, earlier: Span) -> None:
    """Let the uses of an image that show its earlier span show the present one, from the same frame of the timeline on.

    Uses with another span were set by the user, and stay.
    """
    span = span_of(image)
    if image.source != "SEQUENCE" or span == earlier:
        return
    for user in list(_users_of(image)):
        if (user.frame_duration, user.frame_offset) == earlier:
            user.frame_duration, user.frame_offset = span


def _users_of(image: bpy.types.Image) -> Iterator[bpy.types.ImageUser]:
    """Those of textures, nodes, background images of cameras, and empties."""
    data = bpy.data
    uses = [*data.textures]
    for tree in _trees():
        uses += tree.nodes
    for camera in data.cameras:
        uses += camera.background_images
    for use in uses:
        if getattr(use, "image", None) == image and hasattr(use, "image_user"):
            yield use.image_user
    for empty in data.objects:
        if empty.data == image:
            yield empty.image_user


def _trees() -> Iterator[bpy.types.NodeTree]:
    data = bpy.data
    yield from data.node_groups
    for owner in (*data.materials, *data.worlds, *data.lights):
        if owner.node_tree is not None:
            yield owner.node_tree
