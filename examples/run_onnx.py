"""Runs an exported restorer with ONNX Runtime alone, at three qualities side by side: neither torch nor this library.

    iqp export tiny -o tiny-onnx --format onnx
    python examples/run_onnx.py tiny-onnx face.png restored.png

Everything that people turn is an input: the quality (NaN for no preference), the strength of its guidance (`scale`)
and, for a model that has one, the fidelity between detail (0) and likeness (1).
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

folder, picture, out = map(Path, sys.argv[1:])
session = onnxruntime.InferenceSession(folder / "model.onnx")
inputs = {each.name: each.shape for each in session.get_inputs()}
side = inputs["lq"][-1]
face = Image.open(picture).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
lq = np.asarray(face, np.float32).transpose(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, R, R)


def restored(quality: float) -> np.ndarray:
    """The face at a quality, as 8 bits (R, R, 3)."""
    dial = {"lq": lq, "quality": [[quality]], "scale": [1], "fidelity": [0.5]}
    pictures, *codes = session.run(None, {name: np.array(dial[name], np.float32) for name in inputs})
    return (pictures[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)


Image.fromarray(np.hstack([np.asarray(face), *map(restored, (0.1, 0.5, 0.95))])).save(out)
