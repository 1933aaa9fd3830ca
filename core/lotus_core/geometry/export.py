"""Meshes and point clouds to GLB, PLY and OBJ, through trimesh."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LotusError
from .baking import vertex_tangents
from .camera import Camera
from .inputs import check_picture
from .mesh import Mesh
from .preview import sample_texture
from .writing import write_together

SUFFIXES = (".glb", ".ply", ".obj")
_JPEG_QUALITY = 95
_TEXTURE = ".texture"  # beside an OBJ; the stem alone is often the name of the photo
_GLB_BYTES = 2**32  # its header counts them in 32 bits
_WHITE, _BLACK = (255, 255, 255, 255), (0, 0, 0, 255)


def save_mesh(
    mesh: Mesh,
    path: str | os.PathLike[str],
    texture: np.ndarray | None = None,
    camera: Camera | None = None,
    *,
    normal_map: np.ndarray | None = None,
    unlit: bool | None = None,
    camera_to_world: np.ndarray | None = None,
    beside: Mapping[Path, bytes] | None = None,
) -> None:
    """Write a mesh by suffix; a mesh without faces is written as points. Only OBJ keeps quads.

    .glb: right-handed, y up; the photo (JPEG, quality 95) and the normal map (PNG, OpenGL tangent space) embedded, or
    the colours of vertices as 16-bit linear COLOR_0 (glTF 2.0, 3.7.2.1); a rough material that is no metal; a
    camera node with the photo's field of view (at the origin, or at camera_to_world, 4×4); other vertex attributes
    as `_NAME`. unlit: show photo or colours without lighting (KHR_materials_unlit); the default does so unless there is
    a normal map, which only light can show.
    .ply: sRGB colour, normal, UV (s, t) and every scalar attribute per vertex.
    .obj: with `<stem>.mtl` and `<stem>.texture.png` beside it; without faces or UVs with the sRGB colour of each vertex
    behind its position (`v x y z r g b`) instead.

    texture: uint8 H×W×3, used with `mesh.uvs`. normal_map: uint8 H×W×3. beside: other files to write together with the
    mesh, which comes last, so that whoever sees it finds what belongs to it. Raises LotusError: another suffix,
    pictures or colours that are not uint8, a mesh too large for GLB, a place that cannot be written; files that were
    there then stay, all of them.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise LotusError(f"Cannot write {path}: meshes are saved as {', '.join(SUFFIXES)}; change the end of the name.")
    if texture is not None:
        check_picture(texture, "The texture")
    if normal_map is not None:
        check_picture(normal_map, "The normal map")
    colours = mesh.attributes.get("color")
    if colours is not None and (colours.dtype != np.uint8 or colours.shape != (len(mesh.vertices), 3)):
        raise LotusError(
            f'The attribute "color" is uint8, red, green and blue of each vertex; it is {colours.dtype}'
            f" {colours.shape}: scale it to 0…255, round it and convert it."
        )
    if suffix == ".glb":
        place = np.eye(4) if camera_to_world is None else camera_to_world
        files = {path: _glb(mesh, texture, camera, normal_map, unlit, place)}
    else:
        files = {path: _ply(mesh, texture)} if suffix == ".ply" else _obj(mesh, path, texture)
    write_together({**(beside or {}), **files})


def mesh_files(path: str | os.PathLike[str]) -> list[Path]:
    """Every file that `save_mesh` may write under this name."""
    path = Path(path)
    beside = (".mtl", f"{_TEXTURE}.png") if path.suffix.lower() == ".obj" else ()
    return [path, *(path.with_name(f"{path.stem}{end}") for end in beside)]


def _trimesh(mesh: Mesh, visual: Any = None) -> Any:
    import trimesh

    return trimesh.Trimesh(
        vertices=mesh.vertices,
        faces=mesh.triangles(),
        vertex_normals=mesh.normals,
        visual=visual,
        process=False,  # merging vertices would renumber the attributes
        validate=False,
    )


def _vertex_colours(mesh: Mesh, texture: np.ndarray | None) -> np.ndarray | None:
    """uint8 N×3, from the texture, else the attribute "color", else None."""
    if texture is not None and mesh.uvs is not None:
        return np.rint(sample_texture(texture, mesh.uvs) * 255).astype(np.uint8)
    return mesh.attributes.get("color")


def _glb(
    mesh: Mesh,
    texture: np.ndarray | None,
    camera: Camera | None,
    normal_map: np.ndarray | None,
    unlit: bool | None,
    camera_to_world: np.ndarray,
) -> bytes:
    import trimesh
    from PIL import Image

    _check_glb_size(mesh)
    points = len(mesh.faces) == 0
    colours = _vertex_colours(mesh, texture) if points or mesh.uvs is None else None
    textured = not points and mesh.uvs is not None
    shown = colours is not None or (textured and texture is not None)
    material = trimesh.visual.material.PBRMaterial(
        name="photo" if shown else "surface",
        baseColorTexture=_Jpeg(texture) if textured and texture is not None else None,
        normalTexture=Image.fromarray(normal_map) if textured and normal_map is not None else None,
        metallicFactor=0.0,  # 1, a mirror, where there is no material
        roughnessFactor=1.0,
        doubleSided=True,
    )
    # Points as a mesh, because trimesh's point clouds have no normals; `finish` makes points of the corners.
    corners = np.resize(np.arange(len(mesh.vertices)), (-(-len(mesh.vertices) // 3), 3))
    geometry = _trimesh(
        replace(mesh, faces=corners) if points else mesh,
        trimesh.visual.TextureVisuals(uv=mesh.uvs if textured else None, material=material),
    )
    geometry.vertex_attributes.update(_scalars(mesh))
    if colours is not None:
        geometry.vertex_attributes["COLOR_0"] = _linear(colours)
    if textured and normal_map is not None:
        geometry.vertex_attributes["TANGENT"] = vertex_tangents(mesh)
    scene = trimesh.Scene({"mesh": geometry})
    if camera is not None:
        fov = (camera.horizontal_fov_deg, camera.vertical_fov_deg)
        scene.camera = trimesh.scene.cameras.Camera("photo camera", fov=fov, z_near=0.01)
        scene.camera_transform = camera_to_world

    def finish(tree: dict[str, Any]) -> None:
        for entry in tree.get("cameras", []):
            # trimesh writes the ratio of the angles; glTF wants the ratio of the sides.
            assert camera is not None
            entry["perspective"]["aspectRatio"] = camera.width / camera.height
            entry["perspective"]["yfov"] = math.radians(camera.vertical_fov_deg)
        for primitive in (each for entry in tree.get("meshes", []) for each in entry["primitives"]):
            if points:
                primitive["mode"] = 0
            attributes = primitive["attributes"]
            for name in ("TANGENT", "COLOR_0"):
                if f"_{name}" in attributes:  # trimesh takes it for an attribute of our own
                    attributes[name] = attributes.pop(f"_{name}")
            if "COLOR_0" in attributes:
                tree["accessors"][attributes["COLOR_0"]]["normalized"] = True
        if shown and (normal_map is None if unlit is None else unlit):
            tree.setdefault("extensionsUsed", []).append("KHR_materials_unlit")
            for entry in tree.get("materials", []):
                entry["extensions"] = {"KHR_materials_unlit": {}}

    return trimesh.exchange.gltf.export_glb(scene, include_normals=mesh.normals is not None, tree_postprocessor=finish)


def _linear(colours: np.ndarray) -> np.ndarray:
    """sRGB, uint8 N×3, as the linear light that glTF wants: uint16 N×4, opaque; 8 bits would band in the dark."""
    codes = np.arange(256) / 255
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    opaque = np.full((len(colours), 4), 65535, np.uint16)
    opaque[:, :3] = np.rint(light * 65535).astype(np.uint16)[colours]
    return opaque


def _check_glb_size(mesh: Mesh) -> None:
    arrays = (mesh.vertices, mesh.normals, mesh.uvs, *_scalars(mesh).values())
    triangles = len(mesh.faces) * (mesh.faces.shape[1] - 2)
    size = sum(array.nbytes for array in arrays if array is not None) + triangles * 3 * 4
    size += 8 * len(mesh.vertices) if "color" in mesh.attributes else 0
    if size >= _GLB_BYTES:
        raise LotusError(
            f"The mesh is too large for a GLB file, which holds 4 GB ({len(mesh.vertices):,} vertices,"
            f" {triangles:,} triangles): use a larger stride or fewer faces, or save it as .ply."
        )


def _ply(mesh: Mesh, texture: np.ndarray | None) -> bytes:
    import trimesh

    colours = _vertex_colours(mesh, texture)
    geometry = _trimesh(mesh)
    if colours is not None:
        geometry.visual = trimesh.visual.ColorVisuals(geometry, vertex_colors=colours)
    geometry.vertex_attributes.update(_scalars(mesh))
    if mesh.uvs is not None:
        geometry.vertex_attributes.update({"s": mesh.uvs[:, 0], "t": mesh.uvs[:, 1]})
    return trimesh.exchange.ply.export_ply(geometry, vertex_normal=mesh.normals is not None)


def _obj(mesh: Mesh, path: Path, texture: np.ndarray | None) -> dict[Path, bytes]:
    import trimesh
    from PIL import Image

    visual: Any = None
    material_name = f"{path.stem}{_TEXTURE}"  # trimesh names the picture after it
    if len(mesh.faces) and texture is not None and mesh.uvs is not None:
        material = trimesh.visual.material.SimpleMaterial(
            image=Image.fromarray(texture), name=material_name, diffuse=_WHITE, ambient=_WHITE, specular=_BLACK
        )
        visual = trimesh.visual.TextureVisuals(uv=mesh.uvs, material=material)
    elif (colours := _vertex_colours(mesh, texture)) is not None:
        visual = trimesh.visual.ColorVisuals(vertex_colors=colours)
    text, beside = trimesh.exchange.obj.export_obj(
        _trimesh(mesh, visual),
        include_normals=mesh.normals is not None,
        return_texture=True,
        write_texture=False,
        mtl_name=f"{path.stem}.mtl",
    )
    if mesh.faces.shape[1] == 4:
        text = _with_quads(text, mesh.faces)
    files = {path.with_name(name): data.encode() if isinstance(data, str) else data for name, data in beside.items()}
    return {**files, path: text.encode()}


def _with_quads(text: str, quads: np.ndarray) -> str:
    """OBJ text with these faces instead of the triangles that trimesh made of them."""
    lines = text.splitlines()
    first = next(line for line in lines if line.startswith("f "))
    corner = re.sub(r"\d+", "{0}", first.split()[1])  # such as 7/7/7: position, UV and normal have one number
    numbered = [corner.format(i) for i in range(1, int(quads.max()) + 2)]
    faces = [" ".join(["f", *(numbered[i] for i in quad)]) for quad in quads.tolist()]
    return "\n".join([*(line for line in lines if not line.startswith("f ")), *faces, ""])


def _scalars(mesh: Mesh) -> dict[str, np.ndarray]:
    """Per-vertex numbers that are worth a place in a file (colour has its own, the pixel number is internal)."""
    return {
        name: values.astype(np.float32)
        for name, values in mesh.attributes.items()
        if values.ndim == 1 and name not in ("color", "pixel")
    }


class _Jpeg:
    """Looks to trimesh like a Pillow image from a JPEG file, because it would encode one at quality 75."""

    format = "JPEG"

    def __init__(self, pixels: np.ndarray) -> None:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        self.data = buffer.getvalue()

    def save(self, file: Any, format: str) -> None:
        file.write(self.data)

    def tobytes(self) -> bytes:
        return self.data
