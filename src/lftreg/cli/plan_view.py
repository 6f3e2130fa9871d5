"""What a run will do and take, as `lftreg train --dry-run` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from lftreg.cli import documents
from lftreg.cli.context import Context
from lftreg.cli.tables import count, print_fields, short, size

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.training import Plan, Settings
    from lftreg.training.forecast import Forecast


def show_plans(context: Context, plans: Sequence[Plan], gpu: str | None, processes: int) -> None:
    """The outcome of --dry-run."""
    from lftreg.training.forecast import as_document, foresee

    price = context.settings.price_per_hour
    forecasts = [foresee(plan, gpu, price_per_hour=price, processes=processes) for plan in plans]
    rows = [
        {
            "name": plan.name,
            "domain": plan.domain.name,
            "base": documents.base(plan.base.record),
            "task": plan.task.name,
            "labels": list(plan.labels) or None,
            "target_modules": list(plan.targets),
            "examples": plan.examples,
            "left_out": plan.left_out,
            "tokens_an_epoch": plan.rows["train"].tokens,
            "data_digest": documents.digest(plan.data_digest),
            "settings": plan.settings.as_dict(),
            "forecast": as_document(forecast),
        }
        for plan, forecast in zip(plans, forecasts, strict=True)
    ]
    context.out.result(rows[0] if len(rows) == 1 else rows, partial(_render_plans, plans, forecasts))
    for plan, forecast in zip(plans, forecasts, strict=True):
        if forecast.fits is False:
            context.out.warn(
                f"{plan.name} will not fit: fewer rows at once (--batch-size, --accumulate), "
                "--gradient-checkpointing or --quantize nf4 help; a run that finds out takes fewer rows by itself"
            )


def _render_plans(plans: Sequence[Plan], forecasts: Sequence[Forecast], console: Console) -> None:
    for plan, forecast in zip(plans, forecasts, strict=True):
        settings = plan.settings
        shown = {
            "name": plan.name,
            "base": f"{plan.base.record.id}  {short(plan.base.record.fingerprint)}  "
            f"{count(plan.base.record.parameters)} parameters"
            + (f", in {settings.quantize}" if settings.quantize else ""),
            "task": f"{plan.task.words}, labels {', '.join(plan.labels)}" if plan.labels else plan.task.words,
            "targets": ", ".join(plan.targets),
            "rows": ", ".join(f"{number} {split}" for split, number in plan.examples.items()),
            "left out": f"{plan.left_out} rows that are too long" if plan.left_out else None,
            "tokens": f"{plan.rows['train'].tokens:,} a pass",
            "passes": str(settings.epochs),
            "steps": f"{settings.max_steps} of {settings.batch_size * settings.accumulate} rows",
            "rank": f"{settings.rank}, alpha {settings.alpha:g}, dropout {settings.dropout:g}",
            "learning rate": f"{settings.lr:g}, warm-up {settings.warmup:.0%}, then a cosine",
            "seed": str(settings.seed),
            "also": _also(settings),
            **_foretold(forecast),
        }
        print_fields(console, shown)


SHOWN = {"rank", "alpha", "dropout", "targets", "lr", "epochs", "max_steps", "batch_size", "accumulate"}
SHOWN |= {"warmup", "quantize", "seed"}


def _also(settings: Settings) -> str:
    """Every setting that has no line of its own and is not what it is by default."""
    parts = []
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        if setting.name not in SHOWN and value != setting.default:
            words = setting.name.replace("_", "-")
            parts.append(
                words
                if value is True
                else f"{words} {value:g}"
                if isinstance(value, float)
                else f"{words} {value}"
            )
    return ", ".join(parts)


def _foretold(forecast: Forecast) -> dict[str, str | None]:
    """Memory, time and money, and on what."""
    if forecast.device is None:
        return {"forecast": f"none: {forecast.why}; --gpu-type NAME tells of another"}
    taken, cost = forecast.memory, forecast.cost
    where = forecast.device.name
    memory = f"none: {forecast.why}"
    if taken is not None:
        parts = [
            f"base {size(taken.base)}", f"adapter and optimizer {size(taken.static - taken.base)}",
            f"activations {size(taken.activations)}",
        ]  # fmt: skip
        beside = "" if forecast.device.gpu else ", beside Python and torch themselves"
        memory = f"{size(taken.peak)} at most{beside}: {', '.join(parts)}"
        if forecast.device.memory:
            memory += f"; {where} has {size(forecast.device.memory)}"
    return {
        "memory": memory,
        "time": None if cost is None else f"about {duration(cost.seconds)} on {where}",
        "money": None if cost is None or cost.dollars is None else f"about ${cost.dollars:.2f}",
    }


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
