"""`lftreg train`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents, launching, plan_view, resuming, run_report
from lftreg.cli.command import define
from lftreg.cli.complete import DATA
from lftreg.cli.context import Context
from lftreg.cli.options import MAP, QUANTIZE, TRUST
from lftreg.cli.tables import count, print_fields, short, size
from lftreg.cli.training_sources import Source, find_sources, planned_sources
from lftreg.errors import LftregError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Version
    from lftreg.training import Plan, RunFolder


@define(
    "train",
    examples=(
        "lftreg train customer_support",
        "lftreg train --data ./inbox.jsonl --name inbox --rank 8",
        "lftreg train --data ./tickets.csv --map prompt=Subject --map response=Reply --dry-run",
        "lftreg train financial_advisor --base ./my-llama --targets attention --dry-run",
        "lftreg train customer_support financial_advisor code_generation",
        "lftreg train --plan adapters.toml",
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
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Train the adapters of a TOML file together, each with its own data and settings.",
)
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
    "--plain", is_flag=True, default=None, help="By PEFT's own model, one adapter after another: slower."
)
@click.option(
    "--packing",
    is_flag=True,
    default=None,
    help="Several rows a line, by PEFT's own model; none sees another.",
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
    plan_file: Path | None,
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

    The best version by validation loss is registered, with its settings, its losses and the loss curve. Several
    domains, or the adapters of a --plan, train together over one base.
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
    if plan_file is not None and (domains or data or mapping or name or resume):
        raise UsageError(
            "--plan with a domain, --data, --map, --name or --resume",
            "the plan says what is trained; `lftreg train --resume NAME...` goes on with its runs",
        )
    asked = {"base": base, **options}
    if resume:
        if mapping:
            raise UsageError("--map with --resume", "the run knows its columns")
        jobs = [Job(*one) for one in resuming.plans(context, domains, data, name, asked)]
    else:
        found = (
            planned_sources(context, plan_file)
            if plan_file
            else find_sources(context, domains, data, mapping, name)
        )
        asked["trust_code"] = trust_remote_code
        jobs = [Job(_plan(context, source, name, asked), source=source) for source in found]
    _refuse_twice(jobs)
    if dry_run:
        plan_view.show_plans(context, [job.plan for job in jobs], gpu_type, gpus or processes or 1)
        return
    _train(context, save_every, log_to, jobs)


@dataclass(frozen=True)
class Job:
    """A plan, the run that it goes on with, and where its data comes from."""

    plan: Plan
    run: RunFolder | None = None
    source: Source | None = None


def _refuse_twice(jobs: Sequence[Job]) -> None:
    names = [job.plan.name for job in jobs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"{twice} is to be trained twice", "give each adapter a name of its own, in a --plan FILE"
        )


def _train(context: Context, save_every: int | None, log_to: Sequence[str], jobs: Sequence[Job]) -> None:
    """Train, tell of what was made, and end with the error of what was not."""
    from lftreg.cli.company_view import following_all
    from lftreg.training import Wanted, run_plans
    from lftreg.training.trackers import tensorboard_folder

    for job in jobs:
        _announce(context, job.plan)
    if "tensorboard" in log_to:
        context.out.note(f"tensorboard --logdir {tensorboard_folder(context.home)}")
    with following_all(context, [job.plan for job in jobs]) as views:
        wanted = [
            Wanted(job.plan, listen, job.run, ended) for job, (listen, ended) in zip(jobs, views, strict=True)
        ]
        ends = run_plans(
            wanted, context.registry, save_every=save_every, log_to=log_to,
            price_per_hour=context.settings.price_per_hour,
        )  # fmt: skip
    made = [end for end in ends if not isinstance(end, LftregError)]
    errors = {job.plan.name: end for job, end in zip(jobs, ends, strict=True) if isinstance(end, LftregError)}
    for job, end in zip(jobs, ends, strict=True):
        if not isinstance(end, LftregError):
            _warn_of_changes(context, job, end)
    if made:
        _tell(context, made, several=len(jobs) > 1)
    if len(jobs) == 1:
        for error in errors.values():
            raise error
    _raise(context, errors, len(jobs))


def _raise(context: Context, errors: Mapping[str, LftregError], of: int) -> None:
    """End with what went wrong, where something did: each is told, and the exit code is the first one's."""
    if not errors:
        return
    for name, error in errors.items():
        context.out.warn(f"{name}: {error.message}" + (f" ({error.hint})" if error.hint else ""))
    first = next(iter(errors.values()))
    whole = LftregError(
        f"{len(errors)} of {of} adapters were not trained: {', '.join(errors)}",
        "the others are registered" if len(errors) < of else None,
        code=first.code if len({error.code for error in errors.values()}) == 1 else "not-all",
    )
    whole.exit_code = first.exit_code
    raise whole


def _warn_of_changes(context: Context, job: Job, version: Version) -> None:
    """Where a file was changed while it was trained."""
    for changed in job.source.changed() if job.source else ():
        context.out.warn(
            f"{changed} was changed meanwhile; {version.ref} was trained on what stood there at the beginning"
        )


def _tell(context: Context, versions: Sequence[Version], *, several: bool) -> None:
    from lftreg.training.shown import left_by_run, read_samples

    answered = {version.ref: read_samples(version, context.registry) for version in versions}
    rows = [documents.made(version) | left_by_run(version, answered[version.ref]) for version in versions]

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

    bare = [version.ref for version in versions]
    context.out.result(rows if several else rows[0], render, bare=bare)
    context.out.next(f'lftreg generate {versions[-1].name} "..."')


def _plan(context: Context, source: Source, name: str | None, asked: Mapping[str, Any]) -> Plan:
    from lftreg.training import make_plan

    told = {key: value for key, value in asked.items() if value is not None}
    given = {"base": context.settings.base, **source.asked, **told}
    return make_plan(
        source.domain, name=name or source.name, registry=context.registry, host=context.host, source=source.found,
        **given,
    )  # fmt: skip


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
