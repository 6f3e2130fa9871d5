"""`lftreg lineage`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.output import clean
from lftreg.cli.tables import short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lftreg.registry import Lineage


@define("lineage", examples=("lftreg lineage advisor_desk",))
@click.argument("ref", type=REF)
def command(context: Context, ref: str) -> None:
    """Show what a version was made from.

    A composition lists its parents with their weights, down to what was trained or imported.
    """
    tree = context.registry.lineage(ref)
    context.out.result(documents.lineage(tree), partial(_render, tree))


def _render(root: Lineage, console: Console) -> None:
    from rich.tree import Tree

    def grow(branch: Tree, node: Lineage) -> Tree:
        for parent in node.parents:
            grow(branch.add(_label(parent)), parent)
        return branch

    console.print(grow(Tree(_label(root), guide_style="dim"), root), soft_wrap=True)


def _label(node: Lineage) -> Text:
    from rich.text import Text

    version = node.version
    if version is None:
        made = "no longer here"
    elif version.recipe is not None:
        made = f"{version.recipe.method}, rank {version.rank}"
    else:
        made = " ".join(part for part in (version.kind, version.domain and f"on {version.domain}") if part)
        study = documents.swept(version)
        made += f", best of {study['trials']} trials of {study['study']}" if study else ""
    weight = "" if node.weight is None else f"{node.weight:g} × "
    return Text.assemble(weight, (clean(node.ref), "bold"), (f"  {clean(made)}  {short(node.digest)}", "dim"))
