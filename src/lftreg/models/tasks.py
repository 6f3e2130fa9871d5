"""What a base can be asked to do: which of transformers' classes loads it, and what PEFT calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENCODERS = frozenset(
    {
        "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet",
        "roberta", "xlm-roberta",
    }
)  # fmt: skip
TRANSLATORS = frozenset({"longt5", "mt5", "t5", "umt5"})
COUNTS_FROM_PADDING = frozenset({"camembert", "roberta", "xlm-roberta"})  # their first position is behind its
DEFAULT_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Task:
    """`loader` is a class of transformers, `peft` the task_type of an adapter's configuration."""

    name: str
    loader: str
    peft: str | None
    words: str


CAUSAL = Task("causal-lm", "AutoModelForCausalLM", "CAUSAL_LM", "causal language model")
SEQ2SEQ = Task("seq2seq-lm", "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM", "sequence-to-sequence model")
MASKED = Task("masked-lm", "AutoModelForMaskedLM", None, "masked language model")
CLASSIFY = Task("classification", "AutoModelForSequenceClassification", "SEQ_CLS", "classifier")

LABELS = "labels"  # where the metadata of a classifier's file holds its labels, in the order of its logits


def unit_of(task: str) -> str:
    """What a loss is counted by."""
    return {CLASSIFY.name: "row", MASKED.name: "hidden token"}.get(task, "token")


def natural_task(config: Mapping[str, Any]) -> Task:
    """What the model of a `config.json` was made for."""
    kind = config["model_type"]
    if config.get("is_encoder_decoder") or kind in TRANSLATORS:
        return SEQ2SEQ
    if kind in ENCODERS and not config.get("is_decoder"):
        return MASKED
    return CAUSAL


def training_task(config: Mapping[str, Any], *, labelled: bool) -> Task:
    """What to train: an encoder learns labels with a head for them, everything else answers with words."""
    task = natural_task(config)
    return CLASSIFY if labelled and task is MASKED else task


def task_of(config: Mapping[str, Any], adapter: Mapping[str, Any]) -> Task:
    """What an adapter was trained for, by its own configuration and its base's `config.json`."""
    return CLASSIFY if adapter.get("task_type") == CLASSIFY.peft else natural_task(config)


def vocabulary_of(config: Mapping[str, Any]) -> int | None:
    """How many ids the base of a `config.json` has embeddings for, where it says so."""
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return int(size) if size else None


def length_limit(config: Mapping[str, Any], asked: int | None) -> int:
    """The longest row in tokens: what was asked for, within what the base of a `config.json` has positions for."""
    positions = config.get("max_position_embeddings") or config.get("n_positions") or DEFAULT_LENGTH
    if config["model_type"] in COUNTS_FROM_PADDING:
        positions -= (config.get("pad_token_id") or 1) + 1
    return min(asked or DEFAULT_LENGTH, int(positions))
