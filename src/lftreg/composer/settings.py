"""What a PEFT configuration says that matters to a sum of adapters, and what cannot be summed.

`add_weighted_adapter` takes the configuration of the first adapter for the result, so whatever another
one sets is lost without a word. Here every setting is read, or known to be harmless, or refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lftreg.errors import Incompatible, InvalidData, LftregError

# Settings that are read below, or that do not change what a finished adapter computes.
_READ = {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "target_modules"}
_READ |= {"init_lora_weights", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"}
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "inference_mode",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "revision",
    "runtime_config", "task_type",
}  # fmt: skip
_NEUTRAL: tuple[Any, ...] = (None, False, "", [], {}, "none")

_ONLY_LORA = "train it again without that setting, or merge it into the base and compose on that base"
# setting -> why factors alone cannot hold it, what to do instead
_REFUSED = {
    "use_dora": ("DoRA rescales the base's own weights, which no sum of factors can do", _ONLY_LORA),
    "lora_bias": ("its bias would be dropped", _ONLY_LORA),
    "bias": ("it changed biases of the base, which would be dropped", "train it with bias='none'"),
    "modules_to_save": (
        "it holds whole layers beside its factors, which would be dropped or reset",
        "adapt those layers through target_modules instead of modules_to_save",
    ),
    "trainable_token_indices": ("its trained tokens would be dropped", "adapt the embedding as a target"),
    "alora_invocation_tokens": (
        "it is active only after certain tokens, and a sum cannot be active for a part of itself",
        "use it by itself, beside the others",
    ),
    "target_parameters": ("it adapts bare parameters, which PEFT cannot merge", "adapt whole layers instead"),
    "layer_replication": ("it rebuilds the base out of repeated layers", "use it by itself"),
}
_WITHOUT_BASE = {"gaussian", "orthogonal", "eva"}  # initialisations that leave the base as it is
_REWRITES_BASE = re.compile(r"pissa(_niter_\d+)?|olora|corda|loftq|lora_ga")

Pattern = tuple[tuple[re.Pattern[str], float], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a LoRA configuration that gives every module its rank and its scale.

    `names` are the target modules where a plain list of suffixes says it all, else None.
    """

    r: int
    alpha: float
    rslora: bool
    ranks: Pattern
    alphas: Pattern
    names: tuple[str, ...] | None
    transposed: bool
    task: str | None

    def rank(self, path: str) -> int:
        return int(_by_pattern(self.ranks, path, self.r))

    def scale(self, path: str) -> float:
        """What the product of the factors counts: alpha / rank, or alpha / sqrt(rank) for rsLoRA."""
        rank = self.rank(path)
        return _by_pattern(self.alphas, path, self.alpha) / (math.sqrt(rank) if self.rslora else rank)


def read_settings(config: Mapping[str, Any], who: str) -> Settings:
    """Read a PEFT configuration. `who` names it in errors.

    Raises Incompatible for what factors alone cannot hold, InvalidData for what is no LoRA.
    """
    kind = str(getattr(config.get("peft_type"), "value", config.get("peft_type")))
    if kind != "LORA":
        raise Incompatible(f"{who} is a {kind} adapter", "only LoRA adapters compose", code="not-lora")
    for setting, value in config.items():
        if setting in _READ or setting in _HARMLESS or value in _NEUTRAL:
            continue
        why, hint = _REFUSED.get(setting, ("which lftreg cannot add up", _ONLY_LORA))
        raise Incompatible(
            f"{who} cannot be composed: it uses {setting}: {why}",
            hint,
            code=f"uses-{setting.replace('_', '-')}",
        )
    _check_start(config.get("init_lora_weights", True), who)
    try:
        settings = _settings(config)
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise _broken(who, str(error)) from error
    numbers = [settings.alpha, settings.r, *(n for _, n in (*settings.ranks, *settings.alphas))]
    if not all(math.isfinite(number) for number in numbers) or settings.r < 1:
        raise _broken(who, "a rank or an alpha is out of range")
    return settings


def _settings(config: Mapping[str, Any]) -> Settings:
    targets = config["target_modules"]
    plain = not isinstance(targets, str) and not any(
        config.get(key) not in _NEUTRAL
        for key in ("exclude_modules", "layers_to_transform", "layers_pattern")
    )
    return Settings(
        r=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        rslora=bool(config.get("use_rslora")),
        ranks=_pattern(config.get("rank_pattern")),
        alphas=_pattern(config.get("alpha_pattern")),
        names=tuple(sorted(targets)) if plain else None,
        transposed=bool(config.get("fan_in_fan_out")),
        task=config.get("task_type"),
    )


def _check_start(start: object, who: str) -> None:
    """Some initialisations move a part of the base into the factors and leave the rest in its place."""
    if isinstance(start, bool) or start is None or str(start).lower() in _WITHOUT_BASE:
        return
    why = "whose start is one that lftreg does not know"
    if _REWRITES_BASE.fullmatch(str(start).lower()):
        why = "which changed the base's own weights at the start, so it fits no other adapter's base"
    raise Incompatible(
        f"{who} cannot be composed: it uses init_lora_weights={start!r}, {why}",
        "PEFT turns it into a plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion=...)",
        code="uses-init-lora-weights",
    )


def _pattern(patterns: Mapping[str, Any] | None) -> Pattern:
    """PEFT's patterns: regular expressions for the end of a path, whole names of modules at a dot."""
    found = (patterns or {}).items()
    return tuple((re.compile(rf"(.*\.)?({key})$"), float(value)) for key, value in found)


def _by_pattern(pattern: Pattern, path: str, otherwise: float) -> float:
    return next((value for key, value in pattern if key.match(path)), otherwise)


def _broken(who: str, why: str) -> LftregError:
    return InvalidData(
        f"{who} has a configuration that is not that of a LoRA ({why})", "`lftreg verify` checks it"
    )
