"""The language of --where and --sort, against the same read in Python over the same versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lftreg.errors import NotFound, UsageError
from lftreg.paths import Home
from lftreg.registry import Registry, finding
from lftreg.registry.where import DEEPEST, LONGEST, MOST
from lftreg.registry.words import split
from tests.postgres import Postgres

from .conftest import BOTH
from .library import Known, fill, known

TEXTS = ("name", "kind", "domain", "base", "method", "alias", "tag.team", "tag.stage", "tag.a b", "tag.none")
NUMBERS = (
    "version", "rank", "alpha", "parameters", "bytes", "bleu", "faq/bleu", "my suite.jsonl/exact_match",
    "exact_match", "loss.validation_after", "loss.train_first",
)  # fmt: skip
SAID = (
    "care",
    "desk",
    "starter",
    "org/Large-7B",
    "support",
    "prod",
    "ties",
    "Desk 100%",
    "100%",
    "_",
    "",
    "ü",
    "9",
    "a' OR 1=1",
)
TYPED = ("", "", "care", "refund calm", "STARTER", "b", "exact t", "desk-tone", "7b", "number 12", "nothing")
DAYS = ("2026-01-01", "2026-01-05", "2026-01-10", "2026-02-01")
SORTED = (
    "name",
    "version",
    "kind",
    "domain",
    "base",
    "rank",
    "method",
    "created",
    "tag.team",
    "bytes",
    *NUMBERS[5:],
)
Tree = tuple[Any, ...]
Library = tuple[Registry, list[Known]]


@pytest.fixture(scope="module", params=BOTH)
def kept(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Library:
    folder = tmp_path_factory.mktemp("library")
    url = None
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.ready())
    registry = Registry(Home(folder / "home"), url)
    fill(registry, folder)
    return registry, known(registry)


@pytest.fixture(params=[finding.FEW, 2], ids=["few", "many"], scope="module")
def library(kept: Library, request: pytest.FixtureRequest) -> Iterator[Library]:
    """The same versions, once as the few and once as the many that they are where two are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finding, "FEW", request.param)
        yield kept


def comparisons() -> st.SearchStrategy[Tree]:
    number = st.integers(-2, 40) | st.floats(-5, 60).map(lambda x: round(x, 2))
    return st.one_of(
        st.tuples(
            st.just("test"), st.sampled_from(TEXTS), st.sampled_from(("=", "!=", "~")), st.sampled_from(SAID)
        ),
        st.tuples(
            st.just("in"), st.sampled_from(TEXTS), st.lists(st.sampled_from(SAID), min_size=1, max_size=3)
        ),
        st.tuples(
            st.just("test"),
            st.sampled_from(NUMBERS),
            st.sampled_from(("=", "!=", "<", "<=", ">", ">=")),
            number,
        ),
        st.tuples(st.just("in"), st.sampled_from(NUMBERS), st.lists(number, min_size=1, max_size=3)),
        st.tuples(st.just("day"), st.sampled_from(("=", "!=", "<", "<=", ">", ">=")), st.sampled_from(DAYS)),
        st.tuples(st.just("has"), st.sampled_from((*TEXTS, *NUMBERS))),
    )


TREES = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(("and", "or")), inner, inner, inner),
        st.tuples(st.sampled_from(("and", "or")), inner, inner),
    ),
    max_leaves=8,
)


def quoted(value: object) -> str:
    said = str(value)
    escaped = said.replace("\\", "\\\\").replace('"', '\\"')
    return (
        said
        if said.replace(".", "").replace("/", "").isalnum() and said not in ("in", "or")
        else f'"{escaped}"'
    )


def written(tree: Tree) -> str:
    match tree:
        case ("test", field, operator, value):
            return f"{quoted(field)}{operator} {quoted(value)}"
        case ("in", field, values):
            return f"{quoted(field)} IN ({', '.join(map(quoted, values))})"
        case ("day", operator, day):
            return f"created {operator} {day}"
        case ("has", field):
            return quoted(field)
        case ("not", inner):
            return f"not ({written(inner)})"
        case (word, *parts):
            return "(" + f" {word} ".join(map(written, parts)) + ")"
    raise AssertionError(tree)


def compared(one: Any, operator: str, other: Any) -> bool:
    return bool(
        {
            "=": lambda: one == other, "<": lambda: one < other, "<=": lambda: one <= other,
            ">": lambda: one > other, ">=": lambda: one >= other, "~": lambda: other.lower() in one.lower(),
        }[operator]()
    )  # fmt: skip


def holds(tree: Tree, of: Known) -> bool:
    match tree:
        case ("test", field, "!=", value):
            return not holds(("test", field, "=", value), of)
        case ("test", field, operator, value):
            return any(compared(one, operator, value) for one in of.values(field))
        case ("in", field, values):
            return any(holds(("test", field, "=", value), of) for value in values)
        case ("day", "!=", day):
            return not holds(("day", "=", day), of)
        case ("day", operator, day):
            return compared(of.version.created_at.strftime("%Y-%m-%d"), operator, day)
        case ("has", field):
            return bool(of.values(field))
        case ("not", inner):
            return not holds(inner, of)
        case ("and", *parts):
            return all(holds(part, of) for part in parts)
        case (_, *parts):
            return any(holds(part, of) for part in parts)
    raise AssertionError(tree)


def says(text: str, of: Known) -> bool:
    return all(any(word.startswith(begun) for word in of.words) for begun in split(text))


def in_order(kept: Sequence[Known], sort: Sequence[tuple[str, bool]]) -> list[str]:
    """Refs as they should stand: what has no value last, equals newest first, which `kept` is already."""

    def compare(one: Known, other: Known) -> int:
        for field, down in sort:
            a, b = one.values(field), other.values(field)
            if a != b:
                if not a or not b:
                    return 1 if not a else -1
                return (1 if a < b else -1) if down else (1 if a > b else -1)
        return 0

    return [one.version.ref for one in sorted(kept, key=cmp_to_key(compare))]


@settings(max_examples=100, deadline=None)
@given(tree=TREES)
def test_an_expression_finds_what_it_says(library: Library, tree: Tree) -> None:
    registry, kept = library
    found = [v.ref for v in registry.list(where=written(tree), all_versions=True)]
    assert found == [one.version.ref for one in kept if holds(tree, one)], written(tree)


@settings(max_examples=60, deadline=None)
@given(
    tree=TREES,
    sort=st.lists(st.tuples(st.sampled_from(SORTED), st.booleans()), max_size=3),
    text=st.sampled_from(TYPED),
    size=st.integers(1, 5),
)
def test_pages_in_any_order_are_the_whole(
    library: Library, tree: Tree, sort: list[tuple[str, bool]], text: str, size: int
) -> None:
    registry, kept = library
    wanted = in_order([one for one in kept if holds(tree, one) and says(text, one)], sort)
    asked: dict[str, Any] = {"where": written(tree)}
    if sort:
        asked["sort"] = ",".join("-" * down + field for field, down in sort)
    assert [v.ref for v in registry.search(text, None, **asked)] == wanted
    pages: list[str] = []
    while page := registry.search(text, size, after=pages[-1] if pages else None, **asked):
        assert len(page) <= size
        pages += [v.ref for v in page]
    assert pages == wanted


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60) | st.text("ab ()<>=!~,'\"\\-.innotord019/\n", max_size=60))
@example("\0")
@example("\ud800 = 1")
@example("rank = 1e999")
@example("rank = 1" + "0" * 400)
@example("created < 999999y")
@example("created = 9999-12-31")
@example("created = 0001-01-01T00:00:00+14:00")
@example("not " * 900 + "alias")
@example("name ~ " + "%" * 3900)
@example("name ~ '\\\\%_'")
def test_no_text_does_anything_else_than_find_or_be_refused(library: Library, text: str) -> None:
    registry, _ = library
    for asked in ({"where": text}, {"sort": text}, {"name": text}, {"tags": {text: text}}, {"base": text}):
        try:
            registry.list(**asked)
        except UsageError as error:
            text_is_none = error.code == "invalid-text" and {"\0", "\ud800"} & set(text)
            assert text_is_none or error.code in ("invalid-where", "invalid-sort", "unknown-field"), (
                asked,
                error,
            )
    registry.search(text)
    registry.near(text)


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("", "the condition is empty", None),
        ("bleu >", "a value is expected here", 6),
        ("bleu > > 3", "a value is expected here", 7),
        ("bleu > 3 base = x", "`and`, `or` or the end is expected here", 9),
        ("(bleu > 3", "`and`, `or` or `)` is expected here", 9),
        ("bleu > 3)", "this parenthesis closes none", 8),
        ("name = 'x", "this quote is not closed", 7),
        ("bleu ! 3", "`!=` or `not` is expected here", 5),
        ("domain in support", "`(` is expected here", 10),
        ("domain in (support faq)", "`,` or `)` is expected here", 19),
        ("and bleu > 3", "a field is expected here", 0),
        ("domain = and", "a value is expected here", 9),
        ("bleu 30", "an operator is expected here", 5),
        ("bleu > many", "bleu is compared with a number", 7),
        ("bleu ~ 3", "bleu is no text", 0),
        ("name > b", "name is text", 0),
        ("bytes > 3 MB", "`and`, `or` or the end is expected here", 10),
        ("bytes > 3q", "bytes is compared with a size such as 500000 or 10MB", 8),
        ("created > lately", "created is compared with a date", 10),
        ("blue > 3", "unknown field 'blue'. Did you mean 'bleu'?", 0),
        ("rank = 4 and fqa/bleu > 3", "unknown field 'fqa/bleu'. Did you mean 'faq/bleu'?", 13),
        ("tag. = 3", "unknown field 'tag.'", 0),
        ("(" * (DEEPEST + 1) + "alias" + ")" * (DEEPEST + 1), "deep here", DEEPEST),
        (" or ".join(["alias"] * (MOST + 1)), "comparisons", 9 * MOST),
        ("a" * (LONGEST + 1), "characters", None),
    ],
)
def test_what_cannot_be_read_is_shown_with_its_place(
    library: Library, text: str, message: str, at: int | None
) -> None:
    with pytest.raises(UsageError) as caught:
        library[0].list(where=text)
    assert message in caught.value.message
    if at is not None:
        _, shown, caret = caught.value.message.split("\n")
        assert caret.index("^") < 40
        rest = shown[caret.index("^") :].removesuffix("...")
        assert text[at:].startswith(rest)


@pytest.mark.parametrize(
    ("text", "refs"),
    [
        ("base = " + "f" * 64 + " and name = care and version < 3", ["care@1"]),
        ("base = sha256:" + "e" * 64 + " and name = sales", ["sales@1", "sales@2"]),
        ("digest ~ zz", []),
        ("bytes < 1kB and bytes > 0.5 and name = twin", ["twin@1"]),
        ("parameters < 0.0001M and name = twin", ["twin@1"]),
        ("created < 1min and created > 50y and name = twin", ["twin@1"]),
        ("created >= 2026-01-12T11:00:00Z and created <= 2026-01-12T12:00:00+01:00", ["twin@1"]),
        ("NAME = twin And Not Alias", ["twin@1"]),
        ('"tag.a b" ~ "Ü_"', ["care@3", "care@4", "twin@1"]),
        (
            "not not not name = care and not name in (mix, sales, twin, legal_1.0)",
            ["desk-tone@2", "desk-tone@1"],
        ),
    ],
)
def test_forms_of_values(library: Library, text: str, refs: list[str]) -> None:
    found = [v.ref for v in library[0].list(where=text, all_versions=True)]
    assert sorted(found) == sorted(refs)


@pytest.mark.parametrize(
    ("sort", "message"),
    [
        ("", "names nothing"),
        ("-", "names nothing"),
        ("bleu,,name", "names nothing"),
        ("nmae", "Did you mean 'name'?"),
        ("alias", "several of 'alias'"),
        (",".join(["name"] * 9), "more than 8"),
    ],
)
def test_what_is_no_order(library: Library, sort: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        library[0].list(sort=sort)


def test_a_page_behind_what_is_not_there(library: Library) -> None:
    with pytest.raises(NotFound):
        library[0].list(after="care@99")


def test_an_empty_home_refuses_what_cannot_be_read(registry: Registry) -> None:
    assert registry.list(where="rank > 30", sort="-rank") == []
    with pytest.raises(UsageError):
        registry.list(where="bleu >")
    assert not registry.home.root.exists()


def test_ages_are_moments(library: Library) -> None:
    days = (datetime.now(UTC) - datetime(2026, 1, 5, tzinfo=UTC)).days
    registry, kept = library
    found = registry.list(where=f"created > {days}d", all_versions=True)
    assert 0 < len(found) < len(kept)
