"""Loading a base model and its tokenizer: offline, quietly, without running anyone's code."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData, Unavailable, UsageError
from lftreg.models.base import FoundBase
from lftreg.models.chat import Chat

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16")
# What transformers raises for folders that are damaged, each in its own place.
UNREADABLE = (ValueError, OSError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A base in memory, in evaluation mode, with no adapter."""

    base: FoundBase
    model: Any
    chat: Chat

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device


def load_base(base: FoundBase, dtype: str = "auto") -> Loaded:
    """Read a base into memory, on the GPU where there is one.

    `auto` is bfloat16 on a GPU that computes in it and float32 elsewhere. Raises InvalidData
    for a base that transformers cannot read, Unavailable for one that needs code of its own.
    """
    _quiet()
    import transformers

    config = base.config
    if "auto_map" in config:
        raise Unavailable(
            f"base {base.record.id!r} needs Python code that comes with it, which lftreg never runs",
            "choose a base that transformers knows by itself",
            code="remote-code",
        )
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            base.folder, dtype=_dtype(dtype), local_files_only=True, use_safetensors=True
        )
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InvalidData(
            f"base {base.record.id!r} cannot be loaded: {reason}", "is the folder whole? try another base"
        ) from error
    model.requires_grad_(False)
    model.to(_device())
    model.eval()
    return Loaded(base, model, load_chat(base))


def load_chat(base: FoundBase) -> Chat:
    """The tokenizer of a base, with its stop tokens. Raises InvalidData without a fast one."""
    _quiet()
    import transformers

    hint = "the folder needs a tokenizer.json; AutoTokenizer(...).save_pretrained(FOLDER) writes one"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    except (*UNREADABLE, ImportError) as error:
        raise InvalidData(
            f"base {base.record.id!r} has no tokenizer that can be read", hint, code="no-tokenizer"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidData(f"base {base.record.id!r} has no fast tokenizer", hint, code="no-fast-tokenizer")
    return Chat(tokenizer, _stop_ids(base))


def _stop_ids(base: FoundBase) -> list[int]:
    path = base.folder / "generation_config.json"
    if not path.is_file():
        return []
    stop = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    return stop if isinstance(stop, list) else [stop] if isinstance(stop, int) else []


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype(name: str) -> torch.dtype:
    import torch

    if name not in DTYPES:
        raise UsageError(f"unknown dtype {name!r}", f"one of {', '.join(DTYPES)}")
    if name == "auto":
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _quiet() -> None:
    """Progress bars, advice and warnings of the libraries below would break into ours."""
    for library in ("huggingface_hub", "bitsandbytes", "peft"):
        logging.getLogger(library).setLevel(logging.ERROR)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
