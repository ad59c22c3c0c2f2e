"""Engines: the same restorer, run by something faster. Each is a `Restorer`, so that nobody else knows which one runs.

graph       a restorer as a program of tensors, whose dial stays an input
openvino    a program as OpenVINO's file, and what runs it
onnx        a program as an ONNX file, and what runs it
eager       torch itself, at another precision or in another memory layout
export      writes a program with all that is needed to run and to check it
exported    runs what was written
choice      which engine is taken where nobody says so
"""

from __future__ import annotations
