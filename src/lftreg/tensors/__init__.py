"""safetensors files, read under limits, and the gate for adapters from outside."""

from __future__ import annotations

from lftreg.tensors.gate import Checked, check_adapter
from lftreg.tensors.header import Header, TensorInfo, read_header

__all__ = ["Checked", "Header", "TensorInfo", "check_adapter", "read_header"]
