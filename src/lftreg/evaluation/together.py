"""Several adapters at once, each asked what it is to be asked, and the names that Python users call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lftreg.evaluation import records
from lftreg.evaluation.evaluate import Asked, OnProgress, Report
from lftreg.evaluation.evaluate import evaluate as evaluate_group
from lftreg.evaluation.suite import Suite, find_suite, held_out, some
from lftreg.models.answers import Decoding
from lftreg.models.generate import BASE_PREFIX
from lftreg.plugins.host import Host
from lftreg.registry import Registry


def evaluate(
    refs: str | Sequence[str],
    suite: str | None = None,
    *,
    against: str | None = None,
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    max_tokens: int = 128,
    samples: int = 0,
    seed: int = 0,
    allow_code_execution: bool = False,
    quantize: str | None = None,
    registry: Registry | None = None,
    host: Host | None = None,
) -> list[dict[str, Any]]:
    """Measure adapters against their base, keep the scores, and give one document an adapter.

    What `lftreg eval --json` gives, with its options by the same names. `suite` is a domain or a file, None the test
    split of an adapter's own data.
    """
    registry, host = registry or Registry(), host or Host()
    asked = Asked(
        decoding=Decoding(max_tokens=max_tokens, seed=seed),
        metrics=tuple(metrics) if metrics else None,
        against=against,
        samples=samples,
        allow_code_execution=allow_code_execution,
        quantize=quantize,
    )
    named = [refs] if isinstance(refs, str) else list(refs)
    return [
        told
        for group, one in grouped(suites(named, suite, registry, host, limit, columns))
        for told in kept(evaluate_group(group, one, registry, host, asked), registry)
    ]


def suites(
    refs: Sequence[str],
    named: str | None,
    registry: Registry,
    host: Host,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[tuple[str, Suite]]:
    """The suite that each adapter is asked: one for all where it is named, else each one's own.

    Of a file that some of them were trained on, all are asked what all of those held out.
    """
    shared = None if named is None else find_suite(named, None, registry, host, columns)
    versions = {
        ref: None if ref.startswith(BASE_PREFIX) else registry.get(ref) for ref in dict.fromkeys(refs)
    }
    if named is not None and shared is not None:
        for version in versions.values():
            if version is not None:
                shared = held_out(shared, named, version, registry, host)
    found = []
    for ref, version in versions.items():
        suite = shared or find_suite(None, version, registry, host, columns)
        found.append((ref, suite if limit is None else some(suite, limit)))
    return found


def grouped(chosen: Sequence[tuple[str, Suite]]) -> list[tuple[list[str], Suite]]:
    """Adapters that are asked the same, together: they share a base in memory."""
    groups: dict[str, tuple[list[str], Suite]] = {}
    for ref, suite in chosen:
        groups.setdefault(suite.digest, ([], suite))[0].append(ref)
    return list(groups.values())


def kept(report: Report, registry: Registry) -> list[dict[str, Any]]:
    """Store what was found, and tell it as documents."""
    records.keep(report, registry)
    return records.document(report)


__all__ = ["Asked", "OnProgress", "evaluate", "grouped", "kept", "suites"]
