"""`lftreg serve --selftest`: random requests, each answer compared with one of a model of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lftreg.errors import CheckFailed, NotFound

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.cli.context import Context
    from lftreg.models.base import FoundBase
    from lftreg.registry import Version
    from lftreg.serving.desk import Options
    from lftreg.serving.engine import Engine
    from lftreg.serving.selftest import Report


def run_selftest(context: Context, found: FoundBase, options: Options, requests: int, seed: int = 0) -> None:
    """Raises CheckFailed where an answer came from elsewhere than the adapter that was asked."""
    from lftreg.models.load import load_base
    from lftreg.serving.selftest import reference_of, selftest

    loaded = load_base(found, options.dtype, quantize=options.quantize)
    reference = reference_of(loaded, context.registry)
    engine = options.engine(loaded, context.registry)
    try:
        versions = _asked(context, found, engine)
        with context.out.progress("asking", requests) as progress:
            report = selftest(engine, reference, versions, requests, seed, progress.update)
    finally:
        engine.close()
    context.out.result(_document(found, versions, report), partial(_render, len(versions), report))
    if report.wrong or report.failed:
        raise CheckFailed(
            f"{len(report.wrong)} of {requests} answers are wrong, and {report.failed} did not come",
            "do not serve with this; please report it with the output of --json",
        )


def _asked(context: Context, found: FoundBase, engine: Engine) -> list[Version]:
    """The newest version of each adapter that the engine mixes; PEFT's part is PEFT's to test."""
    newest = context.registry.list(base=found.record.fingerprint)
    plain = [version for version in newest if engine.shelf.plain(version)]
    if not plain:
        raise NotFound(
            f"no adapter of {found.record.id!r} is there to test with",
            "train one: lftreg train customer_support",
            code="nothing-to-test",
        )
    return plain


def _document(found: FoundBase, versions: list[Version], report: Report) -> dict[str, Any]:
    return {
        "base": found.record.id,
        "adapters": [version.ref for version in versions],
        "requests": report.requests,
        "answered": report.answered,
        "cancelled": report.cancelled,
        "ties": report.ties,
        "failed": report.failed,
        "wrong": [
            {"voice": one.voice, "came": list(one.came), "expected": list(one.expected)}
            for one in report.wrong
        ],
        "seconds": round(report.seconds, 2),
    }


def _render(adapters: int, report: Report, console: Console) -> None:
    of = f"{adapters} adapter{'' if adapters == 1 else 's'}, their sums and the base"
    console.print(f"{report.requests} requests to {of}: {len(report.wrong)} wrong answers")
    rest = [f"{report.answered} answered", f"{report.cancelled} called off"]
    rest += [f"{report.ties} parted where two words are as likely"] if report.ties else []
    rest += [f"{report.failed} failed"] if report.failed else []
    console.print(", ".join(rest), style="dim")
