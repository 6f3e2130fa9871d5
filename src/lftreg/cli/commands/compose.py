"""`lftreg compose`"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import DATA, METHOD, REF
from lftreg.cli.context import Context
from lftreg.cli.fitting import attachment, find_weights
from lftreg.cli.tables import print_fields, short, size
from lftreg.composer.report import ATTACHMENT, Report, summary
from lftreg.errors import UsageError
from lftreg.tensors.vllm import vllm_rank

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.composer.fitting.fit import Fitted
    from lftreg.composer.listening import Check
    from lftreg.composer.plan import Plan
    from lftreg.registry import Recipe, Version

DEFAULTS = {"method": "cat", "dtype": "auto"}
TAKEN = ("name", "method", "dtype", "engine", "weights", "normalise", "registry", "host", "options")
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
        "lftreg compose support finance --method svd --rank auto --max-error 0.02",
        "lftreg compose support finance --weights crossfade",
        "lftreg compose support finance --method ties_core --density 0.3 --option majority_sign_method=frequency",
        "lftreg compose support finance --fit inbox.jsonl --name desk",
        "lftreg compose --recipe desk.recipe.json",
    ),
)
@click.argument("parents", nargs=-1, metavar="REF[:WEIGHT]...", type=REF)
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
    help="Rank of the result, for methods that cut it (the largest parent's): auto loses at most --max-error.",
)
@click.option("--max-error", type=float, metavar="X", help="What --rank auto may lose of the sum (0.01).")
@click.option(
    "--weights",
    type=str,
    metavar="FILE|PRESET",
    help="Weights by layer: a TOML file, or crossfade, split, attention, mlp, early, middle, late.",
)
@click.option("--normalise", is_flag=True, help="Divide the weights by their sum, in every layer.")
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
    type=click.Choice(["auto", "peft", "factors"]),
    help="What computes it; auto, the default, is PEFT where PEFT is right and quick.",
)
@click.option(
    "--fit",
    "files",
    multiple=True,
    type=DATA,
    metavar="FILE[:WEIGHT]",
    help="Find the weights on data, and judge them on rows held out; what `lftreg train --data` takes; repeatable.",
)
@click.option(
    "--fit-per",
    type=click.Choice(["adapter", "layer"]),
    default="adapter",
    show_default=True,
    help="One weight an adapter, or one for each of its layers.",
)
@click.option(
    "--map", "mapping", multiple=True, metavar="ROLE=COLUMN", help="A column of --fit, as in `lftreg train`."
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make again what a file of `export --recipe` tells of, byte for byte.",
)
def command(context: Context, parents: Sequence[str], recipe: Path | None, **given: Any) -> None:
    """Mix adapters of one base into a new one.

    A weight follows the last colon; it is 1 if left out, and may be negative. The default method, cat, gives
    the exact weighted sum; every result tells how far it is from that. The base itself is not needed.
    """
    from lftreg.composer.composition import run_plan

    started = time.monotonic()
    fitted = _fitted(context, parents, given, recipe)
    plan, check = _recipe(context, parents, recipe, given) if recipe else _typed(context, parents, given)
    if plan.why:
        context.out.note(f"by the {plan.engine} engine: {plan.why}")
    total = len(plan.layers) if plan.engine == "factors" else None  # PEFT does not tell how far it is
    with context.out.progress("composing", total) as progress:
        version = run_plan(
            plan,
            context.registry,
            lambda doing, done=0: progress.update(done, note=doing),
            check,
            attachment(fitted) if fitted else {},
        )
    seconds = time.monotonic() - started
    report = Report.from_bytes(context.registry.read(version, ATTACHMENT))
    context.out.result(
        documents.composed(version, seconds, plan.why, report, fitted),
        partial(_render, version, report, seconds),
        bare=[version.ref],
    )
    context.out.next(f'lftreg generate {version.name} "..."')


def _fitted(
    context: Context, parents: Sequence[str], given: dict[str, Any], recipe: Path | None
) -> Fitted | None:
    """The weights that --fit finds, which then stand for those that could be typed."""
    files, per, mapping = (given.pop(key) for key in ("files", "fit_per", "mapping"))
    if not files:
        if mapping or per != "adapter":
            raise UsageError("there is no --fit for these to go with", "give it --fit FILE")
        return None
    if recipe or given["weights"] or given["normalise"]:
        raise UsageError(
            "--fit finds the weights, and they are given too", "leave --weights, --normalise or --recipe out"
        )
    if given["method"] != "cat":
        raise UsageError(
            f"--fit weighs the sum itself, and {given['method']} makes something else of it",
            "leave --method out; then cut the result: --method svd --rank N",
            code="fit-method",
        )
    fitted = find_weights(context, parents, files, per, mapping)
    given["weights"] = fitted.composed
    return fitted


def _typed(context: Context, parents: Sequence[str], given: dict[str, Any]) -> tuple[Plan, Check]:
    """The plan of what was typed."""
    from lftreg.composer.composition import prepare
    from lftreg.composer.listening import anything

    if not parents:
        raise UsageError(
            "nothing to compose", "lftreg compose customer_support:0.7 financial_advisor:0.3", code="usage"
        )
    if len(parents) == 1 and "," in parents[0]:
        raise UsageError("parents are separated by spaces", "lftreg compose support:0.7 finance:0.3")
    named = {key: given.pop(key) for key in ("weights", "name", "method", "normalise", "dtype", "engine")}
    named["engine"] = named["engine"] or _preferred(context, named["method"])
    return prepare(
        parents,
        **named,
        registry=context.registry,
        host=context.host,
        options=_merged(given, given.pop("pairs")),
    ), anything


def _preferred(context: Context, method: str) -> str:
    """The engine of the settings, where it has the method."""
    from lftreg.composer.engines import check_engine

    wanted = context.settings.engine
    check_engine(wanted)
    return wanted if wanted in context.host.method(method).engines else "auto"


def _recipe(
    context: Context, parents: Sequence[str], recipe: Path, given: dict[str, Any]
) -> tuple[Plan, Check]:
    """The plan of a recipe, beside which nothing but a name may be given."""
    from lftreg.composer.recipes import hold_to, plan_recipe, read_recipe

    name = given.pop("name")
    nothing = (None, False, ())
    besides = [
        k
        for k, v in given.items()
        if not any(v is one or v == () for one in nothing) and v != DEFAULTS.get(k)
    ]
    if parents or besides:
        raise UsageError(
            f"a recipe holds all there is to say, and {(*parents, *besides)[0]} is given beside it",
            "only --name goes with --recipe",
            code="recipe-and-more",
        )
    document = read_recipe(recipe)
    plan = plan_recipe(document, name, context.registry, context.host)
    return plan, lambda digest: hold_to(document, digest)


def _merged(options: dict[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """The named options and those of --option, whose values are JSON or else words."""
    merged = {key: value for key, value in options.items() if value is not None and key != "pairs"}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{pair!r} is no option", "write --option KEY=VALUE", code="invalid-option")
        if key in merged or key in TAKEN:
            raise UsageError(f"{key} is given elsewhere", f"give it once, without --option {key}=")
        try:
            merged[key] = json.loads(text)
        except ValueError:
            merged[key] = text
    return merged


def _render(version: Version, report: Report, seconds: float, console: Console) -> None:
    recipe = version.recipe
    assert recipe is not None
    hidden = ("engine", "layer_weights", "normalise")
    shown = {key: value for key, value in recipe.options.items() if key not in hidden}
    options = "".join(f", {key} {value}" for key, value in shown.items())
    print_fields(
        console,
        {
            "composed": f"{version.ref}  {short(version.digest)}  {size(version.bytes)}",
            "parents": "\n".join(f"{p.weight:g} × {p.ref}  {short(p.digest)}" for p in recipe.parents),
            "weights": _weights(recipe),
            "method": f"{recipe.method}{options}",
            "rank": f"{version.rank}{_served(version.rank)}",
            "energy": _energy(report),
            "overlap": _overlap(report),
            "error": _judged(recipe),
            "took": f"{seconds:.1f} s, {recipe.options.get('engine')}",
        },
    )


def _weights(recipe: Recipe) -> str | None:
    """What became of the weights that stand beside the parents."""
    by_layer, total = "layer_weights" in recipe.options, sum(parent.weight for parent in recipe.parents)
    if not recipe.options.get("normalise"):
        return "times what the rules give each layer" if by_layer else None
    return "by layer, divided by their sum there" if by_layer else f"divided by their sum, {total:g}"


def _served(rank: int) -> str:
    needed = vllm_rank(rank)
    return f" (vLLM serves it at max_lora_rank {needed})" if needed else " (more than vLLM serves)"


def _energy(report: Report) -> str | None:
    """What lower ranks would hold of the weighted sum."""
    told = [f"{share:.0%} at rank {rank}" for rank, share in report.energy.items() if 0.005 < share < 0.995]
    return f"of the weighted sum, {', '.join(told[-3:])}" if told else None


def _overlap(report: Report) -> str | None:
    """How the parents lie to each other."""
    told = summary(report)
    if told["cosine"] is None or told["conflict"] is None:
        return None
    return f"cosine {told['cosine']:.2f}; signs differ in {told['conflict']:.0%} of the entries"


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
