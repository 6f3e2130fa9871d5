"""`lftreg targets`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.output import clean
from lftreg.cli.tables import print_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from lftreg.plugins.host import Registered
    from lftreg.plugins.types import Targets


@define("targets", examples=("lftreg targets",))
def command(context: Context) -> None:
    """List the model families and their presets of target modules."""
    found = context.host.targets()
    if context.out.quiet and not context.out.json:
        context.out.lines(list(found))
        return
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
    context.out.result(document, partial(_render, found))


def _render(found: Mapping[str, Registered[Targets]], console: Console) -> None:
    from rich.text import Text

    for number, (name, entry) in enumerate(found.items()):
        console.print(Text(f"{'' if not number else chr(10)}{clean(name)}", "bold"))
        presets = {f"  {preset}": ", ".join(modules) for preset, modules in entry.value.presets.items()}
        print_fields(console, {"  types": ", ".join(entry.value.model_types), **presets})
