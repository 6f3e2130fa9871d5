"""`lftreg search`"""

from __future__ import annotations

import click

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.found import ALL_REMOVED, finding_options, show_page, words_of
from lftreg.cli.sharing import search_hub
from lftreg.errors import UsageError


@define(
    "search",
    examples=(
        "lftreg search refund tone",
        "lftreg search refund --where 'bleu > 30 and base = starter' --sort -bleu",
        "lftreg search --where 'tag.team in (care, desk) and created > 7d' --newest",
        "lftreg search --hub sql",
    ),
)
@click.argument("text", nargs=-1)
@finding_options(50)
@click.option("--newest", is_flag=True, help="Only the newest version of each adapter.")
@click.option(
    "--hub", is_flag=True, help="Search the Hub, or the server of HF_ENDPOINT, in place of this registry."
)
def command(
    context: Context,
    text: tuple[str, ...],
    where: str | None,
    sort: str | None,
    limit: int,
    after: str | None,
    newest: bool,
    hub: bool,
) -> None:
    """Find versions by words, conditions and figures.

    Every word of TEXT must begin a word of the version's name, aliases, tags, domain, base, kind, method or
    model card (README.md), or of a suite or metric it was scored by. Every version is searched.

    \b
    Fields of --where and --sort:
      name version kind domain base rank alpha parameters bytes created method alias digest
      tag.KEY, loss.validation_after, and every metric that was measured: bleu, or SUITE/bleu
    Joined by and, or, not and parentheses; compared by = != < <= > >= ~ (contains) in (A, B).
    Without an operator a field asks whether it is there: 'alias and not tag.team'.
    """
    said = " ".join(text)
    if hub:
        if not said.strip() or where is not None or sort is not None or after is not None or newest:
            raise UsageError("the Hub is searched by words only", "lftreg search --hub TEXT --limit N")
        search_hub(context, said, limit)
        return
    if not said.strip() and where is None and sort is None:
        raise UsageError(
            "nothing to search for", "lftreg search TEXT, or --where CONDITION; `lftreg list` lists all"
        )
    registry = context.registry
    options = words_of(
        {"where": where, "sort": sort, "newest": newest, "limit": limit if limit != 50 else None}
    )
    found = show_page(
        context,
        lambda most: registry.search(
            said, where=where, sort=sort, limit=most, after=after, all_versions=not newest
        ),
        limit,
        ["lftreg", "search", *text, *options],
        where,
        sort,
    )
    if not found:
        context.out.note(_why(context, said, where, after))
        context.out.next("lftreg list --all")


def _why(context: Context, said: str, where: str | None, after: str | None) -> str:
    """Why nothing was found, and what may have been meant."""
    registry = context.registry
    if not registry.list(all_versions=True, limit=1):
        if registry.list(removed=True, limit=1):
            return ALL_REMOVED
        registry.check_files()
        return "there are no adapters yet"
    if after is not None:
        return f"nothing that matches stands behind {after}"
    if not said.strip():
        return "no version meets the condition"
    if not any(map(str.isalnum, said)):
        return f"nothing matches {said!r}: words are of letters and digits"
    unknown = registry.near(said)
    close = {word: near for word, near in unknown.items() if near is not None}
    if close:
        word, near = next(iter(close.items()))
        return f"nothing matches {said!r}: no word begins with {word!r}. Did you mean {near!r}?"
    if unknown:
        return f"nothing matches {said!r}"
    if where is not None and registry.search(said, limit=1):
        return f"{said!r} is found, but nothing of it meets the condition"
    return f"nothing matches {said!r}: every word is known, but no version has all of them"
