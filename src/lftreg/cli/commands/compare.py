"""`lftreg compare`"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lftreg.cli import compare_view
from lftreg.cli.arguments import COUNT
from lftreg.cli.command import define
from lftreg.cli.complete import DATA, REF
from lftreg.cli.context import Context
from lftreg.cli.options import MAP, QUANTIZE, TRUST
from lftreg.cli.own_data import read_own
from lftreg.errors import Incompatible, LftregError, NotFound, StorageError, UsageError

if TYPE_CHECKING:
    from lftreg.evaluation.compare import Questions
    from lftreg.registry import Version


@define(
    "compare",
    examples=(
        "lftreg compare support --data ./inbox.jsonl --docs ./handbook",
        "lftreg compare --data customer_support --docs ./handbook --limit 100 --metric rouge_l",
        "lftreg compare support@prod --data ./inbox.jsonl --docs ./handbook --output comparison.json",
    ),
)
@click.argument("ref", type=REF, required=False)
@click.option("--data", type=DATA, required=True, metavar="FILE|DOMAIN", help="Whose test split is asked.")
@click.option(
    "--docs",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Your documents: text, Markdown, reStructuredText or HTML.",
)
@MAP
@click.option(
    "--base", metavar="BASE", help="Who answers: the adapter's base, or else the one in the settings."
)
@click.option(
    "--metric",
    type=click.Choice(["token_f1", "rouge_l"]),
    default="token_f1",
    show_default=True,
    help="What quality is measured by.",
)
@click.option("--limit", type=COUNT, metavar="N", help="Ask so many questions only.")
@click.option(
    "--shots", type=COUNT, default=3, show_default=True, metavar="K", help="Rows of train before a question."
)
@click.option(
    "--top-k", type=COUNT, default=3, show_default=True, metavar="K", help="Passages before a question."
)
@click.option(
    "--max-tokens", type=COUNT, default=128, show_default=True, metavar="N", help="The longest answer."
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Which questions --limit takes, and which are timed.",
)
@QUANTIZE
@TRUST
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write everything as JSON, for `lftreg advise --from-compare FILE`.",
)
def command(
    context: Context,
    ref: str | None,
    data: str,
    docs: Path,
    mapping: Sequence[str],
    base: str | None,
    metric: str,
    limit: int | None,
    shots: int,
    top_k: int,
    max_tokens: int,
    seed: int,
    quantize: str | None,
    trust_remote_code: bool,
    output: Path | None,
) -> None:
    """Measure fine-tuning against retrieval on your own questions.

    The base, the base behind examples, the adapter, the base and the adapter behind passages that a search
    (BM25) finds in your documents, and the base behind the passage that holds the answer: all are asked the
    same held-out questions. Of each you get quality with its 95% interval, the paired difference to the base,
    time to the first token, tokens, and money.

    Without REF it is the newest adapter that is named like the data.
    """
    from lftreg.evaluation.compare import Settings, compare
    from lftreg.evaluation.retrieval import read_documents

    if output is not None:
        _check_output(output)
    documents = read_documents(docs)  # first: a folder that is not there costs nobody a minute
    settings = Settings(
        metric,
        shots,
        top_k,
        max_tokens,
        limit,
        seed,
        context.settings.price_per_hour,
        quantize,
        trust_remote_code,
    )
    is_file = _names_file(context, data)
    version = _version(context, ref, data, is_file, base)
    questions = _questions(context, data, is_file, mapping, version)
    answering = base or (version.base.id if version else context.settings.base)
    with context.out.progress("comparing") as progress:
        found = compare(
            questions, documents, answering, version, context.registry, context.host, settings,
            on_progress=lambda what, done, total: progress.update(done, total, what),
        )  # fmt: skip
    document = compare_view.as_document(found)
    if output is not None:
        _write(output, document)
    context.out.result(document, partial(compare_view.render, found))
    for note in found.notes:
        context.out.note(note)
    if output is not None:
        context.out.note(f"wrote {output}")
        context.out.next(f"lftreg advise --from-compare {output}")


def _names_file(context: Context, data: str) -> bool:
    """Whether --data names rows. Raises NotFound for a word that is neither that nor a domain."""
    from lftreg.data.formats import READERS
    from lftreg.data.wanted import parse_data

    domains = context.host.domains()
    if data in domains:
        return False
    path = parse_data(data).path
    if path is None or path.exists() or "/" in data or path.suffix.lower() in READERS:
        return True
    raise NotFound(
        f"{data} is neither a domain nor a file",
        f"domains: {', '.join(domains)}; or the file that you trained on",
        code="unknown-data",
    )


def _version(context: Context, ref: str | None, data: str, is_file: bool, base: str | None) -> Version | None:
    """The version that is compared: REF, or the newest that is named like the data and fits the base."""
    from lftreg.data import name_of

    if ref is not None:
        version = context.registry.get(ref)
        if base is not None and _fingerprint(context, base) != version.base.fingerprint:
            told = f"{version.ref} is an adapter of {version.base.id}, not of {base}"
            raise Incompatible(told, "leave --base out: it is the adapter's", code="different-bases")
        return version
    name = name_of(data) if is_file else data
    found = next(iter(context.registry.list(name=name)), None)
    if found is None:
        return None
    if base is not None and _fingerprint(context, base) != found.base.fingerprint:
        context.out.note(f"{found.ref} is an adapter of {found.base.id}, not of {base}, and is left out")
        return None
    context.out.note(f"the adapter is {found.ref}, the newest that is named like the data")
    return found


def _fingerprint(context: Context, base: str) -> str:
    from lftreg.models.base import find_base

    return find_base(base, context.registry).record.fingerprint


def _questions(
    context: Context, data: str, is_file: bool, mapping: Sequence[str], version: Version | None
) -> Questions:
    from lftreg.evaluation.compare import Questions
    from lftreg.evaluation.suite import make_suite

    if is_file:
        own = read_own(context, [data], mapping, version.name if version else None)
        train, test = own.examples["train"], own.examples["test"]
    elif mapping:
        raise UsageError("--map tells the columns of a file", f"leave it out, {data} is a domain")
    else:
        domain = context.host.domain(data)
        train, test = tuple(domain.build("train", 0)), tuple(domain.build("test", 0))
    return Questions(data, make_suite(data, test).items, train)


def _check_output(path: Path) -> None:
    """Before hours of work it is known whether the result can be kept."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "--output takes the file to write")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", "make it, or write elsewhere", code="unknown-folder")
    if not os.access(folder, os.W_OK):
        raise StorageError(f"{folder} cannot be written", "check its permissions, or write elsewhere")
    if path.exists():
        _check_replaced(path)


def _check_replaced(path: Path) -> None:
    """A comparison is made again and again; any other file is somebody's own."""
    from lftreg.advice.measured import read_comparison

    try:
        read_comparison(path)
    except LftregError as error:
        told = f"{path} is there already, and is no comparison"
        raise UsageError(
            told, "give a file that is not; an earlier comparison is replaced", code="exists"
        ) from error


def _write(path: Path, document: object) -> None:
    """All of it or nothing: whoever reads the file never finds half a document."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
