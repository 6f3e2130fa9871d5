"""`lftreg list`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from lftreg.cli.arguments import parse_tags
from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.found import ALL_REMOVED, finding_options, show_page, words_of


@define(
    "list",
    examples=(
        "lftreg list",
        "lftreg list --all --name support",
        "lftreg list --tag team=desk --json",
        "lftreg list --where 'bleu > 30' --sort -bleu",
    ),
)
@click.option("--all", "all_versions", is_flag=True, help="Every version, not only the newest.")
@click.option("--name", metavar="NAME", help="Only the adapter of this name.")
@click.option("--domain", metavar="DOMAIN", help="Only those trained on this domain.")
@click.option("--base", metavar="BASE", help="Only those of this base.")
@click.option(
    "--kind",
    type=click.Choice(["trained", "composed", "imported"]),
    metavar="KIND",
    help="Only trained, composed or imported ones.",
)
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only with this tag; repeatable.")
@click.option("--removed", is_flag=True, help="What rm removed and restore brings back.")
@finding_options(None)
def command(
    context: Context,
    all_versions: bool,
    name: str | None,
    domain: str | None,
    base: str | None,
    kind: str | None,
    tags: Sequence[str],
    removed: bool,
    where: str | None,
    sort: str | None,
    limit: int | None,
    after: str | None,
) -> None:
    """List adapters, the newest first.

    Of each adapter its newest version is asked, with --all every one. The fields of --where and --sort are those of
    `lftreg search`.
    """
    plain = {"name": name, "domain": domain, "base": base, "kind": kind}
    asked: dict[str, Any] = plain | {"tags": parse_tags(tags), "removed": removed, "where": where}
    asked |= {"all_versions": all_versions}
    options = {
        "all": all_versions,
        **plain,
        "tag": tuple(tags),
        "removed": removed,
        "where": where,
        "sort": sort,
    }
    found = show_page(
        context,
        lambda most: context.registry.list(**asked, sort=sort, limit=most, after=after),
        limit,
        ["lftreg", "list", *words_of(options | {"limit": limit})],
        where,
        sort,
    )
    if not found:
        _explain_nothing(context, asked, after)


def _explain_nothing(context: Context, asked: dict[str, Any], after: str | None) -> None:
    """An empty list says why it is empty, and what to do about it."""
    out = context.out
    filtered = any(asked[key] for key in ("name", "domain", "base", "kind", "tags", "where"))
    if after is not None:
        out.note(f"nothing that matches stands behind {after}")
    elif asked["removed"]:
        out.note("nothing was removed" if not filtered else "nothing that was removed matches")
    elif not filtered and context.registry.list(removed=True, limit=1):
        out.note(ALL_REMOVED)
    elif not filtered:
        context.registry.check_files()  # or it is the database that is missing, and not the adapters
        out.note(f"no adapters yet in {context.settings.shown()['database_url'] or context.home.root}")
        out.note("next: lftreg train customer_support")
    elif not asked["all_versions"] and context.registry.list(**asked | {"all_versions": True}, limit=1):
        out.note("no newest version matches, but an older one does: --all lists it")
    else:
        out.note("no adapter matches")
        out.next("lftreg list")
