"""safetensors files, read under limits, and the gate for adapters from outside."""

from __future__ import annotations

from lftreg.tensors.gate import CLASSIFIER_HEADS, Checked, check_adapter, is_classifier, is_head
from lftreg.tensors.header import Header, TensorInfo, read_header, settle_header
from lftreg.tensors.stream import NAMES, Source, from_float32, header_bytes, to_float32

__all__ = [
    "CLASSIFIER_HEADS",
    "NAMES",
    "Checked",
    "Header",
    "Source",
    "TensorInfo",
    "check_adapter",
    "from_float32",
    "header_bytes",
    "is_classifier",
    "is_head",
    "read_header",
    "settle_header",
    "to_float32",
]
