"""`lftreg push`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.sharing import moving, patience
from lftreg.cli.tables import print_fields, size

if TYPE_CHECKING:
    from rich.console import Console


@define(
    "push",
    examples=(
        "lftreg push support@prod our-desk/support --private",
        "lftreg push support@3 our-desk/support --tag v3",
        "lftreg push support their-desk/support --create-pr",
        "lftreg push support folder:/srv/share/support",
    ),
)
@click.argument("ref", type=REF)
@click.argument("place", metavar="PLACE")
@click.option("--private", is_flag=True, help="Make the repository a private one, where there is none yet.")
@click.option("--tag", metavar="NAME", help="Tag the commit.")
@click.option("--create-pr", is_flag=True, help="Propose it as a pull request.")
@click.option("--message", "-m", metavar="TEXT", help="The message of the commit.")
@click.option("--force", is_flag=True, help="Replace what others wrote there.")
def command(
    context: Context,
    ref: str,
    place: str,
    private: bool,
    tag: str | None,
    create_pr: bool,
    message: str | None,
    force: bool,
) -> None:
    """Send an adapter to the Hub, or to a folder.

    PLACE is ORG/NAME on the Hub, or on the server of HF_ENDPOINT; or folder:PATH. Its card and its manifest go
    with it. The same content again sends nothing. What others changed there is not replaced without --force. The
    token is that of `hf auth login`, or HF_TOKEN.
    """
    from lftreg.registry import documents
    from lftreg.remotes import sharing

    version = context.registry.get(ref)
    where = sharing.parse_place(place)
    with moving(context, f"sending {version.ref}") as told:
        sent, files = sharing.push(
            context.registry,
            version,
            where,
            context.host,
            message=message,
            private=private,
            tag=tag,
            create_pr=create_pr,
            force=force,
            patience=patience(context),
            told=told,
        )
    document = {
        "ref": version.ref,
        "digest": documents.digest(version.digest),
        "repo": where.path,
        "remote": where.remote,
        "commit": sent.commit,
        "revision": sent.revision or None,
        "tag": tag,
        "url": sent.url,
        "files": files,
        "transferred_bytes": sent.transferred,
        "unchanged": sent.unchanged,
    }
    context.out.result(document, partial(_render, document), bare=[sent.commit])
    if sent.unchanged:
        context.out.note(f"{where} has this content already: nothing was sent")
    context.out.next(f"lftreg pull {place}" + (f"@{tag}" if tag else ""))


def _render(document: dict[str, Any], console: Console) -> None:
    print_fields(
        console,
        {
            "adapter": document["ref"],
            "commit": document["commit"],
            "tag": document["tag"],
            "url": document["url"],
            "sent": size(document["transferred_bytes"]),
        },
    )
