"""Loading a base model and its tokenizer: offline, quietly, without running anyone's code."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData, UsageError
from lftreg.models.base import FoundBase
from lftreg.models.chat import Chat
from lftreg.models.quantize import check_layers, keep_differentiable, quantization
from lftreg.models.tasks import CLASSIFY, Task, natural_task
from lftreg.tensors import CLASSIFIER_HEADS

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16")
# What transformers raises for folders that are damaged, each in its own place.
UNREADABLE = (ValueError, OSError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A base in memory, its parameters frozen, with the tokenizer and the task that go with it.

    `fresh` are modules of a classifier that the base's file does not hold: they were drawn at random, so an
    adapter has to learn them and to keep them.
    """

    base: FoundBase
    model: Any
    tokenizer: Any
    task: Task
    fresh: tuple[str, ...] = ()

    @property
    def chat(self) -> Chat:
        """How the base writes conversations. Raises InvalidData where it cannot end one."""
        return Chat(self.tokenizer, stop_ids(self.base))

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device


def load_base(
    base: FoundBase,
    dtype: str = "auto",
    *,
    task: Task | None = None,
    labels: Sequence[str] = (),
    quantize: str | None = None,
) -> Loaded:
    """Read a base into memory, on the GPU where there is one.

    `auto` is bfloat16 on a GPU that computes in it and float32 elsewhere. `task` is the base's own
    where it is left out; a classifier gets a fresh head for `labels`. `quantize` keeps the weights in
    4 bits (nf4, Dettmers et al. 2023, arXiv 2305.14314) or 8 (int8). Raises InvalidData for a base that
    transformers cannot read or that lacks the head for its task.
    """
    _quiet()
    import transformers

    task = task or natural_task(base.config)
    options: dict[str, Any] = {"dtype": _dtype(dtype), "trust_remote_code": base.code}
    if task is CLASSIFY:
        options |= {"num_labels": len(labels), "problem_type": "single_label_classification"}
    if quantize is not None:
        options |= quantization(quantize, _device(), _heads(base, task) if task is CLASSIFY else ())
    try:
        model, told = getattr(transformers, task.loader).from_pretrained(
            base.folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InvalidData(
            f"base {base.record.id!r} cannot be loaded: {reason}", "is the folder whole? try another base"
        ) from error
    check_layers(quantize, model)
    keep_differentiable(model)
    fresh = _fresh_modules(base, task, told["missing_keys"])
    model.requires_grad_(False)
    if quantize is None:
        model.to(_device())
    model.eval()
    return Loaded(base, model, load_tokenizer(base), task, fresh)


def _heads(base: FoundBase, task: Task) -> list[str]:
    """The full paths of a classifier's head, which bitsandbytes has to leave as it is."""
    from lftreg.models.targets import list_modules

    modules = list_modules(base.config, task, code=base.folder if base.code else None)
    return [module.name for module in modules if module.head]


def _fresh_modules(base: FoundBase, task: Task, missing: Iterable[str]) -> tuple[str, ...]:
    """Modules whose weights a file lacks and that were drawn at random: right for a classifier's head alone."""
    fresh = set()
    for key in sorted(missing):
        head = next((part for part in key.split(".") if part in CLASSIFIER_HEADS), None)
        if task is not CLASSIFY or head is None:
            raise InvalidData(
                f"base {base.record.id!r} is no whole {task.words}: it lacks {key}",
                "its weights would be drawn at random; choose a base that was trained for it",
                code="headless-base",
            )
        fresh.add(head)
    return tuple(sorted(fresh))


def load_chat(base: FoundBase) -> Chat:
    """How a base writes conversations. Raises InvalidData where it has no tokenizer that can."""
    return Chat(load_tokenizer(base), stop_ids(base))


def load_tokenizer(base: FoundBase) -> Any:
    """The tokenizer of a base. Raises InvalidData without a fast one."""
    return folder_tokenizer(base.folder, base.record.id, code=base.code)


def folder_tokenizer(folder: Path, name: str, *, code: bool = False) -> Any:
    """The tokenizer in a base's folder, of whose weights nothing need be known; see `load_tokenizer`."""
    _quiet()
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    hint = "the folder needs a tokenizer.json; AutoTokenizer(...).save_pretrained(FOLDER) writes one"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=code
        )
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise InvalidData(
            f"base {name!r} has a config.json that makes no sense: {reason}",
            "get the file again, or choose another base",
            code="invalid-config",
        ) from error
    except (*UNREADABLE, ImportError) as error:
        raise InvalidData(
            f"base {name!r} has no tokenizer that can be read", hint, code="no-tokenizer"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidData(f"base {name!r} has no fast tokenizer", hint, code="no-fast-tokenizer")
    return tokenizer


def stop_ids(base: FoundBase) -> list[int]:
    """The ids that end an answer, beside the tokenizer's own."""
    return folder_stop_ids(base.folder, base.record.id)


def folder_stop_ids(folder: Path, name: str) -> list[int]:
    """The ids that end an answer, by a base's folder alone."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return []
    try:
        stop = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    except (ValueError, AttributeError, OSError) as error:
        raise InvalidData(
            f"base {name!r} has a generation_config.json that cannot be read: {error}",
            "get the file again, or remove it",
        ) from error
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
