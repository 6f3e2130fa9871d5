"""`lftreg compose`"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import METHOD, REF
from lftreg.cli.context import Context
from lftreg.cli.tables import print_fields, short, size
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Recipe, Version

EXACT = 1e-6  # what rounding to float32 explains


class _Rank(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A whole number from 1, or a word."""

    name = "rank"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value in ("auto", "full") or isinstance(value, int):
            return value  # type: ignore[no-any-return]
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is no whole number from 1, nor auto or full.", param, ctx)
        return int(value)


@define(
    "compose",
    examples=(
        "lftreg compose customer_support:0.7 financial_advisor:0.3 --name advisor_desk",
        "lftreg compose support@prod support@3:-0.5 --name without_old_habits",
        "lftreg compose support finance --method svd --rank auto",
        "lftreg compose support finance --method ties_svd --density 0.3 --option majority_sign_method=frequency",
    ),
)
@click.argument("parents", nargs=-1, required=True, metavar="REF[:WEIGHT]...", type=REF)
@click.option("--name", metavar="NAME", help="Name of the result; the parents' names joined if left out.")
@click.option(
    "--method",
    type=METHOD,
    default="cat",
    show_default=True,
    metavar="NAME",
    help="`lftreg methods` lists them.",
)
@click.option(
    "--rank",
    type=_Rank(),
    metavar="N|auto|full",
    help="Rank of the result, for svd methods (the largest parent's). svd: auto loses at most 1 %, full nothing.",
)
@click.option("--density", type=float, metavar="X", help="Share of entries that pruning methods keep (0.5).")
@click.option("--seed", type=int, metavar="N", help="Seed of the dare methods (0).")
@click.option(
    "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any option of the method; repeatable."
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="How the result is kept; auto is as its parents, float32 if they differ.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "peft"]),
    default="auto",
    show_default=True,
    help="What computes it.",
)
def command(
    context: Context,
    parents: Sequence[str],
    name: str | None,
    method: str,
    pairs: Sequence[str],
    dtype: str,
    engine: str,
    **options: Any,
) -> None:
    """Mix adapters of one base into a new one.

    A weight follows the last colon; it is 1 if left out, and may be negative. The default method, cat, gives
    the exact weighted sum; every result tells how far it is from that. The base itself is not needed.
    """
    from lftreg.composer import compose

    if len(parents) == 1 and "," in parents[0]:
        raise UsageError("parents are separated by spaces", "lftreg compose support:0.7 finance:0.3")
    started = time.monotonic()
    with context.out.progress("composing") as progress:
        version = compose(
            parents,
            name=name,
            method=method,
            dtype=dtype,
            engine=engine,
            registry=context.registry,
            host=context.host,
            listen=lambda doing: progress.update(0, note=doing),
            **_merged(options, pairs),
        )
    seconds = time.monotonic() - started
    context.out.result(documents.composed(version, seconds), partial(_render, version, seconds))
    context.out.next(f'lftreg generate {version.name} "..."')


def _merged(options: dict[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """The named options and those of --option, whose values are JSON or else words."""
    merged = {key: value for key, value in options.items() if value is not None}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{pair!r} is no option", "write --option KEY=VALUE", code="invalid-option")
        if key in merged or key in ("name", "method", "dtype", "engine", "registry", "host", "listen"):
            raise UsageError(f"{key} is given elsewhere", f"give it once, without --option {key}=")
        try:
            merged[key] = json.loads(text)
        except ValueError:
            merged[key] = text
    return merged


def _render(version: Version, seconds: float, console: Console) -> None:
    recipe = version.recipe
    assert recipe is not None
    options = "".join(f", {key} {value}" for key, value in recipe.options.items())
    print_fields(
        console,
        {
            "composed": f"{version.ref}  {short(version.digest)}  {size(version.bytes)}",
            "parents": "\n".join(f"{p.weight:g} × {p.ref}  {short(p.digest)}" for p in recipe.parents),
            "method": f"{recipe.method}{options}",
            "rank": str(version.rank),
            "error": _judged(recipe),
            "took": f"{seconds:.1f} s",
        },
    )


def _judged(recipe: Recipe) -> str:
    """How far off the result is, in a number and in words."""
    error, dtype = recipe.relative_error, recipe.options.get("dtype")
    if error is None:
        return "the weighted sum is zero; the result is not"
    if error <= EXACT:
        return f"{error:.1e} of the weighted sum: exact, but for rounding"
    if recipe.method == "cat" and dtype != "float32":
        return f"{error:.1e} of the weighted sum: rounded to {dtype}; --dtype float32 is exact"
    return f"{error:.2g} of the weighted sum: that much is lost or added; --method cat is exact"
