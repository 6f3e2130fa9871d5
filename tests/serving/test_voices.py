"""What a client may write as a model, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lftreg import Registry
from lftreg.errors import Incompatible, InvalidReference, NotFound, UsageError
from lftreg.models.base import FoundBase, find_base
from lftreg.serving.voices import Voice, find_voice
from tests.registry.conftest import BASE  # a base that is another one


@pytest.fixture
def base(tiny_llama: Path, registry: Registry) -> FoundBase:
    return find_base(str(tiny_llama), registry)


@pytest.fixture
def stocked(registry: Registry, base: FoundBase) -> Registry:
    from lftreg.models.load import load_base

    from .adapters import put

    loaded = load_base(base)
    put(registry, loaded, "support", 1), put(registry, loaded, "finance", 2)
    put(registry, loaded, "support", 3)
    registry.alias("support@1", "prod")
    return registry


def test_names(base: FoundBase, stocked: Registry) -> None:
    for asked, name in (
        ("support", "support@2"),
        ("support@1", "support@1"),
        ("support@prod", "support@1"),
        ("support:1", "support@2"),
    ):
        assert find_voice(asked, base, stocked).name == name
    digest = stocked.get("finance").digest
    assert find_voice(f"finance@sha256:{digest[:12]}", base, stocked).key == ((digest, 1.0),)
    bare = find_voice(base.record.id, base, stocked)
    assert bare.key == find_voice(f"base:{base.record.id}", base, stocked).key == ()


def test_an_alias_is_looked_up_each_time(base: FoundBase, stocked: Registry) -> None:
    before = find_voice("support@prod", base, stocked)
    stocked.alias("support@2", "prod")
    assert find_voice("support@prod", base, stocked).key != before.key


def test_a_sum_has_one_key_in_any_order(base: FoundBase, stocked: Registry) -> None:
    one = find_voice("support:0.7+finance:0.3", base, stocked)
    assert one.key == find_voice("finance:0.3 + support@2:0.7", base, stocked).key
    assert one.key != find_voice("support:0.3+finance:0.7", base, stocked).key
    assert sorted(one.weights) == [0.3, 0.7]
    assert not one.plain


@pytest.mark.parametrize(
    "asked",
    [
        "../support", "/etc/passwd", "./support", "hub:org/repo", "support/../finance", "..", "sup\0port", "%2e%2e%2f",
        "ѕupport", "support@", "support@@1", "", "+", "a" * 2000, "support:nan", "support:inf", "support:1e400",
        "support finance", "support\n", "SUPPORT", "base:", "base:other", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_what_is_no_name(asked: str, base: FoundBase, stocked: Registry) -> None:
    with pytest.raises((NotFound, InvalidReference)) as caught:
        find_voice(asked, base, stocked)
    assert caught.value.hint


def test_a_near_miss_is_told(base: FoundBase, stocked: Registry) -> None:
    with pytest.raises(NotFound, match="Did you mean 'support'"):
        find_voice("suport", base, stocked)


def test_an_adapter_of_another_base(base: FoundBase, stocked: Registry, tmp_path: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    from lftreg.registry import Draft

    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    save_file(
        {f"{stem}A.weight": numpy.ones((2, 8), "f4"), f"{stem}B.weight": numpy.ones((8, 2), "f4")},
        tmp_path / "f",
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    stocked.publish(Draft("foreign", "imported", BASE, tmp_path / "f", config))
    with pytest.raises(Incompatible, match="was made for another base"):
        find_voice("foreign", base, stocked)
    with pytest.raises(Incompatible):
        find_voice("support:0.5+foreign:0.5", base, stocked)


def test_too_many(base: FoundBase, stocked: Registry) -> None:
    with pytest.raises(UsageError, match="too long"):
        find_voice("+".join(["support:0.1"] * 17), base, stocked)
    assert isinstance(find_voice("support:-100", base, stocked), Voice)
    for asked in ("support:1e30", "support:60+support:60"):
        with pytest.raises(UsageError, match="beyond 100"):
            find_voice(asked, base, stocked)
