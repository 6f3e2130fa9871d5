"""From parents to a registered version: plan, merge, measure, publish."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lftreg.composer.plan import Plan, make_plan
from lftreg.errors import UsageError
from lftreg.plugins.host import Host
from lftreg.registry import WEIGHTS, Draft, Parent, Recipe, Registry, Version

ENGINES = ("auto", "peft")

Listener = Callable[[str], None]  # hears in a word or two what is being done


def compose(
    parents: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    name: str | None = None,
    method: str = "cat",
    rank: int | Literal["auto", "full"] | None = None,
    density: float | None = None,
    dtype: str = "auto",
    engine: str = "auto",
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = lambda doing: None,
    **options: Any,
) -> Version:
    """Mix adapters and register the result, with its recipe and how far it is from the exact sum.

    `parents` are REF or REF:WEIGHT, all of one base, or bare REFs and one of `weights` each; the name is
    theirs joined by a dash where it is left out. `rank`, `density` and `options` are those of the method,
    the keyword-only parameters of its `merge`. `dtype` `auto` keeps what all parents have, else float32.
    The order of the parents does not matter: same parents, weights, method and options, same digest.
    Raises a subclass of LftregError, with nothing registered, where anything does not fit.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}", f"one of {', '.join(ENGINES)}")
    registry = registry or Registry()
    plan = make_plan(
        _weighted([parents] if isinstance(parents, str) else parents, weights),
        name=name,
        method=method,
        options={"rank": rank, "density": density, **options},
        dtype=dtype,
        registry=registry,
        host=host or Host(),
    )
    return run_plan(plan, registry, listen)


def _weighted(parents: Sequence[str], weights: Sequence[float] | None) -> Sequence[str]:
    """Parents with their weights written behind them: neither may be left over."""
    if weights is None:
        return parents
    if len(weights) != len(parents):
        raise UsageError(
            f"{len(parents)} adapters and {len(weights)} weights",
            "give one weight for each adapter",
            code="weights",
        )
    return [f"{parent}:{float(weight)!r}" for parent, weight in zip(parents, weights, strict=True)]


def run_plan(plan: Plan, registry: Registry, listen: Listener = lambda doing: None) -> Version:
    """Merge, measure what was written, and publish it."""
    listen("loading PEFT")
    from lftreg.composer.merge import merge, read_result
    from lftreg.composer.report import relative_error

    with tempfile.TemporaryDirectory(prefix="lftreg-") as folder:
        file = Path(folder) / WEIGHTS
        listen(f"merging by {plan.method.name}")
        config = merge(plan, file)
        listen("measuring the error")
        error = relative_error(file, read_result(plan, file, config), plan.ordered)
        recipe = Recipe(
            method=plan.method.name,
            options={**plan.options, "dtype": plan.dtype},
            parents=tuple(Parent(p.version.ref, p.version.digest, p.weight) for p in plan.parents),
            relative_error=error,
        )
        draft = Draft(plan.name, "composed", plan.base, file, config, recipe=recipe)
        return registry.publish(draft)
