"""What may come out of a hook: which type, under which names, and what is wrong with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Generic, TypeVar

from lftreg.plugins.types import Domain, Example, Method, Split, Targets

T = TypeVar("T")
Guard = Callable[[str, Callable[[], Any]], Any]  # (what is done, the plugin's code) -> its result

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NAME_RULE = "it must be a-z, 0-9, dot, dash or underscore, 64 at most, and start with a letter or digit"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One hook: the type it yields, and how values of that type are named, judged and guarded.

    `claims` are the names that no other plugin may use, in words. `problem` says what is wrong
    with a value, or None. `guarded` returns the value with the plugin's callables wrapped, so
    that a failure inside them names the plugin.
    """

    word: str
    hook: str
    type: type[T]
    name: Callable[[T], str]
    claims: Callable[[T], tuple[str, ...]]
    problem: Callable[[T], str | None]
    guarded: Callable[[T, Guard], T]


def check_all(kind: Kind[T], yielded: object) -> list[T]:
    """Everything a hook yielded, once all of it is known to be good. Raises TypeError or ValueError."""
    if isinstance(yielded, kind.type) or not isinstance(yielded, Iterable):
        raise TypeError(f"{kind.hook} gave {_kind_of(yielded)}; it must yield {kind.type.__name__} values")
    values: list[T] = []
    for value in yielded:
        if not isinstance(value, kind.type):
            raise TypeError(f"{kind.hook} yielded {_kind_of(value)}, not a {kind.type.__name__}")
        if problem := kind.problem(value):
            raise ValueError(f"{kind.word} {kind.name(value)!r}: {problem}")
        values.append(value)
    return values


def _kind_of(value: object) -> str:
    name = type(value).__name__
    return "nothing (None)" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# The fields of a stranger's dataclass may hold anything, so each is judged as an `Any`.


def _domain_problem(domain: Any) -> str | None:
    if not _is_name(domain.name):
        return f"not a name: {_NAME_RULE}"
    if not isinstance(domain.summary, str) or not domain.summary.strip():
        return "it has no summary"
    if not callable(domain.build):
        return "build is not a function of (split, seed)"
    if not _are_texts(domain.prompts):
        return "prompts is not a tuple of strings"
    if not isinstance(domain.defaults, Mapping):
        return "defaults is not a mapping"
    if not isinstance(domain.attachments, Mapping):
        return "attachments is not a mapping"
    return None


def _targets_problem(targets: Any) -> str | None:
    if not _is_name(targets.family):
        return f"not a name: {_NAME_RULE}"
    if not _are_texts(targets.model_types) or not targets.model_types:
        return "model_types is not a tuple of strings with at least one"
    if not isinstance(targets.presets, Mapping) or not targets.presets:
        return "presets is not a mapping with at least one preset"
    for preset, modules in targets.presets.items():
        if not _are_texts(modules) or not modules:
            return f"preset {preset!r} is not a tuple of module names"
    if not _are_texts(targets.optional):
        return "optional is not a tuple of module names"
    return None


def _method_problem(method: Any) -> str | None:
    if not _is_name(method.name):
        return f"not a name: {_NAME_RULE}"
    if not isinstance(method.summary, str) or not method.summary.strip():
        return "it has no summary"
    if method.merge is None and method.mix is None:
        return "has neither a merge nor a mix"
    if method.mix is not None and not callable(method.mix):
        return "its mix cannot be called"
    if method.merge is None:
        return None
    if not callable(method.merge):
        return "merge is not a function"
    try:
        inspect.signature(method.merge).bind(None, (), (), "name")
    except TypeError as error:
        return f"merge does not take (model, adapters, weights, name): {error}"
    return None


def _guarded_domain(domain: Domain, guard: Guard) -> Domain:
    @wraps(domain.build)
    def build(split: Split, seed: int) -> Iterable[Example]:
        def examples() -> tuple[Example, ...]:
            rows: tuple[Any, ...] = tuple(domain.build(split, seed))
            for number, row in enumerate(rows, start=1):
                if not isinstance(row, Example):
                    raise TypeError(f"{split} row {number} is {_kind_of(row)}, not an Example")
            return rows

        rows: tuple[Example, ...] = guard(f"domain {domain.name!r}", examples)
        return rows

    return replace(domain, build=build)


def _guarded_method(method: Method, guard: Guard) -> Method:
    return replace(
        method,
        merge=_guarded_route(method, "merge", guard),
        mix=_guarded_route(method, "mix", guard),
    )


def _guarded_route(method: Method, route: str, guard: Guard) -> Callable[..., Any] | None:
    function = getattr(method, route)
    if function is None:
        return None

    @wraps(function)  # keeps the signature, in which the method's options are read
    def guarded(*args: Any, **options: Any) -> Any:
        return guard(f"method {method.name!r}", lambda: function(*args, **options))

    return guarded


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _are_texts(values: object) -> bool:
    """A tuple or list of non-empty strings. A bare string is neither, though it iterates like one."""
    return isinstance(values, (tuple, list)) and all(isinstance(v, str) and v.strip() for v in values)


DOMAIN: Kind[Domain] = Kind(
    word="domain",
    hook="lftreg_domains",
    type=Domain,
    name=lambda domain: domain.name,
    claims=lambda domain: (f"domain {domain.name!r}",),
    problem=_domain_problem,
    guarded=_guarded_domain,
)
TARGETS: Kind[Targets] = Kind(
    word="target family",
    hook="lftreg_targets",
    type=Targets,
    name=lambda targets: targets.family,
    claims=lambda targets: (
        f"target family {targets.family!r}",
        *(f"model type {model_type!r}" for model_type in targets.model_types),
    ),
    problem=_targets_problem,
    guarded=lambda targets, guard: targets,
)
METHOD: Kind[Method] = Kind(
    word="method",
    hook="lftreg_methods",
    type=Method,
    name=lambda method: method.name,
    claims=lambda method: (f"method {method.name!r}",),
    problem=_method_problem,
    guarded=_guarded_method,
)
KINDS: tuple[Kind[Any], ...] = (DOMAIN, TARGETS, METHOD)
