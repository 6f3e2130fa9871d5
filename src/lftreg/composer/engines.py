"""Who computes a composition, and why.

PEFT's `add_weighted_adapter` is the default. The factors engine takes over by itself where PEFT is
documented to be wrong, refuses, or needs minutes; each such case is a line of REASONS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lftreg.composer.options import options_of
from lftreg.composer.parents import Parent
from lftreg.errors import UsageError
from lftreg.plugins.types import Method

ENGINES = ("auto", "peft", "factors")
MANY = 8  # adapters; PEFT holds all of them, and their sum, at once


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it is not PEFT where nobody asked for another."""

    engine: str
    why: str | None = None


Reason = tuple[str, Callable[[Method, Sequence[Parent]], bool]]

REASONS: tuple[Reason, ...] = (
    ("PEFT decomposes every layer in full, which takes minutes a layer", lambda m, p: m.truncates),
    ("PEFT scales all parents as the first is scaled, and one of them is an rsLoRA", lambda m, p: _rslora(p)),
    (f"PEFT would hold all {'{n}'} adapters in memory at once", lambda m, p: len(p) > MANY),
    (
        "PEFT takes which layers to adapt from the first parent, and they differ in how they say it",
        lambda m, p: len({parent.settings.names is None for parent in p}) > 1,
    ),
    ("PEFT has one weight for all layers of a parent", lambda m, p: any(parent.varied for parent in p)),
)


def check_engine(engine: str) -> None:
    """Raises UsageError for one that is not there."""
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}", f"one of {', '.join(ENGINES)}", code="unknown-engine")


def choose(method: Method, engine: str, options: Mapping[str, Any], parents: Sequence[Parent]) -> Choice:
    """The engine for a composition. Raises UsageError where the one that was asked for cannot do it."""
    can = method.engines
    if engine != "auto":
        if engine not in can:
            raise UsageError(
                f"the {engine} engine has no method {method.name!r}",
                f"leave --engine out, or use --engine {can[0]}",
                code="engine-method",
            )
        if engine == "peft" and "factors" in can and options.get("rank") in ("auto", "full"):
            raise UsageError(
                f"PEFT's {method.name} knows no rank {options['rank']!r}, only numbers",
                "leave --engine out: the factors engine does",
                code="engine-method",
            )
        return Choice(engine)
    if len(can) == 1:
        return Choice(can[0], None if can[0] == "peft" else f"{method.name} is a method of this engine only")
    only = [name for name in options if name not in options_of(method, "peft")]
    if only:
        return Choice("factors", f"PEFT's {method.name} takes no {only[0]}")
    for why, holds in REASONS:
        if holds(method, parents):
            return Choice("factors", why.format(n=len(parents)))
    return Choice("peft")


def _rslora(parents: Sequence[Parent]) -> bool:
    return any(parent.settings.rslora for parent in parents)
