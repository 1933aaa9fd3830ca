"""What ComfyUI loads when this repository is cloned into its custom_nodes/ folder."""

from .comfyui_lotus import NODE_CLASS_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS"]
