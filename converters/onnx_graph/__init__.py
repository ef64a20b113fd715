"""ONNX graphs: export, folding, reduced precision."""

from fer_edge.telemetry import import_without_telemetry

import_without_telemetry("onnxruntime")  # before its submodules, which would start its telemetry
