"""safetensors files, read under limits."""

from __future__ import annotations

from lftreg.tensors.header import Header, TensorInfo, read_header

__all__ = ["Header", "TensorInfo", "read_header"]
