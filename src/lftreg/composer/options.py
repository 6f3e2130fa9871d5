"""The options of a method: the keyword-only parameters of its `merge` or `mix`, with their types as the rules.

    def merge(model, adapters, weights, name, *, density: Density = 0.5, seed: Seed = 0) -> None: ...

takes a density above 0, up to 1, and a seed; anything else is refused before a tensor is read.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from lftreg.errors import UsageError
from lftreg.plugins.types import Method


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number: from `low`, or above it where `open`, up to `high`."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False


Density = Annotated[float, Range(0, 1, open=True)]  # the share of entries that is kept
Share = Annotated[float, Range(0, 1)]  # of the norm of the whole
Rank = Annotated[int, Range(1)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Sign = Literal["total", "frequency"]  # whose sign wins: that of the larger sum, or of the larger number


def truncation(*, rank: Rank | Literal["auto", "full"] | None = None, max_error: Share | None = None) -> None:
    """The options of every method whose result the factors engine cuts to a rank."""


def options_of(method: Method, engine: str | None = None) -> dict[str, inspect.Parameter]:
    """The options of a method by name, in one engine or in all that run it."""
    found: dict[str, inspect.Parameter] = {}
    for function in _routes(method, engine):
        parameters = inspect.signature(function).parameters
        found |= {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    return found


def _routes(method: Method, engine: str | None) -> list[Callable[..., Any]]:
    routes = {"peft": [method.merge], "factors": [method.mix, truncation if method.truncates else None]}
    wanted = [*routes["peft"], *routes["factors"]] if engine is None else routes[engine]
    return [function for function in wanted if function is not None]


def resolve_options(
    method: Method, given: Mapping[str, Any], methods: Iterable[Method] = (), engine: str | None = None
) -> dict[str, Any]:
    """Every option of a method that is not None: as given, or its default.

    `methods` are all there are, to say which of them would take an option that this one does not.
    Raises UsageError for an option that the method has not, lacks, or cannot take.
    """
    known = options_of(method, engine)
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in known:
            raise _unknown_option(method, name, known, methods)
    types_ = _types(method, engine)
    resolved = {}
    for name, parameter in known.items():
        if name in given:
            resolved[name] = _checked(name, given[name], types_.get(name, Any))
        elif parameter.default is parameter.empty:
            raise UsageError(
                f"method {method.name!r} needs {name}",
                f"give it {_words(types_.get(name, Any))}",
                code="missing-option",
            )
        elif parameter.default is not None:
            resolved[name] = parameter.default
    return resolved


def _types(method: Method, engine: str | None) -> dict[str, Any]:
    """The annotations of its functions; those of a plugin that do not resolve are no rules."""
    found: dict[str, Any] = {}
    for function in _routes(method, engine):
        with contextlib.suppress(NameError, TypeError, AttributeError):
            found |= typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    return found


def explain(method: Method) -> list[tuple[str, str, str]]:
    """Name, allowed values in words, and default of every option of a method."""
    types_ = _types(method, None)
    return [
        (name, _words(types_.get(name, Any)), "" if p.default in (None, p.empty) else str(p.default))
        for name, p in options_of(method).items()
    ]


def _checked(name: str, value: Any, wanted: Any) -> Any:
    if not _fits(value, wanted):
        raise UsageError(f"{name} cannot be {value!r}", f"give it {_words(wanted)}", code="invalid-option")
    return float(value) if isinstance(value, int) and _plain(wanted) is float else value


def _plain(wanted: Any) -> Any:
    return typing.get_args(wanted)[0] if typing.get_origin(wanted) is Annotated else wanted


def _fits(value: Any, wanted: Any) -> bool:
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        return _fits(value, inner[0]) and all(_within(value, rule) for rule in inner[1:])
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted) if wanted in (str, bool, type(None)) else True


def _within(value: float, rule: Any) -> bool:
    if not isinstance(rule, Range):
        return True
    return rule.low <= value <= rule.high and not (rule.open and value == rule.low)


def _words(wanted: Any) -> str:
    """A type for people: a number above 0, up to 1."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        bounds = [_bounds(rule) for rule in inner[1:] if isinstance(rule, Range)]
        return " ".join([_words(inner[0]), *bounds])
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in inner if one is not type(None))
    if origin is Literal:
        return " or ".join(str(one) for one in inner)
    return {float: "a number", int: "a whole number", str: "a word", bool: "true or false"}.get(
        wanted, "a value"
    )


def _bounds(rule: Range) -> str:
    low = f"{'above' if rule.open else 'from'} {rule.low:g}"
    if math.isinf(rule.high):
        return low
    return f"{low}, below 2^63" if rule.high >= 2**63 - 1 else f"{low}, up to {rule.high:g}"


def _unknown_option(method: Method, name: str, known: Iterable[str], methods: Iterable[Method]) -> UsageError:
    takers = [other.name for other in methods if name in options_of(other)]
    own = list(known)
    near = difflib.get_close_matches(name, own, n=1)
    question = f" Did you mean {near[0]!r}?" if near else ""
    if takers:
        hint = f"these methods take it: {', '.join(takers)}"
    else:
        hint = f"its options: {', '.join(own)}" if own else "it has no options"
    return UsageError(f"method {method.name!r} takes no {name}.{question}", hint, code="unknown-option")
