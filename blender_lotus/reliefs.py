"""The Displace modifiers of reliefs, which turn a depth map into heights."""

from __future__ import annotations

import bpy

from .timeline import follow_timeline


def displace(obj: bpy.types.Object, photo: bpy.types.Image, strength: float, vertex_group: str = "") -> None:
    """Raise an object by the depth of a photo, the near end of its range by `strength`."""
    depth = photo.lotus.depth
    texture = bpy.data.textures.new(f"{photo.name} depth", "IMAGE")
    texture.image = depth
    texture.extension = "EXTEND"
    texture.use_clamp = False
    # The vertices lie on pixel centres; interpolating there would only round.
    texture.use_interpolation = False
    if bpy.app.version < (5, 0, 0):
        texture.use_mipmap = False
    follow_timeline(texture.image_user, depth)
    modifier = obj.modifiers.new("Lotus relief", "DISPLACE")
    modifier.texture = texture
    modifier.texture_coords = "UV"
    modifier.uv_layer = "UVMap"
    modifier.direction = "Z"
    modifier.vertex_group = vertex_group
    # The texture's values times the strength, from the mid level, which is where the far end is.
    modifier.mid_level, modifier.strength = 0.0, strength
    if depth.lotus.space == "depth":
        _turn(modifier)


def follow(depth: bpy.types.Image, earlier: str) -> None:
    """Let what an image displaces rise by it, after it took the place of a map of the space `earlier`."""
    for obj in bpy.data.objects:
        for modifier in obj.modifiers:
            if modifier.type == "DISPLACE" and getattr(modifier.texture, "image", None) == depth:
                if (depth.lotus.space == "depth") != (earlier == "depth"):
                    _turn(modifier)
                obj.update_tag()


def _turn(modifier: bpy.types.Modifier) -> None:
    """Make a modifier for values with 1 = near one for 1 = far, or the reverse: the same heights of 1 − values."""
    modifier.mid_level, modifier.strength = 1 - modifier.mid_level, -modifier.strength
