"""safetensors files, read under limits, and the gate for adapters from outside."""

from __future__ import annotations

from lftreg.tensors.gate import Checked, admit, admit_file, check_adapter, is_head, settings_of
from lftreg.tensors.header import Header, TensorInfo, header_of, read_header, settle_header
from lftreg.tensors.rules import CLASSIFIER_HEADS, is_classifier
from lftreg.tensors.shapes import Shapes
from lftreg.tensors.stream import NAMES, Source, from_float32, header_bytes, to_float32

__all__ = [
    "CLASSIFIER_HEADS",
    "NAMES",
    "Checked",
    "Header",
    "Shapes",
    "Source",
    "TensorInfo",
    "admit",
    "admit_file",
    "check_adapter",
    "from_float32",
    "header_bytes",
    "header_of",
    "is_classifier",
    "is_head",
    "read_header",
    "settings_of",
    "settle_header",
    "to_float32",
]
