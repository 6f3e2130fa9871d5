"""From parents to a registered version: plan, compute and measure, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lftreg.composer.listening import Check, Listener, anything, silent
from lftreg.composer.picture import PICTURE, draw
from lftreg.composer.plan import Plan, make_plan
from lftreg.composer.recipes import hold_to, plan_recipe, read_recipe
from lftreg.composer.report import ATTACHMENT
from lftreg.composer.weighing import read_weights
from lftreg.errors import UsageError
from lftreg.plugins.host import Host
from lftreg.registry import Draft, Parent, Recipe, Registry, Version


def compose(
    parents: Sequence[str],
    *,
    weights: Sequence[float] | str | Path | Mapping[str, Any] | None = None,
    name: str | None = None,
    method: str = "cat",
    rank: int | Literal["auto", "full"] | None = None,
    max_error: float | None = None,
    density: float | None = None,
    normalise: bool = False,
    dtype: str = "auto",
    engine: str = "auto",
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = silent,
    **options: Any,
) -> Version:
    """Mix adapters and register the result, with its recipe and how far it is from the exact sum.

    `parents` are REF or REF:WEIGHT, all of one base; the name is theirs joined by a dash where it is left
    out. `weights` are one number for each of bare REFs, or rules by layer: a TOML file, the name of a
    preset, or a mapping of the same form (see `composer.weighing`); `normalise` divides by their sum.
    `rank`, `max_error`, `density` and `options` are those of the method. `dtype` `auto` keeps what all
    parents have, else float32. `engine` is `auto`, `peft` or `factors`.
    The order of the parents does not matter: same parents, weights, method and options, same digest.
    Raises a subclass of LftregError, with nothing registered, where anything does not fit.
    """
    registry = registry or Registry()
    plan = prepare(
        parents,
        weights=weights,
        name=name,
        method=method,
        normalise=normalise,
        dtype=dtype,
        engine=engine,
        registry=registry,
        host=host or Host(),
        options={"rank": rank, "max_error": max_error, "density": density, **options},
    )
    return run_plan(plan, registry, listen)


def prepare(
    parents: Sequence[str],
    *,
    weights: Sequence[float] | str | Path | Mapping[str, Any] | None,
    name: str | None,
    method: str,
    normalise: bool,
    dtype: str,
    engine: str,
    registry: Registry,
    host: Host,
    options: Mapping[str, Any],
) -> Plan:
    """The plan of a composition as `compose` takes it. No tensor is read."""
    by_layer = weights if isinstance(weights, str | Path | Mapping) else None
    numbers = None if isinstance(weights, str | Path | Mapping) else weights
    return make_plan(
        _weighted([parents] if isinstance(parents, str) else parents, numbers),
        name=name,
        method=method,
        options=options,
        dtype=dtype,
        registry=registry,
        host=host,
        engine=engine,
        tables=() if by_layer is None else read_weights(by_layer),
        normalise=normalise,
    )


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


def compose_recipe(
    file: Path,
    *,
    name: str | None = None,
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = silent,
) -> Version:
    """Make again what a recipe's file tells of, byte for byte, from the same parents under whatever names.

    Raises NotFound for a parent that is not here, CheckFailed where the result has another digest.
    """
    registry = registry or Registry()
    document = read_recipe(file)
    plan = plan_recipe(document, name, registry, host or Host())
    return run_plan(plan, registry, listen, check=lambda digest: hold_to(document, digest))


def run_plan(
    plan: Plan,
    registry: Registry,
    listen: Listener = silent,
    check: Check = anything,
    attachments: Mapping[str, bytes] | None = None,
) -> Version:
    """Compute, measure what was written, and publish it, with `attachments` beside it.

    `check` hears the digest before that, and may raise.
    """
    from lftreg.composer import factors_engine, peft_engine

    engine = factors_engine if plan.engine == "factors" else peft_engine
    with registry.blobs.staging() as stage:
        made = engine.run(plan, registry, stage, listen, check)
        error = made.totals.relative_error()
        report = made.totals.report(
            parents=[parent.version.ref for parent in plan.parents],
            method=plan.method.name,
            rank=int(made.config["r"]),
        )
        return registry.publish(
            Draft(
                plan.name,
                "composed",
                plan.base,
                made.weights,
                made.config,
                attachments={ATTACHMENT: report.to_bytes(), PICTURE: draw(report), **(attachments or {})},
                recipe=recipe_of(plan, error),
            )
        )


def recipe_of(plan: Plan, relative_error: float | None) -> Recipe:
    """What has to be done again for the same result."""
    options: dict[str, Any] = {**plan.options, "dtype": plan.dtype, "engine": plan.engine}
    if plan.rules:
        options["layer_weights"] = [dict(own) for own in plan.rules]
    if plan.normalise:
        options["normalise"] = True
    return Recipe(
        method=plan.method.name,
        options=options,
        parents=tuple(Parent(p.version.ref, p.version.digest, p.weight) for p in plan.parents),
        relative_error=relative_error,
    )
