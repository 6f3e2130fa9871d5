"""Write docs/commands.md from the help of the commands, and docs/api.md from the docstrings.

python tools/docs.py            write them
python tools/docs.py --check    fail where they are not what the code says
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import docs_api
from lftreg.cli.command import Common
from lftreg.cli.main import STUBS, cli

DOCS = Path(__file__).parent.parent / "docs"
HEAD = """\
# Commands

Written by `tools/docs.py` from the commands' own help: change that, then `make docs`.

Every command takes the options under [Everywhere](#everywhere). Data goes to stdout and
everything else to stderr; with `--json` stdout is one JSON document, whose keys are only ever
added to, and an error is `{"error": {"code", "message", "hint"}}` on stderr.

| exit code | what happened |
|---|---|
| 0 | done |
| 1 | it failed |
| 2 | what was typed, or a file that was given, cannot be used |
| 3 | something named was not found |
| 4 | a remote asks for a token |
| 5 | hardware, an extra or a model is missing |
| 6 | a check found damage |
| 70 | a bug; the traceback is saved and its path shown |
| 130 | interrupted |
| 143 | ended by SIGTERM, with what was done saved |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    for name, render in (("commands.md", commands), ("api.md", docs_api.render)):
        page, text = DOCS / name, render()
        if not asked.check:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/{name} is not what the code says: run `make docs`")


def commands() -> str:
    """The whole page of commands."""
    root = click.Context(cli, info_name="lftreg", **cli.context_settings)
    parts = [HEAD]
    section = ""
    for stub in STUBS:
        if stub.section != section:
            section = stub.section
            parts.append(f"## {section}\n")
        parts.extend(pages(stub.load(), root, stub.name))
    options = [p.get_help_record(root) for p in cli.params if isinstance(p, Common)]
    formatter = click.HelpFormatter(width=80)
    formatter.write_dl([record for record in options if record is not None])
    parts.append(f"## Everywhere\n\n```text\n{formatter.getvalue()}```\n")
    return "\n".join(parts)


def pages(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """The help of a command and of those under it, without what all of them share."""
    ctx = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    text, everywhere, examples = command.get_help(ctx).partition("\nEverywhere:\n")
    assert everywhere
    _, has_examples, examples = examples.partition("\nExamples:\n")
    body = text + (f"\nExamples:\n{examples}\n" if has_examples else "")
    yield f"### {ctx.command_path}\n\n```text\n{body.strip()}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(ctx):
            found = command.get_command(ctx, child)
            assert found is not None
            yield from pages(found, ctx, child)


if __name__ == "__main__":
    main()
