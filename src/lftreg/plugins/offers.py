"""What may come out of a hook: which type, under which names, and what is wrong with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Generic, TypeVar, get_args

from lftreg.plugins.types import (
    Domain,
    Errand,
    Example,
    Hit,
    Input,
    Measured,
    Method,
    Metric,
    Outputs,
    Parcel,
    Patience,
    Remote,
    Sent,
    Split,
    Taken,
    Targets,
)

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


_INPUTS = frozenset(get_args(Input))


def _metric_problem(metric: Any) -> str | None:
    if not _is_name(metric.name):
        return f"not a name: {_NAME_RULE}"
    if not isinstance(metric.summary, str) or not metric.summary.strip():
        return "it has no summary"
    if not callable(metric.measure):
        return "measure is not a function of (outputs)"
    if not isinstance(metric.needs, (tuple, list)) or not _INPUTS.issuperset(metric.needs):
        return f"needs is not a tuple of {', '.join(sorted(_INPUTS))}"
    if metric.better not in ("higher", "lower", None):
        return "better is neither 'higher', 'lower' nor None"
    if metric.unit not in ("share", "points", "number"):
        return "unit is none of share, points, number"
    if metric.test is not None and not callable(metric.test):
        return "test is not a function of (one, other)"
    return None


def _guarded_metric(metric: Metric, guard: Guard) -> Metric:
    doing = f"metric {metric.name!r}"

    def guarded(function: Callable[..., T]) -> Callable[..., T]:
        @wraps(function)
        def call(*args: Any) -> T:
            found: T = guard(doing, lambda: function(*args))
            return found

        return call

    @wraps(metric.measure)
    def measure(outputs: Outputs) -> Measured:
        def judged() -> Measured:
            found: Any = metric.measure(outputs)
            if not isinstance(found, Measured):
                raise TypeError(f"it gave {_kind_of(found)}, not a Measured")
            if len(found.values) != len(outputs):
                raise ValueError(f"it gave {len(found.values)} values for {len(outputs)} items")
            return found

        kept: Measured = guard(doing, judged)
        return kept if kept.total is None else replace(kept, total=guarded(kept.total))

    return replace(metric, measure=measure, test=metric.test and guarded(metric.test))


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


def _remote_problem(remote: Any) -> str | None:
    if not _is_name(remote.name):
        return f"not a name: {_NAME_RULE}"
    if not isinstance(remote.help, str) or not remote.help.strip():
        return "it has no help"
    if not callable(remote.push):
        return "push is not a function of (parcel)"
    if not callable(remote.pull):
        return "pull is not a function of (errand)"
    if remote.search is not None and not callable(remote.search):
        return "search is not a function of (text, limit, patience)"
    return None


def _guarded_remote(remote: Remote, guard: Guard) -> Remote:
    doing = f"remote {remote.name!r}"

    def of(kind: type[T], found: Any) -> T:
        if not isinstance(found, kind):
            raise TypeError(f"it gave {_kind_of(found)}, not a {kind.__name__}")
        return found

    @wraps(remote.push)
    def push(parcel: Parcel) -> Sent:
        sent: Sent = guard(doing, lambda: of(Sent, remote.push(parcel)))
        return sent

    @wraps(remote.pull)
    def pull(errand: Errand) -> Taken:
        taken: Taken = guard(doing, lambda: of(Taken, remote.pull(errand)))
        return taken

    ask = remote.search
    if ask is None:
        return replace(remote, push=push, pull=pull)

    @wraps(ask)
    def search(text: str, limit: int, patience: Patience) -> Iterable[Hit]:
        hits: list[Hit] = guard(doing, lambda: [of(Hit, hit) for hit in ask(text, limit, patience)])
        return hits

    return replace(remote, push=push, pull=pull, search=search)


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
METRIC: Kind[Metric] = Kind(
    word="metric",
    hook="lftreg_metrics",
    type=Metric,
    name=lambda metric: metric.name,
    claims=lambda metric: (f"metric {metric.name!r}",),
    problem=_metric_problem,
    guarded=_guarded_metric,
)
REMOTE: Kind[Remote] = Kind(
    word="remote",
    hook="lftreg_remotes",
    type=Remote,
    name=lambda remote: remote.name,
    claims=lambda remote: (f"remote {remote.name!r}",),
    problem=_remote_problem,
    guarded=_guarded_remote,
)
KINDS: tuple[Kind[Any], ...] = (DOMAIN, TARGETS, METHOD, METRIC, REMOTE)
