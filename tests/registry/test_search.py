"""Searching by words, paging, what is measured, and that indexes serve all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from lftreg.paths import Home
from lftreg.registry import Draft, Registry, finding
from lftreg.registry import plans as written
from lftreg.registry.rows import SIZES, fetch_ids
from tests.postgres import Postgres

from .conftest import BOTH
from .library import fill
from .test_scores import score

Make = Callable[..., Draft]


@pytest.fixture(scope="module", params=BOTH)
def kept(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Registry:
    folder = tmp_path_factory.mktemp("library")
    url = None
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.ready())
    registry = Registry(Home(folder / "home"), url)
    fill(registry, folder)
    return registry


def refs(registry: Registry, text: str) -> list[str]:
    return [version.ref for version in registry.search(text)]


def test_a_change_is_found_at_once(registry: Registry, draft: Make) -> None:
    made = registry.publish(draft("support", attachments={"README.md": "Für Ärger mit Rückgaben".encode()}))
    assert refs(registry, "rückg ARGER") == ["support@1"]
    assert refs(registry, "gold") == refs(registry, "prod") == refs(registry, "rouge") == []
    registry.tag("support", {"stage": "gold"})
    registry.alias("support", "prod")
    registry.scores.add([(score(made.digest), [])])
    assert refs(registry, "gold prod rouge_l desk") == ["support@1"]
    registry.tag("support", {"stage": None})
    registry.unalias("support", "prod")
    assert refs(registry, "gold") == refs(registry, "prod") == []
    registry.remove("support")
    assert refs(registry, "support") == []
    registry.restore("support")
    assert refs(registry, "support") == ["support@1"]


def test_one_version_an_adapter_where_that_is_wanted(kept: Registry) -> None:
    every = [v.ref for v in kept.search("care", where="not tag.team")]
    newest = [v.ref for v in kept.search("care", where="not tag.team", all_versions=False)]
    assert every == ["care@5", "care@4", "care@3", "care@1"]
    assert newest == ["care@5"]


def test_aliases_stand_in_every_listing(kept: Registry) -> None:
    for found in (
        kept.search("care prod"),
        kept.list(where="alias = best", all_versions=True),
        kept.list(where="alias", sort="-bleu,name", all_versions=True, name="care", limit=2),
    ):
        assert ("best", "prod") in [version.aliases for version in found]

    assert kept.near("refnuds in a clam tone") == {"refnuds": "refunds", "clam": "calm"}
    assert kept.near("xylophone") == {"xylophone": None}
    assert kept.near("care %") == {}


def test_what_was_measured_is_told_by_the_names_that_were_asked(kept: Registry) -> None:
    versions = kept.search(
        "care", where="bleu >= 0 and not rank = 3", sort="-faq/bleu,loss.validation_after,name"
    )
    names, figures = kept.measured(
        versions, "bleu >= 0 and not rank = 3", "-faq/bleu,loss.validation_after,name"
    )
    assert names == ["bleu", "faq/bleu", "loss.validation_after"]
    told = [one.get("faq/bleu") for one in figures]
    assert told == sorted(told, key=lambda value: -1.0 if value is None else value, reverse=True)
    assert all(one["bleu"] >= 0 for one in figures)
    assert figures[0]["loss.validation_after"] == versions[0].run.losses["validation_after"]  # type: ignore[union-attr]


def test_measures_are_of_the_content_whoever_holds_it(registry: Registry, draft: Make) -> None:
    first = registry.publish(draft("first", seed=1))
    registry.scores.add([(score(first.digest), [])])
    registry.publish(draft("second", seed=1))
    assert [v.name for v in registry.list(where="rouge_l = 0.5")] == ["second", "first"]
    registry.scores.add([(score(first.digest, suite="other", metrics={"rouge_l": {"value": 0.25}}), [])])
    assert registry.list(where="rouge_l = 0.5") == []
    assert [v.name for v in registry.list(where="rouge_l = 0.25 and desk/rouge_l = 0.5")] == [
        "second",
        "first",
    ]
    assert refs(registry, "other") == ["second@1", "first@1"]


def test_made_anew_it_is_the_same(kept: Registry) -> None:
    from lftreg.registry import derived

    def everything() -> list[object]:
        with kept._reading() as connection:
            assert connection is not None
            return [
                connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2, 3").all()
                for table in (
                    "measures",
                    "(SELECT rowid, said, '' FROM words)",
                    "(SELECT word, '', '' FROM terms)",
                )
            ]

    before = everything()
    with kept._writing() as connection:
        derived.rebuild(connection)
    assert everything() == before


@pytest.mark.parametrize("offset", [0, 2, 20])
def test_a_page_by_its_place_counts_all(kept: Registry, offset: int) -> None:
    base = kept.get("care@1").base.fingerprint
    for text, name, every in (
        ("", None, False),
        ("", None, True),
        ("tone", None, True),
        ("", "care", True),
        ("%", None, True),
    ):
        wanted = [v.ref for v in kept.search(text, None, base=base, name=name, all_versions=every)]
        for seen in (None, lambda name: True):
            total, page = kept.page(
                base, text, name=name, all_versions=every, offset=offset, limit=3, seen=seen
            )
            assert (total, [v.ref for v in page]) == (len(wanted), wanted[offset : offset + 3])
        total, page = kept.page(base, text, name=name, all_versions=every, seen=lambda name: name != "care")
        assert (total, [v.ref for v in page]) == (len(page), [r for r in wanted if not r.startswith("care@")])


def test_other_values_are_asked_by_the_same_statements(kept: Registry) -> None:
    """A question is written once for all of its shape: a value that stood in its SQL would answer for another."""

    def ask(tag: str, least: float, domain: str, after: str, limit: int) -> list[str]:
        where = f"bleu >= {least} and domain in ({domain}, {domain}x) or name ~ {tag}"
        filters: dict[str, Any] = {
            "tags": {"team": tag},
            "where": where,
            "sort": "-bleu,name",
            "after": after,
        }
        return [v.ref for v in kept.search("", limit, **filters)]

    ask("care", 1, "faq", "care@4", 3)  # a version that has what is sorted by, as those below
    shapes = written.plan.cache_info().misses, written.ids.cache_info().misses
    for values in (("care", 3.5, "support", "care@2", 9), ("Desk", 0, "faq", "care@3", 1)):
        ask(*values)
    assert (written.plan.cache_info().misses, written.ids.cache_info().misses) == shapes
    assert [v.ref for v in kept.search("", where="domain = faq and rank > 1")] != [
        v.ref for v in kept.search("", where="domain = support and rank > 1")
    ]


def test_a_name_of_a_parameter_is_nobody_elses(kept: Registry) -> None:
    """SQLAlchemy numbers parameters by the columns they are compared with, and several are called `key` and `value`."""
    team: dict[str, Any] = {"tags": {"team": "care", "stage": "gold"}}
    for sort in ("tag.team,tag.stage,name", "-bleu,tag.team", "name,tag.team"):
        for after in (None, "care@2"):
            for where in ("tag.team", "bleu > 1 and faq/bleu > 1", "id1 = 1 or name = care"):
                asked: dict[str, Any] = {
                    "where": where.replace("id1", "tag.id1"),
                    "sort": sort,
                    "after": after,
                }
                assert kept.search("", None, **asked, **team) == []
                kept.search("care", None, **asked)


@pytest.mark.parametrize("number", [0, *SIZES, 7, max(SIZES) + 1, 600])
def test_versions_by_their_ids_are_those_however_many(kept: Registry, number: int) -> None:
    ids = [14, 3, 999, 1, 2, *range(1000, 2000)][:number]
    with kept._reading() as connection:
        assert connection is not None
        found = fetch_ids(connection, ids)
    names = {14: "gone", 3: "desk-tone", 1: "care", 2: "care"}
    assert [version.name for version in found] == [names[id_] for id_ in ids if id_ in names]
    if number > 1:
        assert found[1].tags == {"team": "Desk 100%", "stage": "gold"}


@pytest.fixture
def plans(
    kept: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[], object]], list[str]]]:
    """How SQLite answers what a call asks, where two versions are few."""
    monkeypatch.setattr(finding, "FEW", 2)

    def read(call: Callable[[], object]) -> list[str]:
        found: list[str] = []

        def explain(connection: object, cursor: object, statement: str, values: object, *_: object) -> None:
            if statement.lstrip().startswith("SELECT"):
                raw = connection.connection.dbapi_connection  # type: ignore[attr-defined]
                found.extend(row[3] for row in raw.execute("EXPLAIN QUERY PLAN " + statement, values))

        event.listen(kept._engine, "before_cursor_execute", explain)
        try:
            call()
        finally:
            event.remove(kept._engine, "before_cursor_execute", explain)
        return found

    yield read


@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "SCAN versions"),  # from its end, until a page is full
        ({"after": "care@4"}, "SEARCH versions USING INTEGER PRIMARY KEY (rowid<?)"),
        ({"base": "starter"}, "SEARCH versions USING INDEX ix_versions_base_id (base_id=?)"),
        ({"base": "starter", "after": "care@4"}, "INDEX ix_versions_base_id (base_id=? AND rowid<?)"),
        ({"base": "f" * 64}, "SEARCH versions USING INDEX ix_versions_base (base=?)"),
        ({"domain": "faq"}, "SEARCH versions USING INDEX ix_versions_domain (domain=?)"),
        ({"where": "domain = faq and bleu > 3"}, "SEARCH versions USING INDEX ix_versions_domain (domain=?)"),
        (
            {"where": "domain = faq and rank > 1", "base": "starter"},
            "ix_versions_base_id_domain (base_id=? AND domain=?)",
        ),
        ({"tags": {"team": "care"}}, "SEARCH tags USING COVERING INDEX ix_tags_key (key=? AND value=?)"),
        ({"where": "alias = prod"}, "SEARCH aliases USING COVERING INDEX ix_aliases_alias (alias=?)"),
        ({"text": "tone"}, "SCAN words VIRTUAL TABLE INDEX"),
        ({"sort": "-bleu"}, "SEARCH measures USING COVERING INDEX ix_measures_metric (metric=? AND suite=?)"),
        (
            {"sort": "faq/bleu", "where": "bleu > 3", "base": "starter"},
            "ix_measures_metric (metric=? AND suite=?)",
        ),
        (
            {"sort": "-bleu", "after": "care@4"},
            "ix_measures_metric (metric=? AND suite=? AND (value,version_id)<(?,?))",
        ),
        ({"sort": "-bleu", "where": "bleu < 20"}, "ix_measures_metric (metric=? AND suite=? AND value<?)"),
        ({"sort": "created", "base": "starter"}, "USING INDEX ix_versions_created_at"),
        ({"sort": "name"}, "SCAN adapters USING COVERING INDEX sqlite_autoindex_adapters_1"),
    ],
    ids=str,
)
def test_indexes_serve_what_is_asked_for(
    kept: Registry,
    plans: Callable[[Callable[[], object]], list[str]],
    asked: dict[str, str],
    index: str,
) -> None:
    found = plans(lambda: kept.search(**{"text": "", **asked}, limit=1))  # type: ignore[arg-type]
    assert any(index in line for line in found), found
    if index != "SCAN versions":
        assert "SCAN versions" not in found
    sorts = [line for line in found if "TEMP B-TREE" in line]
    if asked.get("sort") in ("name", "created", "faq/bleu"):  # only what is equal is put in order
        assert all("RIGHT PART" in line or "LAST" in line for line in sorts), found
    else:
        assert not sorts, found
    assert not [
        line
        for line in found
        if line.startswith("SCAN") and line.split()[1] in ("tags", "aliases", "measures")
    ]
