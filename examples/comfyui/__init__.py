"""Nodes of ComfyUI that restore faces: copy this folder into `ComfyUI/custom_nodes`."""

from __future__ import annotations

from .nodes import AddDial, LoadRestorer, RestoreFaces

NODE_CLASS_MAPPINGS = {
    "IQPLoadRestorer": LoadRestorer,
    "IQPAddDial": AddDial,
    "IQPRestoreFaces": RestoreFaces,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "IQPLoadRestorer": "Load Face Restorer (IQP)",
    "IQPAddDial": "Add Quality Dial (IQP)",
    "IQPRestoreFaces": "Restore Faces (IQP)",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
