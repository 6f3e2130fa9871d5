"""The model that lm-eval runs. Imports lm-eval, and so torch: only lm-eval and `register` import this.

It is lm-eval's own model of transformers, given a base and an adapter that lftreg loaded. So requests are
tokenised, batched and scored as `--model hf` does it, and scores of both may be compared.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from lftreg.config import load_settings
from lftreg.errors import LftregError, UsageError, unknown
from lftreg.harness import NAME
from lftreg.harness.scored import Scored, load_scored
from lftreg.registry import Registry

OURS = ("ref", "quantize", "dtype", "home", "trust_remote_code", "device")
# Arguments of `--model hf` that mean the same here. Any other it would pass over without a word.
THEIRS = (
    "add_bos_token", "batch_size", "chat_template_args", "enable_thinking", "logits_cache", "max_batch_size",
    "max_length", "mixed_precision_dtype", "prefix_token_id", "softmax_dtype", "think_end_token", "truncation",
)  # fmt: skip


@register_model(NAME)
class AdapterLM(HFLM):  # type: ignore[misc]
    """An adapter of the registry, or a bare base, to lm-eval.

    `ref` is an adapter (`support@prod`) or `base:starter` (`base:` and any base). `pretrained` is another
    name of it: lm-eval calls the folder of `--output_path` after that. `quantize` is nf4 or int8, `dtype`
    auto, float32 or bfloat16, `home` the registry's folder where it is not the configured one. One model,
    one process. Raises subclasses of LftregError, their hint as a note.
    """

    def __init__(
        self,
        ref: object = None,
        *,
        pretrained: object = None,
        quantize: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        home: str | None = None,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> None:
        with _hints():
            _check_options(options)
            _check_alone()
            settings = load_settings(flags={} if home is None else {"home": str(home)})
            with Registry(settings.home, settings.database_url) as registry:
                self.scored = load_scored(
                    _one_ref(ref, pretrained),
                    registry,
                    dtype,
                    quantize=quantize,
                    trust_code=trust_remote_code,
                )
            _place(self.scored, device)
        with _unwarned():
            super().__init__(self.scored.model, tokenizer=self.scored.tokenizer, **options)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into `config` of its results: the digest of the adapter, and its base."""
        return self.scored.identity


@contextmanager
def _hints() -> Iterator[None]:
    """Whoever shows an error as a traceback shows its notes too."""
    try:
        yield
    except LftregError as error:
        if error.hint:
            error.add_note(f"hint: {error.hint}")
        raise


@contextmanager
def _unwarned() -> Iterator[None]:
    """lm-eval warns that a model in memory makes it pass over other arguments; those were refused before."""
    logger = logging.getLogger(HFLM.__module__)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _one_ref(ref: object, pretrained: object) -> str:
    """The one REF that was given; lm-eval makes numbers of names that look like one."""
    given = [str(one) for one in (ref, pretrained) if one is not None]
    if len(given) != 1:
        what = "no REF is given" if not given else f"ref={given[0]} and pretrained={given[1]} are two REFs"
        raise UsageError(what, "--model_args ref=support@prod, or ref=base:starter", code="one-ref")
    return given[0]


def _check_options(options: dict[str, Any]) -> None:
    for name in options:
        if name not in THEIRS:
            known = sorted([*OURS, *THEIRS])
            raise unknown("model argument", name, known, f"--model {NAME} takes {', '.join(known)}")


def _check_alone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"--model {NAME} runs in one process, and WORLD_SIZE is {os.environ['WORLD_SIZE']}",
            "start it without a launcher; `--model hf` with peft=FOLDER of `lftreg export` knows launchers",
            code="one-process",
        )


def _place(scored: Scored, device: str | None) -> None:
    """Move a model to the device that was asked for; lm-eval asks for cuda:0 wherever nothing was said."""
    if device is None or scored.quantize is not None:
        return
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}", "--device cuda:0, or cpu") from error
    if wanted.type != "cuda" or torch.cuda.is_available():
        scored.model.to(wanted)
