"""`lftreg targets`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.complete import BASE
from lftreg.cli.context import Context
from lftreg.cli.options import TRUST
from lftreg.cli.output import clean
from lftreg.cli.tables import Column, print_fields, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from lftreg.models.targets import Module
    from lftreg.plugins.host import Registered
    from lftreg.plugins.types import Targets


@define("targets", examples=("lftreg targets", "lftreg targets starter", "lftreg targets gpt2 --targets mlp"))
@click.argument("base", required=False, type=BASE)
@click.option(
    "--targets",
    "wanted",
    metavar="PRESET|NAMES",
    default="all-linear",
    show_default=True,
    help="What to match in BASE.",
)
@TRUST
def command(context: Context, base: str | None, wanted: str, trust_remote_code: bool) -> None:
    """List the model families and their presets of target modules.

    With BASE: the modules of that base that a preset or names match, counted by name. Its
    weights are not read.
    """
    if base is None:
        _families(context)
    else:
        _matches(context, base, wanted, trust_remote_code)


def _families(context: Context) -> None:
    found = context.host.targets()
    document = [
        {
            "family": name,
            "model_types": list(entry.value.model_types),
            "presets": {preset: list(modules) for preset, modules in entry.value.presets.items()},
            "plugin": entry.plugin,
            "distribution": entry.distribution,
        }
        for name, entry in found.items()
    ]
    context.out.result(document, partial(_render, found), bare=list(found))


def _render(found: Mapping[str, Registered[Targets]], console: Console) -> None:
    from rich.text import Text

    for number, (name, entry) in enumerate(found.items()):
        console.print(Text(f"{'' if not number else chr(10)}{clean(name)}", "bold"))
        presets = {f"  {preset}": ", ".join(modules) for preset, modules in entry.value.presets.items()}
        print_fields(console, {"  types": ", ".join(entry.value.model_types), **presets})


def _matches(context: Context, spec: str, wanted: str, trust_code: bool) -> None:
    """What a preset or names match in one base."""
    from lftreg.models.base import read_base
    from lftreg.models.targets import list_modules, matched_by_name, resolve_targets

    name, folder, config, code = read_base(spec, trust_code=trust_code)
    modules = list_modules(config, code=folder if code else None)
    names = resolve_targets(modules, config["model_type"], wanted, context.host, tell=context.out.note)
    matched = matched_by_name(names, modules)
    rows = [_row(pattern, found) for pattern, found in matched.items()]
    family = context.host.family(config["model_type"])
    document = {
        "base": {"id": name},
        "model_type": config["model_type"],
        "family": family and family.family,
        "targets": wanted,
        "target_modules": list(names),
        "modules": rows,
        "matched": sum(row["count"] for row in rows),
        "linear": sum(module.linear for module in modules),
        "parameters_a_rank": sum(row["parameters_a_rank"] for row in rows),
    }
    context.out.result(document, partial(_render_matches, document), bare=list(names))
    context.out.next(f"lftreg train customer_support --base {spec} --targets {wanted} --dry-run")


def _row(pattern: str, found: Sequence[Module]) -> dict[str, Any]:
    shapes = {(module.inputs, module.outputs) for module in found}
    return {
        "name": pattern,
        "count": len(found),
        "shapes": [list(shape) for shape in sorted(shapes)],
        "parameters_a_rank": sum((module.inputs or 0) + (module.outputs or 0) for module in found),
    }


def _render_matches(document: Mapping[str, Any], console: Console) -> None:
    kind = document["model_type"]
    family = f"{kind}, as {document['family']}" if document["family"] else f"{kind}, no target map"
    columns = (
        Column("module", style="bold"),
        Column("count", right=True),
        Column("shape (in x out)"),
        Column("parameters a rank", right=True),
    )
    rows = [
        [
            row["name"],
            str(row["count"]),
            ", ".join(f"{inputs} x {outputs}" for inputs, outputs in row["shapes"]),
            f"{row['parameters_a_rank']:,}",
        ]
        for row in document["modules"]
    ]
    print_fields(
        console,
        {
            "base": document["base"]["id"],
            "family": family,
            "matched": f"{document['matched']} of {document['linear']} linear modules by {document['targets']}",
            "parameters": f"{document['parameters_a_rank']:,} times the rank",
        },
    )
    print_table(console, columns, rows)
