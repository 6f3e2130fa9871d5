"""safetensors files, read under limits, and the gate for adapters from outside."""

from __future__ import annotations

from lftreg.tensors.gate import CLASSIFIER_HEADS, Checked, check_adapter, is_classifier, is_head
from lftreg.tensors.header import Header, TensorInfo, read_header, settle_header

__all__ = [
    "CLASSIFIER_HEADS",
    "Checked",
    "Header",
    "TensorInfo",
    "check_adapter",
    "is_classifier",
    "is_head",
    "read_header",
    "settle_header",
]
