"""A classifier brings a head: its own, declared, whole, and nothing that reaches the base or another adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from lftreg.errors import InvalidData
from lftreg.tensors import check_adapter

STEM = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_"
HEAD = "base_model.model.classifier.weight"
CONFIG = {
    "peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, "lora_alpha": 4,
    "target_modules": ["query"], "modules_to_save": ["classifier", "score"],
}  # fmt: skip


def check(folder: Path, more: dict[str, tuple[int, ...]], labels: str | None = None, **config: Any) -> None:
    shapes = {f"{STEM}A.weight": (2, 8), f"{STEM}B.weight": (8, 2), HEAD: (2, 8)} | more
    tensors = {key: numpy.ones(shape, numpy.float32) for key, shape in shapes.items() if shape}
    metadata = {"format": "pt"} | ({} if labels is None else {"labels": labels})
    save_file(tensors, folder / "a.safetensors", metadata=metadata)
    (folder / "a.json").write_text(json.dumps(CONFIG | config))
    check_adapter(folder / "a.safetensors", folder / "a.json")


def test_a_whole_classifier_passes(tmp_path: Path) -> None:
    check(tmp_path, {"base_model.model.classifier.bias": (2,)}, '["post", "spam"]')
    check(tmp_path, {}, None)
    pooler = {"base_model.model.bert.pooler.dense.weight": (8, 8)}
    check(tmp_path, pooler, None, modules_to_save=["classifier", "pooler"])


HOSTILE: dict[str, tuple[dict[str, tuple[int, ...]], str | None, dict[str, Any], str]] = {
    "a pooler that is not declared": (
        {"base_model.model.bert.pooler.dense.weight": (8, 8)}, None, {}, "base-key",
    ),
    "the base's own head": ({"base_model.model.classifier.original_module.weight": (2, 8)}, None, {}, "base-key"),
    "another adapter's head": (
        {"base_model.model.classifier.modules_to_save.good.weight": (2, 8)}, None, {}, "base-key",
    ),
    "a head of no classifier": ({}, None, {"modules_to_save": []}, "base-key"),
    "a head of another task": ({}, None, {"task_type": "CAUSAL_LM"}, "modules-to-save"),
    "more than a head": ({}, None, {"modules_to_save": ["classifier", "lm_head"]}, "modules-to-save"),
    "no head": ({HEAD: ()}, None, {}, "half-missing"),
    "labels that are no JSON": ({}, "spam, ham", {}, "labels"),
    "a number for labels": ({}, "5", {}, "labels"),
    "labels in lists": ({}, "[[1], [2]]", {}, "labels"),
    "one label twice": ({}, '["a", "a"]', {}, "labels"),
    "too many labels": ({}, '["a", "b", "c"]', {}, "labels"),
    "a pattern that is run": ({}, None, {"exclude_modules": "([a-z]+)+!"}, "exclude-modules"),
    "a rank that is a word": ({}, None, {"rank_pattern": {"query": "abc"}}, "rank-pattern"),
    "an alpha that is a word": ({}, None, {"alpha_pattern": {"query": "abc"}}, "alpha-pattern"),
}  # fmt: skip


@pytest.mark.parametrize(("more", "labels", "config", "code"), HOSTILE.values(), ids=HOSTILE)
def test_what_reaches_further_is_refused(
    tmp_path: Path, more: dict[str, tuple[int, ...]], labels: str | None, config: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidData) as caught:
        check(tmp_path, more, labels, **config)
    assert caught.value.code == code
