"""Everything that is decided before a tensor is read or torch imported: what goes in, and whether it may."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lftreg.composer.engines import check_engine, choose
from lftreg.composer.options import resolve_options
from lftreg.composer.parents import Parent, common_dtype, read_parent
from lftreg.composer.weighing import Rules, Table, layer_factors, rules_for
from lftreg.errors import Incompatible, InvalidName, LftregError, UsageError
from lftreg.models.skeleton import Layer
from lftreg.plugins.host import Host
from lftreg.plugins.types import Method, Need
from lftreg.registry import Base, Ref, Registry, parse_weighted

DTYPES = ("auto", "float32", "bfloat16", "float16")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """A composition that will work. `parents` are in the user's order, `layers` are all that they adapt, sorted.

    `engine` will compute it, for the reason `why` where it was not asked for. `rules` are those of the
    weights by layer, one mapping a parent, or empty; `normalise` says that weights were divided by their sum.
    """

    name: str
    method: Method
    options: Mapping[str, Any]
    parents: tuple[Parent, ...]
    layers: Mapping[str, Layer]
    dtype: str
    engine: str
    why: str | None = None
    rules: tuple[Rules, ...] = ()
    normalise: bool = False

    @property
    def base(self) -> Base:
        return self.parents[0].version.base

    @property
    def targets(self) -> list[str]:
        """The parents' names where lists of names say it all; otherwise every layer by its full path."""
        lists = [parent.settings.names for parent in self.parents]
        if None in lists:
            return sorted(self.layers)
        return sorted({name for names in lists for name in names or ()})

    @property
    def task(self) -> str | None:
        """PEFT's task type, where all parents have the same."""
        tasks = {parent.settings.task for parent in self.parents}
        return tasks.pop() if len(tasks) == 1 else None

    @property
    def ordered(self) -> list[Parent]:
        """The parents in an order that does not depend on how they were typed."""
        return sorted(self.parents, key=lambda p: (p.version.digest, p.weight, sorted(p.varied.items())))


def make_plan(
    parents: Sequence[str],
    *,
    name: str | None,
    method: str,
    options: Mapping[str, Any],
    dtype: str,
    registry: Registry,
    host: Host,
    engine: str = "auto",
    tables: Sequence[Table] | Sequence[Rules] = (),
    normalise: bool = False,
) -> Plan:
    """Find the parents and check them against each other, the method and its options.

    Raises a subclass of LftregError that names the reason and a way out.
    """
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}", f"one of {', '.join(DTYPES)}")
    if not parents:
        raise UsageError("nothing to compose", "lftreg compose customer_support:0.7 financial_advisor:0.3")
    check_engine(engine)
    chosen = host.method(method)
    options = {name: value for name, value in options.items() if value is not None}
    methods = [entry.value for entry in host.methods().values()]
    resolve_options(chosen, options, methods)  # what no engine takes is told before anything is opened
    if "max_error" in options:
        options = {"rank": "auto", **options}
    weighted = [parse_weighted(text) for text in parents]
    if name is not None:
        registry.check_name(name)
    found = tuple(_find(weighted, registry))
    layers = common_layers(found)
    rules = _rules(tables, found)
    found = _weigh(found, rules, normalise, list(layers))
    _check_weights(found, layers)
    for need in chosen.needs:
        _check_need(need, chosen, found)
    choice = choose(chosen, engine, options, found)
    resolved = resolve_options(chosen, options, methods, choice.engine)
    _check_rank(resolved, layers)
    return Plan(
        name or _joined_name(found, registry),
        chosen,
        resolved,
        found,
        layers,
        common_dtype({parent.dtype for parent in found}) if dtype == "auto" else dtype,
        choice.engine,
        choice.why,
        tuple(rules) if any(rules) else (),
        normalise,
    )


def _find(weighted: Sequence[tuple[Ref, float]], registry: Registry) -> list[Parent]:
    """The parents, once it is known that they stand on one base."""
    versions = [registry.get(ref) for ref, _ in weighted]
    first = versions[0]
    for other in versions:
        if other.base.fingerprint != first.base.fingerprint:
            raise Incompatible(
                f"{first.ref} and {other.ref} were made for different bases: {first.base.id} "
                f"({first.base.fingerprint[:12]}) and {other.base.id} ({other.base.fingerprint[:12]})",
                "adapters add up only on the weights they were made for; train both on one base",
                code="different-bases",
            )
    weights = [weight for _, weight in weighted]
    return [read_parent(v, w, registry) for v, w in zip(versions, weights, strict=True)]


def _rules(tables: Sequence[Table] | Sequence[Rules], parents: Sequence[Parent]) -> list[Rules]:
    """The rules of every parent: one mapping each already, or told by tables."""
    if not tables:
        return []
    named = [table for table in tables if isinstance(table, Table)]
    if named:
        return list(rules_for(named, [(p.version.name, p.version.ref) for p in parents]))
    return [own for own in tables if not isinstance(own, Table)]


def _weigh(
    parents: tuple[Parent, ...], rules: Sequence[Rules], normalise: bool, paths: Sequence[str]
) -> tuple[Parent, ...]:
    """The parents with the weight of each in every layer, where rules or a sum of 1 make it another."""
    if not any(rules) and not normalise:
        return parents
    factors = (
        [layer_factors(own, paths) for own in rules] if rules else [dict.fromkeys(paths, 1.0)] * len(parents)
    )
    varied = [
        {path: parent.weight * own[path] for path in paths}
        for parent, own in zip(parents, factors, strict=True)
    ]
    if normalise:
        for path in paths:
            total = math.fsum(own[path] for own in varied)
            if not abs(total) > 1e-12 * math.fsum(abs(own[path]) for own in varied):
                raise UsageError(
                    f"the weights in {path} add up to 0, which nothing can be divided by",
                    "leave --normalise out, or give weights that do not cancel",
                    code="weights-cancel",
                )
            for own in varied:
                own[path] /= total
    return tuple(replace(p, varied=own) for p, own in zip(parents, varied, strict=True))


def _check_weights(parents: Sequence[Parent], layers: Mapping[str, Layer]) -> None:
    """Something must be left of some parent in some layer."""
    for path in layers:
        weights: dict[str, list[float]] = {}
        for parent in parents:
            if path in parent.slots:
                weights.setdefault(parent.version.digest, []).append(parent.at(path))
        # 0.1 + 0.2 - 0.3 is 3e-17 of something, and nothing.
        if any(abs(math.fsum(w)) > 1e-12 * math.fsum(map(abs, w)) for w in weights.values()):
            break
    else:
        raise UsageError(
            "the weights leave nothing of any parent: the result would be the bare base",
            "give at least one parent a weight other than 0",
            code="nothing-left",
        )


def common_layers(parents: Sequence[Parent]) -> dict[str, Layer]:
    """Every layer that any parent adapts. Two that differ about a layer cannot be of one base."""
    layers: dict[str, Layer] = {}
    holders: dict[str, Parent] = {}
    for parent in parents:
        for path, slot in parent.slots.items():
            if layers.setdefault(path, slot.layer) != slot.layer:
                raise Incompatible(
                    f"{holders[path].version.ref} and {parent.version.ref} give {path} different shapes",
                    "one of them was made for another base",
                    code="different-shapes",
                )
            holders.setdefault(path, parent)
    return dict(sorted(layers.items()))


def _check_need(need: Need, method: Method, parents: Sequence[Parent]) -> None:
    if need not in _NEEDS:
        raise LftregError(
            f"method {method.name!r} needs {need!r}, which this lftreg does not know",
            f"known needs: {', '.join(_NEEDS)}; a newer lftreg may know more",
        )
    _NEEDS[need](method, parents)


def _several_parents(method: Method, parents: Sequence[Parent]) -> None:
    if len(parents) < 2:
        raise UsageError(
            f"{method.name} weighs parents against each other, and there is only one",
            "give two or more, or use --method svd to change the rank of one",
            code="one-parent",
        )


def _equal_ranks(method: Method, parents: Sequence[Parent]) -> None:
    """Factors of different ranks have no entries in common to add."""
    ranks: dict[str, tuple[int, Parent]] = {}
    for parent in parents:
        own = {path: slot.rank for path, slot in parent.slots.items()}
        for path, rank in {**own, "the largest layer": parent.rank}.items():
            expected, other = ranks.setdefault(path, (rank, parent))
            if rank != expected:
                raise Incompatible(
                    f"{method.name} adds factors entry by entry, but {path} has rank {expected} in "
                    f"{other.version.ref} and {rank} in {parent.version.ref}",
                    "use --method cat, which is exact at any ranks, or svd",
                    code="different-ranks",
                )


_NEEDS: dict[Need, Callable[[Method, Sequence[Parent]], None]] = {
    "several-parents": _several_parents,
    "equal-ranks": _equal_ranks,
}


def _check_rank(options: Mapping[str, Any], layers: Mapping[str, Layer]) -> None:
    """A rank that no layer can have is a mistake; one that only some cannot is filled up with zeros."""
    rank = options.get("rank")
    if "max_error" in options and rank != "auto":
        raise UsageError(
            f"a rank of {rank} and a largest error cannot both be had",
            "--rank auto --max-error X finds the rank",
            code="rank-and-error",
        )
    largest = max(min(layer.inputs, layer.outputs) for layer in layers.values())
    if isinstance(rank, int) and rank > largest:
        raise UsageError(
            f"rank {rank} is more than any layer of this base can have ({largest})",
            f"--rank {largest} already loses nothing",
            code="rank-too-large",
        )


def _joined_name(parents: Sequence[Parent], registry: Registry) -> str:
    name = "-".join(parent.version.name for parent in parents)
    if len(name) > _LONGEST_NAME:
        raise InvalidName(
            f"the parents' names joined are longer than {_LONGEST_NAME} characters", "choose one: --name NAME"
        )
    return registry.check_name(name)
