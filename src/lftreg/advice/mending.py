"""The command that mends: the one that began a run, with something changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

# What a setting of ours is called in the scripts of other trainers.
THEIRS = {
    "lr": "learning_rate",
    "max_steps": "max_steps",
    "epochs": "num_train_epochs",
    "max_length": "max_length",
    "batch_size": "per_device_train_batch_size",
    "accumulate": "gradient_accumulation_steps",
    "clip": "max_grad_norm",
    "warmup": "warmup_ratio",
    "gradient_checkpointing": "gradient_checkpointing",
}
FLAGS = ("gradient_checkpointing", "packing")
NO_OPTION = ("warmup", "weight_decay", "clip", "patience")  # settings of Python only
DEFAULTS = {
    "rank": 16, "dropout": 0.0, "prompt_dropout": 0.0, "neftune": 0.0, "opening_weight": 1.0, "targets": "all-linear",
    "batch_size": 8, "accumulate": 1, "dtype": "auto", "seed": 0,
}  # fmt: skip


def retry_of(
    name: str, base: str, source: Mapping[str, Any], settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[str, ...]:
    """The words of `lftreg train` that make a run once more; empty where only a Python program can.

    Of a run that an older lftreg made it is not known what was asked for: what differs from a default counts.
    """
    if "domain" in source:
        words = [source["domain"], *(["--name", name] if name != source["domain"] else [])]
    elif "data" in source:
        words = [word for path in source["data"] for word in ("--data", path)]
        words += [word for pair in source.get("map") or () for word in ("--map", pair)]
        words += ["--name", name]
    else:
        return ()
    if base != "starter":
        words += ["--base", base]
    for option in ("continue_from", "replay"):
        if source.get(option) is not None:
            words += _option(option, source[option])
    asked = facts.get("asked")
    if asked is None:
        asked = {key: settings[key] for key, usual in DEFAULTS.items() if settings.get(key, usual) != usual}
    return ("lftreg", "train", *words, *_options(asked))


def changed(retry: Sequence[str], changes: Mapping[str, Any]) -> str:
    """A command with some settings changed; None takes one out. For Python where there is no command."""
    if not retry:
        given = ", ".join(f"{name}={value!r}" for name, value in changes.items() if value is not None)
        return f"lftreg.train(..., {given})" if given else "lftreg.train(...)"
    kept = list(retry)
    for name in changes:
        kept = _without(kept, name)
    return shlex.join([*kept, *_options({key: v for key, v in changes.items() if v is not None})])


def in_script(changes: Mapping[str, Any]) -> str:
    """The same for a script of transformers or TRL: the arguments to change."""
    given = {THEIRS[name]: value for name, value in changes.items() if name in THEIRS and value is not None}
    return (
        f"SFTConfig({', '.join(f'{name}={_plain(value)}' for name, value in given.items())})" if given else ""
    )


def _without(words: Sequence[str], name: str) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if flag not in words:
        return list(words)
    at = list(words).index(flag)
    return [*words[:at], *words[at + (1 if name in FLAGS else 2) :]]


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [
        word
        for name, value in settings.items()
        if name not in NO_OPTION and value not in (None, False)
        for word in _option(name, value)
    ]


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    return [flag] if name in FLAGS else [flag, _plain(value)]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
