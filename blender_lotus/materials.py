"""Materials that EEVEE and Cycles render alike."""

from __future__ import annotations

import bpy

from .timeline import follow_timeline

SHADINGS = (
    ("EMISSION", "Photo", "The photo as it is, untouched by lights: a render from the camera equals the photo"),
    ("PRINCIPLED", "Lit", "The photo as base colour of a surface that your lights shine on"),
)
_STEP = 280.0  # between columns of nodes


def photo_material(
    name: str,
    photo: bpy.types.Image,
    shading: str,
    *,
    normal_texture: bpy.types.Image | None = None,
    roughness: bpy.types.Image | None = None,
    roughness_range: tuple[float, float] = (0.4, 0.9),
) -> bpy.types.Material:
    """A new material with the photo on the layer UVMap.

    shading: "EMISSION" or "PRINCIPLED". normal_texture: OpenGL tangent space. roughness: an uncertainty map; its
    values from 0 to its 98 % quantile become `roughness_range` (unsure places shine less).
    """
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    output.location = (2 * _STEP, 0)
    texture = image_node(tree, photo, (-_STEP, 0))
    if shading == "EMISSION":
        shader = tree.nodes.new("ShaderNodeEmission")
        tree.links.new(texture.outputs["Color"], shader.inputs["Color"])
    else:
        shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
        shader.inputs["Roughness"].default_value = 0.7
        tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
        if normal_texture is not None:
            _add_normal_map(tree, shader, normal_texture)
        if roughness is not None:
            _add_roughness(tree, shader, roughness, roughness_range)
    shader.location = (_STEP, 0)
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    return material


def image_node(
    tree: bpy.types.NodeTree, image: bpy.types.Image, location: tuple[float, float]
) -> bpy.types.ShaderNodeTexImage:
    """An image texture on the layer UVMap; sequences and movies follow the timeline."""
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    node.extension = "EXTEND"
    node.location = location
    follow_timeline(node.image_user, image)
    uv = tree.nodes.new("ShaderNodeUVMap")
    uv.uv_map = "UVMap"
    uv.location = (location[0] - _STEP, location[1])
    tree.links.new(uv.outputs["UV"], node.inputs["Vector"])
    return node


def _add_normal_map(tree: bpy.types.NodeTree, shader: bpy.types.Node, image: bpy.types.Image) -> None:
    texture = image_node(tree, image, (-_STEP, -400))
    normal = tree.nodes.new("ShaderNodeNormalMap")
    normal.space = "TANGENT"
    normal.uv_map = "UVMap"
    normal.location = (0, -400)
    tree.links.new(texture.outputs["Color"], normal.inputs["Color"])
    tree.links.new(normal.outputs["Normal"], shader.inputs["Normal"])


def _add_roughness(
    tree: bpy.types.NodeTree, shader: bpy.types.Node, image: bpy.types.Image, span: tuple[float, float]
) -> None:
    from .images import read_uncertainty

    texture = image_node(tree, image, (-_STEP, -800))
    spread = tree.nodes.new("ShaderNodeMapRange")
    spread.location = (0, -800)
    spread.inputs["From Max"].default_value = read_uncertainty(image).scale()
    spread.inputs["To Min"].default_value, spread.inputs["To Max"].default_value = span
    tree.links.new(texture.outputs["Color"], spread.inputs["Value"])
    tree.links.new(spread.outputs["Result"], shader.inputs["Roughness"])
