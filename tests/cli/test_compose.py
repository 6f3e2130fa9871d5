"""`lftreg compose` as it is typed: the document, the words, and what a mistake costs."""

from __future__ import annotations

import pytest

from lftreg.registry import Registry, Version

from .conftest import Lftreg, Publish


@pytest.fixture
def pair(publish: Publish) -> tuple[Version, Version]:
    """Two adapters of one base, of which nothing is on this disk."""
    return publish("support", seed=1), publish("finance", seed=2)


def test_the_document(lftreg: Lftreg, registry: Registry, pair: tuple[Version, Version]) -> None:
    made = lftreg("compose", "support:0.7", "finance@1:0.3", "--name", "desk", "--json").document
    stored = registry.get("desk")
    assert made.pop("seconds") > 0
    assert made.pop("relative_error") <= 1e-6
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
    }


def test_the_words_of_an_exact_one_and_of_one_that_is_not(
    lftreg: Lftreg, pair: tuple[Version, Version]
) -> None:
    said = lftreg("compose", "support:0.7", "finance:-0.3").out
    assert "support-finance@1" in said
    assert "0.7 × support@1" in said
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
