"""`lftreg sweep`"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents, run_report
from lftreg.cli.command import define
from lftreg.cli.commands.train import command as train
from lftreg.cli.complete import DATA
from lftreg.cli.context import Context
from lftreg.cli.options import MAP, TRUST
from lftreg.cli.tables import print_fields, short, size
from lftreg.errors import NotFound, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.plugins.types import Domain
    from lftreg.sweeping import Swept

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Of `lftreg train`: what is the same for all trials.
SETTINGS = (
    "name", "base", "rank", "alpha", "dropout", "prompt_dropout", "neftune", "opening_weight", "targets", "lr",
    "epochs", "max_steps", "batch_size", "accumulate", "max_length", "dtype", "quantize", "gradient_checkpointing",
    "packing", "seed",
)  # fmt: skip


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A time such as 30m or 1h30m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if not parts or "".join(number + unit for number, unit in parts) != str(value):
            raise UsageError(f"--budget {value} is no time", "write 45s, 30m, 2h or 1h30m")
        return sum(float(number) * UNITS[unit] for number, unit in parts)


def _settings(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `lftreg train` that make a trial what it is."""
    known = {option.name: option for option in train.params}
    params: list[click.Parameter] = getattr(function, "__click_params__", [])
    function.__click_params__ = [*(known[name] for name in reversed(SETTINGS)), *params]  # type: ignore[attr-defined]
    return function


@define(
    "sweep",
    examples=(
        "lftreg sweep customer_support",
        "lftreg sweep customer_support --space space.toml --budget 30m",
        "lftreg sweep --data ./inbox.jsonl --name inbox --trials 16 --max-steps 60",
        "lftreg sweep customer_support --storage postgresql://me@db.example/optuna --study support",
    ),
)
@click.argument("domain", required=False, metavar="[DOMAIN]")
@click.option(
    "--data",
    multiple=True,
    type=DATA,
    metavar="FILE[:WEIGHT]",
    help="Own data in place of a domain, as for train; repeatable.",
)
@MAP
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What is searched, as TOML: lr = {low = 1e-4, high = 1e-2, log = true} (learning rate and rank).",
)
@click.option("--trials", type=int, default=32, metavar="N", help="Trials of the study in the end (32).")
@click.option("--budget", type=_Duration(), metavar="TIME", help="Begin no trial after so long, such as 30m.")
@click.option(
    "--at-once", type=int, default=16, metavar="N", help="Trials side by side, where memory allows (16)."
)
@click.option(
    "--study", metavar="NAME", help="A study to join or to go on with (by data, base and settings)."
)
@click.option(
    "--storage",
    metavar="URL",
    help="A database in which several machines keep one study (a file of the home).",
)
@_settings
@TRUST
def command(
    context: Context,
    domain: str | None,
    data: Sequence[str],
    mapping: Sequence[str],
    space: Path | None,
    trials: int,
    budget: float | None,
    at_once: int,
    study: str | None,
    storage: str | None,
    name: str | None,
    base: str | None,
    trust_remote_code: bool,
    **options: Any,
) -> None:
    """Search training settings, and register what holds up.

    Trials train side by side over one base, and the poorer half leaves at an eighth, a quarter and a half of the steps.
    The best three train once more alone and are judged on the test split; the best of them is registered.
    Ctrl-C keeps what has ended; the same command goes on.
    """
    from lftreg.cli import sweep_view
    from lftreg.sweeping import sweep

    source, found = _source(context, domain, data, mapping, name)
    with sweep_view.following(context) as listen:
        swept = sweep(
            source,
            space=space,
            trials=trials,
            budget=budget,
            at_once=at_once,
            study=study,
            storage=storage,
            name=name,
            base=base or context.settings.base,
            registry=context.registry,
            host=context.host,
            listen=listen,
            trust_code=trust_remote_code,
            source=found,
            price_per_hour=context.settings.price_per_hour,
            **options,
        )
    _tell(context, swept)


def _source(
    context: Context, domain: str | None, data: Sequence[str], mapping: Sequence[str], name: str | None
) -> tuple[Domain, dict[str, Any]]:
    """What is trained on, and how another process finds it."""
    if (domain is None) == (not data):
        what = "both a domain and --data" if data else "nothing to train on"
        raise UsageError(what, "lftreg sweep customer_support, or lftreg sweep --data FILE")
    if domain is None:
        from lftreg.cli.own_data import lasting, read_own

        own = read_own(context, data, mapping, name)
        return own.domain, {"data": lasting(data), "map": list(mapping)}
    if mapping:
        raise UsageError("--map tells the columns of --data", "a domain has none")
    try:
        return context.host.domain(domain), {"domain": domain}
    except NotFound as error:
        from lftreg.cli.own_data import hint_at_data

        raise hint_at_data([domain], error) from error


def _tell(context: Context, swept: Swept) -> None:
    from lftreg.cli import sweep_view

    version, winner = swept.version, swept.winner
    made = {} if version is None else documents.made(version)
    document = {
        **made,
        "ref": winner["ref"],
        "digest": documents.digest(winner["digest"]),
        "study": swept.study,
        "space": swept.space.as_dict(),
        "trials": [row.as_dict() for row in swept.rows],
        "confirmed": winner["confirmed"],
    }
    best = winner["confirmed"][0]

    def render(console: Console) -> None:
        sweep_view.print_sweep(console, swept, console.is_terminal)
        console.print()
        where = "  in another registry" if version is None else f"  {size(version.bytes)}"
        shown = {
            "winner": f"{winner['ref']}  {short(winner['digest'])}{where}",
            "settings": sweep_view.settings(best["settings"]),
            "test": f"{best['test']:.3f}, best of {len(winner['confirmed'])} that were confirmed alone",
            "study": f"{swept.study}, {len(swept.rows)} trials",
        }
        more = {} if version is None or version.run is None else run_report.fields(version.run)
        print_fields(console, shown | more)

    context.out.result(document, render, bare=[winner["ref"]])
    if version is not None:
        context.out.next(f"lftreg show {version.ref}")
