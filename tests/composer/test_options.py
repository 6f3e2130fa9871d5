"""A method's signature is its options: what they may be is read in their types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from lftreg.composer.options import Density, Range, Rank, resolve_options
from lftreg.errors import UsageError
from lftreg.plugins.types import Method


def merge(
    model: Any,
    adapters: Any,
    weights: Any,
    name: str,
    *,
    density: Density = 0.5,
    rank: Rank | Literal["auto"] | None = None,
    sign: Literal["total", "frequency"] = "total",
    fast: bool = False,
    ratio: Annotated[float, Range(-1, 1)] = 0.0,
    note: str = "",
    anything: Any = None,
    unheard: "NotImported" = None,  # type: ignore[name-defined]  # noqa: F821, UP037
) -> None: ...


def resolvable(
    model: Any,
    adapters: Any,
    weights: Any,
    name: str,
    *,
    density: Density = 0.5,
    rank: Rank | Literal["auto"] | None = None,
    sign: Literal["total", "frequency"] = "total",
    fast: bool = False,
    ratio: Annotated[float, Range(-1, 1)] = 0.0,
    note: str = "",
    anything: Any = None,
) -> None: ...


METHOD = Method("mine", "all sorts of options", resolvable)
DEFAULTS = {"density": 0.5, "sign": "total", "fast": False, "ratio": 0.0, "note": ""}


def test_defaults_are_filled_in_and_none_is_left_out() -> None:
    assert resolve_options(METHOD, {}) == DEFAULTS
    assert resolve_options(METHOD, {"density": None, "rank": None}) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("density", 1.0), ("density", 1e-9), ("rank", 1), ("rank", "auto"), ("sign", "frequency"),
        ("fast", True), ("ratio", -1.0), ("note", "x"), ("anything", [1, {}]),
    ],
)  # fmt: skip
def test_what_fits_is_taken(name: str, value: Any) -> None:
    assert resolve_options(METHOD, {name: value})[name] == value


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("density", 0, "a number above 0, up to 1"),
        ("density", 1.01, "up to 1"),
        ("density", float("nan"), "a number"),
        ("density", float("inf"), "a number"),
        ("density", True, "a number"),
        ("density", "0.5", "a number"),
        ("rank", 0, "a whole number from 1 or auto"),
        ("rank", 2.0, "whole"),
        ("rank", True, "whole"),
        ("rank", "autp", "auto"),
        ("sign", "both", "total or frequency"),
        ("fast", 1, "true or false"),
        ("ratio", -1.1, "from -1, up to 1"),
        ("note", 3, "a word"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name: str, value: Any, hint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        resolve_options(METHOD, {name: value})
    assert name in refusal.value.message
    assert hint in str(refusal.value.hint)


def test_a_whole_number_for_a_number_is_the_same_recipe() -> None:
    value = resolve_options(METHOD, {"density": 1})["density"]
    assert value == 1.0
    assert isinstance(value, float)


def test_types_that_do_not_resolve_are_no_rules() -> None:
    assert resolve_options(Method("mine", "x", merge), {"unheard": 3, "density": 7})["density"] == 7


def test_an_unknown_option_names_the_methods_that_take_it() -> None:
    def plain(model: Any, adapters: Any, weights: Any, name: str) -> None: ...

    bare = Method("plain", "no options", plain)
    with pytest.raises(UsageError) as refusal:
        resolve_options(bare, {"density": 0.5}, [bare, METHOD])
    assert refusal.value.hint == "these methods take it: mine"
    with pytest.raises(UsageError) as refusal:
        resolve_options(bare, {"spice": 1}, [bare, METHOD])
    assert refusal.value.hint == "it has no options"
    with pytest.raises(UsageError) as refusal:
        resolve_options(METHOD, {"densty": 1}, [bare, METHOD])
    assert "Did you mean 'density'?" in refusal.value.message


def test_an_option_without_a_default_must_be_given() -> None:
    def needy(model: Any, adapters: Any, weights: Any, name: str, *, share: float) -> None: ...

    with pytest.raises(UsageError, match="needs share"):
        resolve_options(Method("needy", "x", needy), {})
    assert resolve_options(Method("needy", "x", needy), {"share": 0.25}) == {"share": 0.25}
