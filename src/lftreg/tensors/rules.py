"""What the configuration of an adapter from outside may say: a table of what is known, and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from lftreg.errors import InvalidData
from lftreg.tensors.strict import NotStrict, strict_json

LARGEST_CONFIG = 1_000_000  # bytes
LARGEST_RANK = 4096
LONGEST_PATTERN = 20_000  # characters of target_modules where it is a pattern
MOST_TARGETS = 10_000  # names in target_modules; PEFT holds each module of the base to all of them
LONGEST_NAME = 400  # characters of a target, or of a pattern of ranks
MOST_PATTERNS = 4_000  # of ranks, and as many of alphas
MOST_MATCHES = 1_000_000  # patterns of ranks times modules: PEFT tries them all, some 40 us each
# A classifier brings its own head, which most bases lack; by these names, and by no other.
CLASSIFIER_HEADS = ("classifier", "score", "classification_head", "pooler")

# What says nothing: 0 does not, as for layers_to_transform it is the first layer.
EMPTY: tuple[Any, ...] = (None, "", [], {})
# Where its base once lay is not where ours lies: a commit of a stranger's would be loaded instead.
_LEFT_OUT = frozenset({"revision"})
# How factors may have begun: none of these changes the base under them.
BEGINNINGS = (True, False, None, "gaussian", "orthogonal")
# Settings of PEFT that lftreg takes as they are; the rest of the table below is looked into.
_FLAGS = ("fan_in_fan_out", "use_rslora", "use_dora", "lora_bias", "inference_mode", "ensure_weight_tying")
_TASKS = (None, "CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
_WORDS = ("peft_type", "peft_version", "base_model_name_or_path", "revision")
# Settings that run code, reach for files, or change more than the declared modules, each under its own code.
FORBIDDEN = (
    "auto_mapping", "megatron_config", "layer_replication", "target_parameters", "exclude_modules",
    "layers_pattern", "layers_to_transform", "trainable_token_indices", "alora_invocation_tokens",
    "use_qalora", "arrow_config", "tokenizer_kwargs", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config",
)  # fmt: skip
# What PEFT writes into every configuration and what means nothing by itself.
DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "megatron_core": ("megatron.core",),
    "bias": ("none",),
    "qalora_group_size": (16,),
    "runtime_config": ({"ephemeral_gpu_offload": False},),
}
# A plain name with dots, as PEFT's patterns hold it; a dot may be escaped, and stands for any letter where not.
_PLAIN_PATTERN = re.compile(rf"(?=.{{1,{LONGEST_NAME}}}$)\^?(?:\w|\\?\.)+")
_BEGAN_ANEW = ("pissa", "olora", "corda", "loftq", "lora_ga", "eva")


def read_config(content: bytes, name: str = "adapter_config.json") -> dict[str, Any]:
    """A configuration as strict JSON. Raises InvalidData, with a code for each way in which it is none."""
    if len(content) > LARGEST_CONFIG:
        refuse(f"{name} is larger than {LARGEST_CONFIG:,} bytes", "config-size")
    try:
        settings = strict_json(content)
    except NotStrict as error:
        refuse(f"{name} is not strict JSON: {error}", f"config-{error.code}")
    if not isinstance(settings, dict):
        refuse(f"{name} is no object", "config-json")
    return settings


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises InvalidData for the first thing that a configuration may not say."""
    if settings.get("peft_type") != "LORA":
        refuse(f"the adapter is of kind {settings.get('peft_type')!r:.40}, not LORA", "peft-type")
    for name in FORBIDDEN:
        if not _says_nothing(settings.get(name)):
            refuse(f"{name} is set, which lftreg does not take from strangers", name.replace("_", "-"))
    for name, value in settings.items():
        _check_setting(name, value)
    for name in ("r", "lora_alpha", "target_modules"):
        if name not in settings:
            CHECKS[name](name, None)
    if not _says_nothing(settings.get("modules_to_save")) and not is_classifier(settings):
        refuse("modules_to_save is set, which lftreg does not take from strangers", "modules-to-save")


def known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Checked settings without those that say nothing: a library would refuse names that it does not know."""
    return {
        name: value
        for name, value in settings.items()
        if (name in CHECKS or name in DEFAULTS) and name not in _LEFT_OUT
    }


def check_work(settings: Mapping[str, Any], modules: int) -> None:
    """Raises InvalidData where an adapter of so many modules has more patterns than anybody could try on each."""
    for name in ("rank_pattern", "alpha_pattern"):
        if len(settings.get(name) or {}) * modules > MOST_MATCHES:
            refuse(
                f"{name} has more patterns than can be tried on {modules:,} modules", name.replace("_", "-")
            )


def is_classifier(settings: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a classifier whose head alone is kept beside its factors."""
    saved = settings.get("modules_to_save")
    heads = isinstance(saved, list) and bool(saved) and all(name in CLASSIFIER_HEADS for name in saved)
    return heads and settings.get("task_type") == "SEQ_CLS"


def rank_of(module: str, settings: Mapping[str, Any]) -> int:
    """The rank that a checked configuration gives to a module, as PEFT finds it."""
    for pattern, rank in (settings.get("rank_pattern") or {}).items():
        if _ending(pattern).fullmatch(module):
            return int(rank)
    return int(settings["r"])


def refuse(message: str, code: str) -> NoReturn:
    raise InvalidData(
        message, "nothing was registered; ask its author for a plain LoRA in safetensors", code=code
    )


@lru_cache(maxsize=MOST_PATTERNS)
def _ending(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?({pattern})")


def _says_nothing(value: Any) -> bool:
    return value is False or (not isinstance(value, int | float) and value in EMPTY)


def _check_setting(name: str, value: Any) -> None:
    if name in CHECKS:
        CHECKS[name](name, value)
    elif _says_nothing(value) or name in FORBIDDEN:
        return
    elif name in DEFAULTS:
        if value not in DEFAULTS[name]:
            refuse(
                f"{name} is {value!r:.60}, which lftreg does not take from strangers", name.replace("_", "-")
            )
    else:
        refuse(f"{name!r:.60} is no setting of a LoRA that lftreg knows", "unknown-setting")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool | None):
        refuse(f"{name} is {value!r:.40}, neither true nor false", "setting-type")


def _word(name: str, value: Any) -> None:
    plain = isinstance(value, str) and len(value) <= 1000
    # A base is told of by who compares it with those that are known here.
    if value is not None and not (plain and (value.isprintable() or name == "base_model_name_or_path")):
        refuse(f"{name} is {value!r:.40}, which is no text that prints", "setting-type")


def _task(name: str, value: Any) -> None:
    if not isinstance(value, str | None) or value not in _TASKS:
        refuse(f"{name} is {value!r:.40}, which PEFT does not know", "task-type")


def _rank(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_RANK:
        refuse(f"rank {value!r:.40} is not from 1 to {LARGEST_RANK}", "rank")


def _alpha(name: str, value: Any) -> None:
    if not _is_scale(value):
        refuse(f"alpha {value!r:.40} is no usable number", "alpha")


def _dropout(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        refuse(f"{name} {value!r:.40} is not from 0 to 1", "setting-type")


def _beginning(name: str, value: Any) -> None:
    if isinstance(value, str) and value.lower().startswith(_BEGAN_ANEW):
        refuse(f"the adapter began as {value:.40}, which changes the base under it", "changes-base")
    if not isinstance(value, str | bool | None) or value not in BEGINNINGS:
        refuse(f"the adapter began as {value!r:.40}, which lftreg does not know", "unknown-beginning")


def _targets(name: str, value: Any) -> None:
    if isinstance(value, str) and value:
        _check_pattern(value)
    elif not (isinstance(value, list) and value and all(_is_name(target) for target in value)):
        refuse("target_modules is no list of names", "targets")
    elif len(value) > MOST_TARGETS:
        refuse(f"target_modules has {len(value):,} names; at most {MOST_TARGETS:,} come in", "targets")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()


def _names(name: str, value: Any) -> None:
    if value is not None and not (
        isinstance(value, list) and all(isinstance(n, str) for n in value) and len(value) <= 16
    ):
        refuse(f"{name} is {value!r:.40}, no list of names", name.replace("_", "-"))


def _patterns(name: str, value: Any) -> None:
    code = name.replace("_", "-")
    patterns = {} if value is None else value
    if not isinstance(patterns, dict) or not all(_PLAIN_PATTERN.fullmatch(key) for key in patterns):
        refuse(f"{name} holds more than plain names", code)
    if len(patterns) > MOST_PATTERNS:
        refuse(f"{name} has {len(patterns):,} patterns; at most {MOST_PATTERNS:,} come in", code)
    for number in patterns.values():
        whole = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= LARGEST_RANK
        if not (whole if name == "rank_pattern" else _is_scale(number)):
            refuse(f"{name} gives {number!r:.40}, which is no usable number", code)


def _is_scale(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 < abs(value) <= 1e6


def _check_pattern(pattern: str) -> None:
    """Refuse what could keep a matcher busy for years: a repetition in a repetition, or very many of them.

    No pattern of a stranger's is ever run here, as what it matched is known from the tensors. Others run it.
    """
    if len(pattern) > LONGEST_PATTERN:
        refuse(f"target_modules is a pattern of {len(pattern):,} characters", "target-pattern")
    endless = [False]  # a group each: whether there is a repetition without end in it
    closed = False  # whether the group that ended just now had one
    text = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern)  # escapes and sets are one letter each
    for at, letter in enumerate(text):
        if letter == "(":
            endless.append(False)
        elif letter == ")" and len(endless) > 1:
            closed = endless.pop()
            endless[-1] |= closed
            continue
        elif (letter in "*+" and text[at - 1 : at] != "(") or re.match(r"\{\d*,\d*\}", text[at : at + 24]):
            if closed:
                refuse(
                    "target_modules repeats a repetition, which may never end to be matched", "target-pattern"
                )
            endless[-1] = True
        closed = False


# Looked at by name. `r`, `lora_alpha` and `target_modules` have to be there.
CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(_FLAGS, _flag),
    **dict.fromkeys(_WORDS, _word),
    "task_type": _task,
    "r": _rank,
    "lora_alpha": _alpha,
    "lora_dropout": _dropout,
    "init_lora_weights": _beginning,
    "target_modules": _targets,
    "modules_to_save": _names,
    "rank_pattern": _patterns,
    "alpha_pattern": _patterns,
}
