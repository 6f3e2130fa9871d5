"""A run that is over, in words: losses, speed, memory, money, and what was answered before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.cli.output import clean, wrapped
from lftreg.cli.tables import size

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Run, Version
    from lftreg.training.samples import Sample

ANSWER = 160  # characters of an answer, where `-v` does not ask for all
NAMES = 8  # columns of "before" and "after"


def fields(run: Run) -> dict[str, str | None]:
    """What a run came to, by name."""
    from lftreg.models.tasks import unit_of

    losses = run.losses
    memory = run.settings.get("memory")
    steps, best = run.settings.get("steps"), run.settings.get("best_step")
    return {
        "loss": _change(
            losses, "train_first", "train_last", f"nats a {unit_of(run.settings.get('task', ''))}"
        ),
        "validation": _change(losses, "validation_before", "validation_after"),
        "accuracy": f"{losses['accuracy_before']:.1%} -> {losses['accuracy_after']:.1%}"
        if "accuracy_after" in losses
        else None,
        "old data": _forgotten(losses),
        "best": None if steps is None else f"step {best} of {steps}",
        "rows": ", ".join(f"{number} {split}" for split, number in run.examples.items()),
        "tokens": f"{run.tokens:,} in {run.seconds:.0f} s, {run.tokens / max(run.seconds, 1e-9):,.0f} tokens/s",
        "memory": f"{size(memory)} at most" if memory else None,
        "cost": _cost(run.settings.get("cost")),
    }


def swept(run: Run) -> str | None:
    """The study that found a run's settings."""
    told = run.settings.get("sweep")
    if not told:
        return None
    test = next((one["test"] for one in told["confirmed"] if one["trial"] == told["trial"]), None)
    loss = "" if test is None else f", test loss {test:.3f}"
    return f"trial {told['trial']} of {told['trials']} in study {told['study']}{loss}"


def share(version: Version) -> str:
    whole = version.base.parameters + version.trainable_parameters
    trained = version.trainable_parameters
    return f"{trained:,} trained of {whole:,} ({trained / max(1, whole):.2%})"


def print_samples(console: Console, samples: Sequence[Sample], *, whole: bool) -> None:
    """Each question with its two answers, cut to a line or two unless the `whole` of them is asked for."""
    from rich.text import Text

    room = min(console.width, 110) - NAMES - 2
    for sample in samples:
        console.print()
        for line in wrapped(f"> {_short(sample.prompt, whole)}", room + NAMES):
            console.print(Text(line, "bold"), soft_wrap=True)
        for name, answer in (("before", sample.before), ("after", sample.after)):
            lines = [part for line in _short(answer, whole).split("\n") for part in wrapped(line, room)]
            body = f"\n{'':{NAMES + 2}}".join(lines)
            console.print(Text.assemble((f"  {name:{NAMES}}", "dim"), body or "(nothing)"), soft_wrap=True)


def _forgotten(losses: Mapping[str, float]) -> str | None:
    """What the new has cost of the old: validation on the data that the parent was trained on."""
    change = _change(losses, "old_before", "old_after")
    if change is None:
        return None
    more = losses["old_after"] / losses["old_before"] - 1
    return f"{change} ({abs(more):.0%} {'higher: forgotten' if more > 0 else 'lower'})"


def _change(losses: Mapping[str, float], before: str, after: str, unit: str = "") -> str | None:
    if not {before, after} <= losses.keys():
        return None
    return f"{losses[before]:.3f} -> {losses[after]:.3f}" + (f" {unit}" if unit else "")


def _cost(cost: Mapping[str, Any] | None) -> str | None:
    if not cost or cost.get("usd") is None:
        return None
    price, device = cost.get("price_per_hour"), cost.get("device")
    of = "" if price is None else f", {device or 'the machine'} at ${price:.2f} an hour"
    return f"${cost['usd']:.2f}{of}"


def _short(text: str, whole: bool) -> str:
    """A text on a line of its own; cut between words where it is long."""
    text = clean(text).strip()
    if whole:
        return text
    text = " ".join(text.split())
    return text if len(text) <= ANSWER else f"{text[:ANSWER].rsplit(' ', 1)[0]} …"
