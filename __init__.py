"""What ComfyUI loads when this repository is cloned into its custom_nodes/ folder."""

from .comfyui_lotus import comfy_entrypoint

WEB_DIRECTORY = "./comfyui_lotus/web"  # help pages; ComfyUI looks from this file's folder

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
