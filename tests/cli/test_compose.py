"""`lftreg compose` as it is typed: the document, the words, and what a mistake costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lftreg.registry import Registry, Version

from .conftest import Lftreg, Publish

pytestmark = pytest.mark.slow

Pair = tuple[Version, Version]


@pytest.fixture
def pair(publish: Publish) -> tuple[Version, Version]:
    """Two adapters of one base, of which nothing is on this disk."""
    return publish("support", seed=1), publish("finance", seed=2)


def test_the_document(lftreg: Lftreg, registry: Registry, pair: tuple[Version, Version]) -> None:
    made = lftreg("compose", "support:0.7", "finance@1:0.3", "--name", "desk", "--json").document
    stored = registry.get("desk")
    assert made.pop("seconds") > 0
    assert made.pop("relative_error") <= 1e-6
    assert abs(made.pop("cosine")) < 0.5
    assert 0.2 < made.pop("conflict") < 0.8
    assert made.pop("energy")["8"] == pytest.approx(1, abs=1e-6)
    assert made == {
        "ref": "desk@1",
        "name": "desk",
        "version": 1,
        "digest": f"sha256:{stored.digest}",
        "method": "cat",
        "rank": 8,
        "parents": [
            {"ref": "support@1", "digest": f"sha256:{pair[0].digest}", "weight": 0.7},
            {"ref": "finance@1", "digest": f"sha256:{pair[1].digest}", "weight": 0.3},
        ],
        "options": {"dtype": "float32", "engine": "peft"},
        "engine": "peft",
        "why": None,
        "vllm_rank": 8,
        "fit": None,
    }


def test_the_words_of_an_exact_one_and_of_one_that_is_not(
    lftreg: Lftreg, pair: tuple[Version, Version]
) -> None:
    said = lftreg("compose", "support:0.7", "finance:-0.3").out
    assert "support-finance@1" in said
    assert "0.7 × support@1" in said
    assert lftreg("compose", "support:0.7", "finance:-0.3", "-q").out == "support-finance@2\n"
    assert "-0.3 × finance@1" in said
    assert "exact, but for rounding" in said
    said = lftreg("compose", "support:0.7", "finance:-0.3", "--method", "linear").out
    assert "--method cat is exact" in said


def test_the_options_of_a_method(lftreg: Lftreg, registry: Registry, pair: tuple[Version, Version]) -> None:
    words = ("--method", "dare_ties_svd", "--density", "0.4", "--rank", "3", "--seed", "5")
    lftreg(
        "compose", "support", "finance", *words, "--option", "majority_sign_method=frequency", "--name", "mix"
    )
    made = registry.get("mix")
    assert made.rank == 3
    assert made.recipe is not None
    assert made.recipe.options == {
        "density": 0.4,
        "majority_sign_method": "frequency",
        "rank": 3,
        "seed": 5,
        "dtype": "float32",
        "engine": "peft",
    }
    lftreg("compose", "support", "finance", "--method", "svd", "--rank", "full", "--dtype", "bfloat16")
    assert registry.get("support-finance").rank == 8


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("support", "nobody"), 3, "unknown-adapter"),
        (("support:heavy",), 2, "invalid-weight"),
        (("support", "finance", "--method", "catt"), 3, "unknown-method"),
        (("support", "finance", "--rank", "4"), 2, "unknown-option"),
        (("support", "finance", "--rank", "some"), 2, "usage"),
        (("support", "finance", "--method", "ties", "--density", "0"), 2, "invalid-option"),
        (("support", "finance", "--option", "density"), 2, "invalid-option"),
        (
            ("support", "finance", "--method", "ties", "--density", "0.5", "--option", "density=0.5"),
            2,
            "usage",
        ),
        (("support", "finance", "--option", "registry=1"), 2, "usage"),
        (("support:0.7,finance:0.3",), 2, "usage"),
        ((), 2, "usage"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_made(
    lftreg: Lftreg,
    registry: Registry,
    pair: tuple[Version, Version],
    words: tuple[str, ...],
    code: int,
    name: str,
) -> None:
    done = lftreg("compose", *words, "--json", code=code)
    assert done.error["code"] == name
    assert done.error["hint"]
    assert done.out == ""
    assert len(registry.list()) == 2


def test_adapters_of_different_bases(lftreg: Lftreg, publish: Publish) -> None:
    from dataclasses import replace

    first = publish("support", seed=1)
    publish("other", seed=2, base=replace(first.base, fingerprint="cd" * 32, id="org/other"))
    error = lftreg("compose", "support", "other", "--json", code=2).error
    assert error["code"] == "different-bases"
    assert "starter" in error["message"] and "org/other" in error["message"]


def test_who_computes_is_said_with_the_reason(lftreg: Lftreg, registry: Registry, pair: Pair) -> None:
    done = lftreg("compose", "support", "finance", "--method", "svd", "--rank", "auto", "--max-error", "0.1")
    assert "by the factors engine: PEFT's svd takes no max_error" in done.err
    made = lftreg("compose", "support", "finance", "--method", "svd", "--json").document
    assert made["engine"] == "factors"
    assert "minutes" in made["why"]
    assert made["rank"] == 4


def test_the_engine_of_the_settings_where_it_has_the_method(lftreg: Lftreg, pair: Pair) -> None:
    two = ("compose", "support", "finance", "--json")
    assert lftreg(*two, LFTREG_ENGINE="factors").document["engine"] == "factors"
    assert lftreg(*two, "--method", "linear", LFTREG_ENGINE="factors").document["engine"] == "peft"
    assert lftreg(*two, "--engine", "peft", LFTREG_ENGINE="factors").document["engine"] == "peft"
    assert lftreg(*two, LFTREG_ENGINE="steam", code=2).error["code"] == "unknown-engine"


def test_a_recipe_there_and_back(lftreg: Lftreg, registry: Registry, pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "desk.json"
    lftreg(
        "compose", "support:0.7", "finance:-0.3", "--weights", "crossfade", "--normalise", "--name", "desk"
    )
    lftreg("export", "desk", "--recipe", "--output", str(file))
    again = lftreg("compose", "--recipe", str(file), "--name", "again", "--json").document
    assert again["digest"] == f"sha256:{registry.get('desk').digest}"
    for words in (
        ("support",),
        ("--method", "svd"),
        ("--normalise",),
        ("--weights", "crossfade"),
        ("--seed", "1"),
    ):
        error = lftreg("compose", "--recipe", str(file), *words, "--json", code=2).error
        assert error["code"] == "recipe-and-more"
    assert lftreg("compose", "--recipe", str(tmp_path / "no.json"), "--json", code=3).error["hint"]
    assert (
        lftreg("export", "support", "--recipe", "--output", "x.json", "--json", code=2).error["code"]
        == "no-recipe"
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--fit", "x.jsonl", "--weights", "crossfade"), "usage"),
        (("--fit", "x.jsonl", "--method", "svd"), "fit-method"),
        (("--fit-per", "layer"), "usage"),
        (("--map", "prompt=a"), "usage"),
        (("--weights", "nothing.toml"), "no-weights"),
        (("--engine", "factors", "--method", "ties"), "engine-method"),
        (("--method", "svd", "--rank", "4", "--max-error", "0.1"), "rank-and-error"),
        (("--max-error", "0.1"), "unknown-option"),
    ],
)
def test_what_does_not_go_together(
    lftreg: Lftreg, registry: Registry, pair: Pair, words: Any, code: str
) -> None:
    error = lftreg(
        "compose", "support", "finance", *words, "--json", code=3 if code == "no-weights" else 2
    ).error
    assert error["code"] == code
    assert error["hint"]
    assert len(registry.list()) == 2


def test_methods_explain_themselves(lftreg: Lftreg) -> None:
    listed = lftreg("methods", "--json").document
    for method in listed:
        assert method["engines"]
        assert method["error"], method["name"]
        assert method["cost"], method["name"]
    told = lftreg("methods", "ties_core")
    for words in ("core", "factors", "density: a number above 0, up to 1 (0.5)", "two parents or more"):
        assert words in told.out
    assert lftreg("methods", "tiess", "--json", code=3).error["code"] == "unknown-method"
