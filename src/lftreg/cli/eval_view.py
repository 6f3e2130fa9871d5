"""Evaluations in words: a table an adapter, and below it what its figures may not be taken for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.cli.output import clean
from lftreg.cli.tables import Column, print_table
from lftreg.registry.score_words import Summary, decoding, figure, headline, interval, own, remarks

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.cli.progress import Progress

BASE = "base:"


def print_report(
    console: Console, reports: Sequence[Mapping[str, Any]], *, whole: bool = False, bare: bool = False
) -> None:
    """Each adapter's table. `whole` prints every metric's note, not only the warnings; `bare` prints tables only."""
    from rich.text import Text

    if bare and len(reports) > 1:
        _print_together(console, reports)
        return
    for number, report in enumerate(reports):
        if number:
            console.print()
        if not bare:
            console.print(Text(heading(report), "bold"), soft_wrap=True)
        print_table(console, *table(report["metrics"], report["against"], report["ref"]))
        for line in [] if bare else _remarks(report, whole=whole):
            console.print(Text(line, "dim"), soft_wrap=True)


def _print_together(console: Console, reports: Sequence[Mapping[str, Any]]) -> None:
    """All adapters in one table, which names them: there is nothing beside it that could."""
    tables = [table(report["metrics"], report["against"], "") for report in reports]
    columns = (Column("of"), *tables[0][0])
    print_table(
        console,
        columns,
        [[report["ref"], *row] for report, (_, rows) in zip(reports, tables, strict=True) for row in rows],
    )


def heading(report: Mapping[str, Any]) -> str:
    return f"{report['ref']} on {report['suite']}: {report['n']} items, {decoding(report['decoding'])}"


def table(
    metrics: Mapping[str, Summary], against: str | None, ref: str = ""
) -> tuple[tuple[Column, ...], list[list[str]]]:
    """Columns and rows of the metrics that could be measured, of `ref`, beside the base or `against`.

    Items that training has seen count in no difference; see `headline`. A bare base has one column, its own.
    """
    if against and not any(one.get("against") for one in metrics.values()):
        against = None  # of the same content, so there is nothing between them
    rows = [_row(name, one, against is not None) for name, one in metrics.items() if one["measurable"]]
    mine = Column("base" if ref.startswith(BASE) else "adapter", right=True)
    if not any(row[3] for row in rows):
        return (Column("metric"), mine), [[row[0], row[2]] for row in rows]
    columns = (
        Column("metric"),
        Column(against or "base", right=True),
        mine,
        Column("difference", right=True),
        Column("95% interval", right=True),
        Column("p", weight=3, right=True),
        Column("detectable", weight=2, right=True),
        Column("better", weight=1),
    )
    return columns, rows


def _row(name: str, one: Summary, against: bool) -> list[str]:
    unit = one["unit"]
    told = headline(one, against)
    if told is None or told["delta"] is None:
        return [name, "", figure(own(one), unit), "", "", "", "", ""]
    return [
        name,
        figure(told["other"], unit),
        figure(told["value"], unit),
        figure(told["delta"], unit, signed=True),
        interval(told["ci95"], unit),
        "" if told["p"] is None else chance(told["p"]),
        figure(told.get("mde"), unit),
        told.get("winner") or "",
    ]


def told_to(progress: Progress, suite: str) -> Callable[[str, int, int], None]:
    """Tell a progress who is asked and how far it is: `asking desk: base 34/117`."""

    def tell(who: str, done: int, total: int) -> None:
        ref, comma, what = who.rpartition(", ") if ", " in who else (who, "", "")
        name = "base" if ref.startswith(BASE) else ref
        progress.name(clean(f"asking {suite}: {name}{comma}{what}"))
        progress.update(done, total)

    return tell


def chance(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _remarks(report: Mapping[str, Any], *, whole: bool) -> list[str]:
    """What the figures may not be taken for."""
    metrics: Mapping[str, Summary] = report["metrics"]
    lines = remarks(report["n"], metrics, report, whole=whole)
    if report["against_same"]:
        lines.insert(
            0, f"{report['against']} is the same content as {report['ref']}: the table compares with the base"
        )
    if whole:
        lines += [f"{name}: {one['signature']}" for name, one in metrics.items() if one["signature"]]
        lines += [f"{name}: left out, {reason}" for name, reason in report["left_out"].items()]
    return lines
