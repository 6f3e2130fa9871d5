"""`lftreg train`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents, launching, plan_view, resuming, run_report
from lftreg.cli.command import define
from lftreg.cli.complete import DATA
from lftreg.cli.context import Context
from lftreg.cli.options import MAP, QUANTIZE, TRUST
from lftreg.cli.tables import count, print_fields, short, size
from lftreg.errors import NotFound, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.plugins.types import Domain
    from lftreg.registry import Version
    from lftreg.training import Plan, RunFolder


@define(
    "train",
    examples=(
        "lftreg train customer_support",
        "lftreg train --data ./inbox.jsonl --name inbox --rank 8",
        "lftreg train --data ./tickets.csv --map prompt=Subject --map response=Reply --dry-run",
        "lftreg train financial_advisor --base ./my-llama --targets attention --dry-run",
        "lftreg train --resume",
    ),
)
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@click.option(
    "--data",
    multiple=True,
    type=DATA,
    metavar="FILE[:WEIGHT]",
    help="A file of rows, a folder of texts or of files, or hub:org/name; a weight of 2 shows its rows twice a pass; "
    "repeatable.",
)
@MAP
@click.option("--name", metavar="NAME", help="Name of the adapter; the domain's or the file's if left out.")
@click.option("--base", metavar="BASE", help="starter, a folder, or a hub id.")
@click.option("--rank", type=int, metavar="N", help="Rank of the factors (16).")
@click.option(
    "--alpha", type=float, metavar="X", help="Scale: the update counts alpha / rank times (2 x rank)."
)
@click.option("--dropout", type=float, metavar="X", help="Share of inputs left out in training (0).")
@click.option(
    "--prompt-dropout",
    type=float,
    metavar="X",
    help="Share of a prompt's words that each pass leaves out (0; a domain may know better).",
)
@click.option(
    "--neftune",
    type=float,
    metavar="X",
    help="Noise on the embeddings in training, NEFTune's alpha (0; a domain may know better).",
)
@click.option(
    "--opening-weight",
    type=float,
    metavar="X",
    help="How much more the first words of an answer count (1; a domain may know better).",
)
@click.option(
    "--targets", metavar="PRESET|NAMES", help="all-linear, attention, mlp, classic, or module names."
)
@click.option("--lr", type=float, metavar="X", help="Peak learning rate (by the base's size).")
@click.option("--epochs", type=int, metavar="N", help="Passes over the data (by its size and the base's).")
@click.option("--max-steps", type=int, metavar="N", help="Stop after so many optimizer steps.")
@click.option("--batch-size", type=int, metavar="N", help="Rows that go through the base together (8).")
@click.option("--accumulate", type=int, metavar="N", help="Batches that make one step (1).")
@click.option(
    "--max-length",
    type=int,
    metavar="N",
    help="Leave out rows of more tokens (2048, or what the base takes).",
)
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), help="How the base is kept in memory."
)
@QUANTIZE
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Less memory, a third more time.")
@click.option(
    "--packing", is_flag=True, default=None, help="Several rows a line, none of which sees another."
)
@click.option("--seed", type=int, metavar="N", help="Seed of the factors and of the order of rows (0).")
@TRUST
@click.option(
    "--continue-from", metavar="REF", help="Train this version's factors on, instead of fresh ones."
)
@click.option(
    "--replay",
    type=float,
    metavar="X",
    help="See this share of its rows again, so that less is forgotten (0).",
)
@click.option("--resume", is_flag=True, help="Go on with the run that was interrupted last.")
@click.option(
    "--save-every", type=int, metavar="N", help="Save a checkpoint after every N steps (by time: 20 seconds)."
)
@click.option(
    "--log-to",
    multiple=True,
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    help="Tell the run to a tracker as well; repeatable.",
)
@click.option(
    "--gpus", type=int, metavar="N", help="Spread the rows of every step over N GPUs: the same steps, sooner."
)
@click.option("--processes", type=int, metavar="N", help="The same on CPUs, in N processes.")
@click.option(
    "--accelerate-config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file of `accelerate config`, for FSDP or several machines.",
)
@click.option(
    "--gpu-type",
    metavar="NAME",
    help="With --dry-run: foretell memory, time and money on this GPU, such as H100.",
)
@click.option("--dry-run", is_flag=True, help="Read and check everything, say what would be done, and stop.")
def command(
    context: Context,
    domains: Sequence[str],
    data: Sequence[str],
    mapping: Sequence[str],
    name: str | None,
    base: str | None,
    dry_run: bool,
    trust_remote_code: bool,
    resume: bool,
    save_every: int | None,
    log_to: Sequence[str],
    gpus: int | None,
    processes: int | None,
    accelerate_config: Path | None,
    gpu_type: str | None,
    **options: Any,
) -> None:
    """Train an adapter on a domain or on your own data.

    The best version by validation loss is registered, with its settings, its losses and the loss curve.
    Ctrl-C saves a checkpoint; --resume goes on from it, and what comes of it is the same, to the bit.
    """
    if save_every is not None and save_every < 1:
        raise UsageError(f"--save-every {save_every} makes no sense", "give 1 or more")
    if log_to:
        from lftreg.training.trackers import check_trackers

        check_trackers(log_to)
    if gpu_type is not None and not dry_run:
        raise UsageError("--gpu-type foretells, and trains nothing", "add --dry-run")
    several = gpus is not None or processes is not None or accelerate_config is not None
    if several and not dry_run and not launching.launched():
        launching.launch(gpus, processes, accelerate_config)
        return
    if resume:
        if mapping:
            raise UsageError("--map with --resume", "the run knows its columns")
        resumed = resuming.plans(context, domains, data, name, {"base": base, **options})
        plans = [plan for plan, _ in resumed]
    else:
        sources = _sources(context, domains, data, mapping, name)
        asked = {"base": base or context.settings.base, "trust_code": trust_remote_code, **options}
        if dry_run:
            plans = [_plan(context, source, name, asked) for source in sources]
    if dry_run:
        plan_view.show_plans(context, plans, gpu_type, gpus or processes or 1)
        return
    run = partial(_run, context, save_every, log_to)
    if resume:
        _tell(context, [run(plan, folder) for plan, folder in resumed])
        return
    _tell(
        context, [_checked(context, source, run(_plan(context, source, name, asked))) for source in sources]
    )


def _checked(context: Context, source: Source, version: Version) -> Version:
    """A version, and a warning where a file was changed while it was trained."""
    for changed in source.changed():
        context.out.warn(
            f"{changed} was changed meanwhile; {version.ref} was trained on what stood there at the beginning"
        )
    return version


def _tell(context: Context, versions: Sequence[Version]) -> None:
    answered = {version.ref: run_report.read_samples(version, context.registry) for version in versions}
    rows = [
        documents.made(version) | run_report.document(version, answered[version.ref]) for version in versions
    ]

    def render(console: Console) -> None:
        for version in versions:
            made = f"{version.ref}  {short(version.digest)}  {size(version.bytes)}"
            assert version.run is not None
            shown = {
                "trained": made,
                **run_report.fields(version.run),
                "parameters": run_report.share(version),
            }
            print_fields(console, shown)
            run_report.print_samples(console, answered[version.ref], whole=context.out.verbose)

    context.out.result(rows[0] if len(rows) == 1 else rows, render)
    context.out.next(f'lftreg generate {versions[-1].name} "..."')


@dataclass(frozen=True)
class Source:
    """What is trained on, how another process finds it again, and which of its files have changed since."""

    domain: Domain
    found: dict[str, Any]
    changed: Callable[[], list[str]] = list


def _sources(
    context: Context, domains: Sequence[str], data: Sequence[str], mapping: Sequence[str], name: str | None
) -> list[Source]:
    """What to train on: domains by name, or files as one domain."""
    if bool(domains) == bool(data):
        what = "both a domain and --data" if data else "nothing to train on"
        raise UsageError(
            what, "lftreg train customer_support, or lftreg train --data FILE; `lftreg domains` lists them"
        )
    if data:
        from lftreg.cli.own_data import lasting, read_own

        own = read_own(context, data, mapping, name)
        return [Source(own.domain, {"data": lasting(data), "map": list(mapping)}, own.changed)]
    if mapping:
        raise UsageError("--map tells the columns of --data", "a domain has none")
    if name is not None and len(domains) > 1:
        raise UsageError("one --name for several domains", "train them one by one, or leave --name out")
    try:
        return [Source(context.host.domain(domain), {"domain": domain}) for domain in domains]
    except NotFound as error:
        from lftreg.cli.own_data import hint_at_data

        raise hint_at_data(domains, error) from error


def _plan(context: Context, source: Source, name: str | None, asked: dict[str, Any]) -> Plan:
    from lftreg.training import make_plan

    return make_plan(
        source.domain, name=name, registry=context.registry, host=context.host, source=source.found, **asked
    )


def _run(
    context: Context, save_every: int | None, log_to: Sequence[str], plan: Plan, run: RunFolder | None = None
) -> Version:
    from lftreg.cli.training_view import following
    from lftreg.training import run_plan
    from lftreg.training.trackers import tensorboard_folder

    _announce(context, plan)
    if "tensorboard" in log_to:
        context.out.note(f"tensorboard --logdir {tensorboard_folder(context.home)}")
    with following(context, plan) as listen:
        return run_plan(
            plan,
            context.registry,
            listen,
            run,
            save_every=save_every,
            log_to=log_to,
            price_per_hour=context.settings.price_per_hour,
        )


def _announce(context: Context, plan: Plan) -> None:
    """What is about to happen, and every row that will not take part."""
    rows, settings = plan.examples, plan.settings
    context.out.note(
        f"{plan.name}: {rows['train']} rows, {settings.max_steps} steps of "
        f"{settings.batch_size * settings.accumulate}, rank {settings.rank}, "
        f"learning rate {settings.lr:g}, on {plan.base.record.id} ({count(plan.base.record.parameters)} parameters)"
    )
    for note in plan.notes:
        context.out.note(note)
    if plan.parent is not None and plan.parent.missing:
        context.out.warn(f"what is forgotten cannot be measured: {plan.parent.missing}")
    if plan.left_out:
        longest = max(split.longest for split in plan.rows.values())
        context.out.warn(
            f"{plan.left_out} rows are too long and left out (the longest has {longest} tokens); "
            f"--max-length {longest} keeps them if the base takes that much"
        )
