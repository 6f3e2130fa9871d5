"""Costs as they are told: of training, of training every weight instead, and of each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lftreg.advice.cost import Full, Query, Traffic, Training
from lftreg.cli.costing import Row
from lftreg.cli.plan_view import duration
from lftreg.cli.tables import Column, count, money, print_fields, print_table, size

if TYPE_CHECKING:
    from rich.console import Console

FORMULAS = {
    "training": "T (4 P + 6 A) FLOPs; P parameters of the base, A of the adapter, T tokens trained on",
    "full": "T 6 P FLOPs: 6 P / (4 P + 6 A) of the adapter's time on the same machine; GPUs share it without loss",
    "full memory": "16 P bytes: weights 2, gradients 2, float32 copy 4, Adam's moments 8 (float32: 4 + 4 + 8); and "
    "the activations of the adapter's step where they are foretold",
    "query": "a pass that reads the prompt, 2 (P + A) FLOPs a token, and one for each token of the answer; none takes "
    "less than bytes of weights / bandwidth / queries at once. With retrieval 2 P, and top-k x passage tokens more",
    "rate": "a GPU's bfloat16 rate x the share that training reaches (devices.toml); a CPU's is measured here",
    "bandwidth": "by the maker's data sheet (devices.toml), so a query takes that long at least; weights have 2 bytes "
    "on a GPU, 4 on a CPU, whose bandwidth is measured here",
    "left out": "the index, the search, idle hours and storage; reading the keys and values of a prompt; the host that "
    "starts each operation, which small bases wait for: `lftreg compare` measures what a query really takes",
    "pays off": "seconds of training / (query with retrieval - query of the adapter), at any one price",
}  # fmt: skip


def document(row: Row) -> dict[str, Any]:
    """Under stable keys: seconds, US dollars, bytes; null is not known."""
    found = row.costs
    run, machine, month = found.training, found.machine, row.traffic.queries_a_month
    return {
        "ref": None if row.planned else row.name,
        "domain": row.name if row.planned else None,
        "base": row.base,
        "device": machine.name,
        "price_per_hour": machine.price,
        "priced": {"seen": machine.seen},
        "train": None if run is None else _train(run),
        "full_fine_tune": None if found.full is None else asdict(found.full) | {"measured": False},
        "per_query": {
            "adapter": asdict(found.adapter),
            "rag": asdict(found.rag),
            "measured": False,
        },
        "traffic": asdict(row.traffic) | {"context": row.traffic.context, "lengths_by": row.lengths_by},
        "per_month": None
        if month is None
        else {
            "queries": month,
            "adapter": _month(found.adapter, month),
            "rag": _month(found.rag, month),
            "months_to_break_even": None if found.break_even is None else found.break_even / month,
        },
        "break_even_queries": found.break_even,
        "break_even": [asdict(one) for one in found.paid_back],
        "why": row.why,
        "formulas": FORMULAS,
    }


def _train(run: Training) -> dict[str, Any]:
    return {"seconds": run.seconds, "money": run.money, "memory": run.memory, "measured": run.measured,
            "tokens": run.tokens, "base_parameters": run.base, "adapter_parameters": run.adapter}  # fmt: skip


def _month(query: Query, count: float) -> dict[str, float | None]:
    return {
        "seconds": None if query.seconds is None else query.seconds * count,
        "money": None if query.money is None else query.money * count,
    }


def render(rows: Sequence[Row], explain: bool, console: Console) -> None:
    """One adapter in lines, several in a table; with `explain` how each figure comes about."""
    if len(rows) == 1:
        print_fields(console, _fields(rows[0]))
    else:
        _table(rows, console)
    if explain:
        console.print()
        print_fields(console, FORMULAS)


def _fields(row: Row) -> dict[str, str | None]:
    found, traffic = row.costs, row.traffic
    run, machine = found.training, found.machine
    price = "no known price" if machine.price is None else f"${machine.price:.2f} an hour"
    return {
        "adapter": f"{row.name}, {'planned' if row.planned else 'trained' if run else 'as it is'}, on {row.base}",
        "machine": f"{machine.name}, {price}" + (f" ({machine.seen})" if machine.seen else ""),
        "training": None if run is None else _training(run),
        "every weight": None if found.full is None else _full(found.full, row),
        "a question": f"{traffic.prompt:.0f} tokens, its answer {traffic.answer:.0f} ({row.lengths_by}), "
        f"passages {traffic.top_k} x {traffic.passage:.0f}",
        "adapter answers": _query(found.adapter, traffic),
        "RAG answers": _query(found.rag, traffic),
        "pays off": _break_even(row) if found.paid_back else None,
        "hangs on": _hangs_on(row) if any(one.queries for one in found.paid_back) else None,
        "not known": row.why,
    }


def _training(run: Training) -> str:
    how = "measured" if run.measured else "estimated"
    memory = "" if run.memory is None else f", {size(run.memory)} at most"
    return f"{duration(run.seconds)}{_cost(run.money)}{memory} ({how})"


def _full(full: Full, row: Row) -> str:
    run = row.costs.training
    apart = " and activations" if run is not None and run.activations is None else ""
    where = ""
    if full.fits is not None:
        where = ", fits" if full.fits else f", {_gpus(full)} {row.costs.machine.name}"
    return f"{duration(full.seconds)}{_cost(full.money)}, {size(full.memory)}{apart}{where} (estimated)"


def _gpus(full: Full) -> str:
    return "not on any number of" if full.gpus is None else f"on {full.gpus} x"


def _query(query: Query, traffic: Traffic) -> str | None:
    """One query, and a month of them; None where what it takes is not known."""
    if query.seconds is None or query.reading is None or query.writing is None:
        return None
    told = f"{query.tokens:,.0f} tokens, {_time(query.seconds)}"
    told += f" ({_time(query.reading)} to read, {_time(query.writing)} to write)"
    if query.money is not None:
        told += f", {money(1000 * query.money)} a thousand"
    if (month := traffic.queries_a_month) is not None:
        told += f"; a month of {month:,.0f}: " + (
            duration(query.seconds * month) if query.money is None else money(query.money * month)
        )
    return f"{told} (estimated, {_load(traffic.at_once)})"


def _load(at_once: int) -> str:
    return "one at a time" if at_once == 1 else f"{at_once} at once"


def _break_even(row: Row) -> str:
    """When training is paid back; of a load that nobody told, what it comes to at both ends."""
    found, month = row.costs.paid_back, row.traffic.queries_a_month
    if all(one.queries is None for one in found):
        return "never: the adapter's own weights take longer than the passages that they spare (estimated)"
    counts = [
        "never" if one.queries is None else f"after about {_counted(one.queries, month)}" for one in found
    ]
    loads = [f" {'' if one.at_once == 1 else 'with '}{_load(one.at_once)}" for one in found]
    if len(set(counts)) == 1 and row.traffic.concurrency is None:
        return f"{counts[0]} (estimated)"
    return f"{', '.join(map(''.join, zip(counts, loads, strict=True)))} (estimated)"


def _hangs_on(row: Row) -> str:
    load = "" if row.traffic.concurrency else "how many are answered at once (--concurrency N), "
    return (
        f"passages of {row.traffic.context:.0f} tokens, {load}and an engine that waits for nothing but memory and "
        "arithmetic: `lftreg compare` measures yours"
    )


def _counted(queries: int, month: float | None) -> str:
    """In two figures: no estimate knows more."""
    rounded = float(f"{queries:.2g}")
    return f"{rounded:,.0f} queries" + (f" ({_months(rounded / month)})" if month else "")


def _months(count: float) -> str:
    return f"{count:,.1f} months" if count >= 0.1 else "less than 0.1 months"


def _cost(amount: float | None) -> str:
    return "" if amount is None else f", {money(amount)}"


def _time(seconds: float) -> str:
    return (
        duration(seconds)
        if seconds >= 10
        else f"{seconds:.1f} s"
        if seconds >= 1
        else f"{1000 * seconds:.3g} ms"
    )


def _table(rows: Sequence[Row], console: Console) -> None:
    columns = (
        Column("adapter"), Column("base", weight=5), Column("machine", weight=4, cut=True),
        Column("training", right=True), Column("money", right=True), Column("memory", weight=3, right=True),
        Column("told", weight=2), Column("every weight", weight=3, right=True),
        Column("per 1000", weight=1, right=True), Column("RAG per 1000", weight=1, right=True),
        Column("pays off", right=True),
    )  # fmt: skip
    print_table(console, columns, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    found = row.costs
    run, full = found.training, found.full
    return [
        row.name,
        row.base,
        found.machine.name,
        "" if run is None else duration(run.seconds),
        "" if run is None or run.money is None else money(run.money),
        "" if run is None or run.memory is None else size(run.memory),
        "" if run is None else "measured" if run.measured else "estimated",
        "" if full is None else duration(full.seconds),
        "" if found.adapter.money is None else money(1000 * found.adapter.money),
        "" if found.rag.money is None else money(1000 * found.rag.money),
        " to ".join(dict.fromkeys(_cell(one.queries) for one in found.paid_back)),
    ]


def _cell(queries: int | None) -> str:
    return "never" if queries is None else count(round(float(f"{queries:.2g}")))
