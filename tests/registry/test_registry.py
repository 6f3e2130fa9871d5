from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from lftreg.errors import CheckFailed, InvalidData, InvalidName, InvalidReference, NewerDatabase, NotFound
from lftreg.registry import CONFIG, WEIGHTS, Draft, Parent, Recipe, Registry, Run, parse_ref, parse_weighted
from lftreg.registry import engine as db
from lftreg.registry import schema as t
from lftreg.registry.schema import HEAD
from tests.registry.conftest import ON_SQLITE

Make = Callable[..., Draft]
RUN = Run(3, "d" * 64, {"rank": 4}, {"torch": "2"}, {"train_first": 2.0}, {"train": 9}, 100, 1.5)


def test_an_empty_home_answers_and_stays_empty(fresh: Registry, home: Path) -> None:
    registry = fresh
    assert registry.list() == registry.search("x") == registry.bases() == registry.verify() == []
    assert registry.schema() == (None, HEAD)
    with pytest.raises(NotFound, match="unknown adapter 'x'"):
        registry.get("x")
    assert not home.exists()


def test_a_version_comes_back_with_everything_that_made_it(
    registry: Registry, home: Path, draft: Make
) -> None:
    made = registry.publish(
        draft(domain="support", run=RUN, tags={"team": "care"}, attachments={"loss.png": b"picture"})
    )
    again = Registry().get("support")
    assert again == made
    assert (made.ref, made.rank, made.alpha, made.target_modules) == ("support@1", 4, 8.0, ("q_proj",))
    assert (made.run, made.tags, made.trainable_parameters) == (RUN, {"team": "care"}, 64)
    assert registry.read(made, "loss.png") == b"picture"
    assert registry.config(made)["lora_alpha"] == 8


def test_versions_are_numbered_and_numbers_never_come_back(registry: Registry, draft: Make) -> None:
    assert [registry.publish(draft(seed=n)).number for n in range(3)] == [1, 2, 3]
    registry.remove("support@3")
    assert registry.get("support").number == 2
    assert registry.publish(draft(seed=9)).number == 4


def test_equal_content_is_stored_once_under_any_name(registry: Registry, home: Path, draft: Make) -> None:
    one, two = registry.publish(draft("one")), registry.publish(draft("two"))
    assert one.digest == two.digest
    assert len(list((home / "blobs").glob("*/*"))) == 2


def test_the_digest_is_of_weights_and_configuration_only(registry: Registry, draft: Make) -> None:
    plain = registry.publish(draft())
    config = dict(draft().config)
    same = [
        draft(attachments={"a": b"1"}, run=RUN, tags={"x": "y"}),
        draft(
            config=config
            | {"base_model_name_or_path": "/elsewhere", "peft_version": "9", "inference_mode": True}
        ),
        draft(config=dict(reversed(config.items())) | {"use_dora": False, "rank_pattern": {}}),
    ]
    other = [
        draft(config=config | {"lora_alpha": 9}),
        draft(seed=1),
        draft(config=config | {"use_dora": True}),
    ]
    assert {registry.publish(d).digest for d in same} == {plain.digest}
    assert plain.digest not in {registry.publish(d).digest for d in other}


def test_refs_find_versions_every_way(registry: Registry, draft: Make) -> None:
    first, second = registry.publish(draft(seed=1)), registry.publish(draft(seed=2))
    registry.alias("support@1", "prod")
    assert registry.get("support") == second
    assert registry.get("support@1").digest == registry.get("support@prod").digest == first.digest
    assert registry.get(f"support@sha256:{first.digest[:12]}").number == 1


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("suport", "unknown adapter 'suport'. Did you mean 'support'?"),
        ("support@7", "no version support@7"),
        ("support@prd", "has no alias 'prd'. Did you mean 'prod'?"),
        ("support@sha256:00000000", "no version"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(
    registry: Registry, draft: Make, ref: str, message: str
) -> None:
    registry.publish(draft())
    registry.alias("support", "prod")
    with pytest.raises(NotFound) as error:
        registry.get(ref)
    assert message in error.value.message


def test_an_alias_of_what_is_in_the_bin_says_so(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    registry.alias("support", "prod")
    registry.remove("support@1")
    with pytest.raises(NotFound, match="support@prod is support@1, which is removed") as refused:
        registry.get("support@prod")
    assert refused.value.code == "unknown-version"
    registry.restore("support@prod")
    assert registry.get("support@prod").number == 1


@pytest.mark.parametrize(
    ("ref", "message", "hint"),
    [
        ("support@1", "support@1 is removed", "lftreg restore support@1"),
        ("support@sha256:", "is removed", "lftreg restore support@sha256:"),
        ("support", "every version of 'support' is removed", "lftreg restore support"),
        ("support@2", "there is no version support@2", "--removed"),
    ],
)
def test_what_is_in_the_bin_is_told_as_such(
    registry: Registry, draft: Make, ref: str, message: str, hint: str
) -> None:
    version = registry.publish(draft())
    registry.remove("support")
    if ref.endswith(":"):
        ref += version.digest[:12]
    with pytest.raises(NotFound) as refused:
        registry.get(ref)
    assert message in refused.value.message and hint in str(refused.value.hint)
    assert refused.value.code == "unknown-version"


def test_an_alias_that_stays_leaves_no_line(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    registry.alias("support@1", "prod")
    lines = len(registry.log())
    assert registry.alias("support@prod", "prod").aliases == ("prod",)
    assert len(registry.alias_history("support")) == 1 and len(registry.log()) == lines


def test_who_was_there_before_a_newer_schema_writes_no_more(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    engine = db.make_engine(registry.url)
    with db.writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(NewerDatabase, match="9999"):
        registry.tag("support", {"team": "care"})
    assert registry.get("support").tags == {}


@ON_SQLITE
def test_an_adapter_of_more_versions_than_a_question_has_values(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    engine = db.make_engine(registry.url)
    row = ", ".join(c.name for c in t.versions.c if c.name not in ("id", "number"))
    numbers = "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 2300)"
    many = f"{numbers} INSERT INTO versions (number, {row}) SELECT x, {row} FROM n, versions WHERE id = 1"
    with db.writing(engine) as connection:
        connection.exec_driver_sql(many)
    engine.dispose()
    with Registry() as other:
        event.listen(
            other._engine, "connect", lambda c, _: c.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 2100)
        )
        assert len(other.remove("support")) == len(other.restore("support")) == 2300


def test_an_alias_moves_and_its_history_stays(registry: Registry, draft: Make) -> None:
    for seed in (1, 2):
        registry.publish(draft(seed=seed))
    registry.alias("support@1", "prod")
    assert registry.alias("support@2", "prod").aliases == ("prod",)
    assert registry.get("support@1").aliases == ()
    registry.unalias("support", "prod")
    assert [(m.alias, m.number) for m in registry.alias_history("support")] == [
        ("prod", 1),
        ("prod", 2),
        ("prod", None),
    ]


def test_tags_are_set_changed_and_taken_away(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    assert registry.tag("support", {"a": "1", "b": "2"}).tags == {"a": "1", "b": "2"}
    assert registry.tag("support", {"a": "3", "b": None}).tags == {"a": "3"}
    with pytest.raises(InvalidData):
        registry.tag("support", {"": "x"})


def test_listing_filters(registry: Registry, draft: Make) -> None:
    registry.publish(draft("a", seed=1, domain="x"))
    registry.publish(draft("a", seed=2, domain="x"))
    registry.publish(draft("b", seed=3, kind="imported", tags={"team": "care"}))
    assert [v.ref for v in registry.list()] == ["b@1", "a@2"]
    assert [v.ref for v in registry.list(all_versions=True)] == ["b@1", "a@2", "a@1"]
    assert [v.ref for v in registry.list(domain="x")] == ["a@2"]
    assert [v.ref for v in registry.list(kind="imported", tags={"team": "care"})] == ["b@1"]
    assert registry.list(tags={"team": "other"}) == registry.list(base="none") == []
    assert [v.ref for v in registry.list(base="starter", limit=1)] == ["b@1"]


def test_search_takes_the_beginnings_of_words_and_no_operators(registry: Registry, draft: Make) -> None:
    registry.publish(draft("support", seed=1, domain="customer_support", tags={"team": "care 100%"}))
    registry.publish(draft("finance", seed=2))
    registry.alias("finance", "prod")
    for text, found in {
        "supp": ["support@1"],
        "CARE customer": ["support@1"],
        "prod": ["finance@1"],
        "100%": ["support@1"],
        "%": [],
        "_": [],
        "port": [],
        "starter": ["finance@1", "support@1"],
        '" OR 1=1 --': [],
        "support AND": [],
        "name:support*": [],
    }.items():
        assert [v.ref for v in registry.search(text)] == found, text


def test_what_is_removed_comes_back(registry: Registry, draft: Make) -> None:
    for seed in (1, 2):
        registry.publish(draft(seed=seed))
    assert [v.number for v in registry.remove("support")] == [1, 2]
    assert registry.list() == []
    assert [v.ref for v in registry.list(removed=True)] == ["support@2", "support@1"]
    with pytest.raises(NotFound):
        registry.get("support")
    assert [v.number for v in registry.restore("support@1")] == [1]
    assert registry.get("support").number == 1
    with pytest.raises(NotFound, match="nothing of support@1 to restore"):
        registry.restore("support@1")


def test_lineage_goes_down_to_what_was_trained_and_outlives_removal(registry: Registry, draft: Make) -> None:
    a = registry.publish(draft("a", seed=1))
    recipe = Recipe("cat", {}, (Parent("a@1", a.digest, 0.7), Parent("gone@1", "0" * 64, 0.3)), 1e-8)
    mix = registry.publish(draft("mix", seed=2, kind="composed", recipe=recipe))
    whole = Recipe("cat", {}, (Parent("mix@1", mix.digest, 1.0),), 0.0)
    registry.publish(draft("mix", seed=2, kind="composed", recipe=whole))  # equal content, its own parent
    registry.remove("a")
    tree = registry.lineage("mix@2")
    (child,) = tree.parents
    assert (child.ref, [(p.ref, p.weight, p.version is None) for p in child.parents]) == (
        "mix@1",
        [("a@1", 0.7, False), ("gone@1", 0.3, True)],
    )
    assert registry.get("mix@1").recipe == recipe


def test_verify_finds_what_was_changed_or_lost(registry: Registry, draft: Make) -> None:
    good, bad, lost = (
        registry.publish(draft(name, seed=n)) for n, name in enumerate(("good", "bad", "lost"))
    )
    path = registry.file(bad, WEIGHTS)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the same size: only its hash tells
    path.write_bytes(content)
    registry.file(lost, WEIGHTS).unlink()
    assert {(p.ref, p.code) for p in registry.verify()} == {
        ("bad@1", "changed-file"),
        ("lost@1", "missing-file"),
    }
    assert registry.verify(good.ref) == []
    with pytest.raises(CheckFailed, match="of lost@1 is missing"):
        registry.file(lost, WEIGHTS)
    with pytest.raises(CheckFailed, match="of bad@1 is damaged: it was set apart"):
        registry.weights(bad)
    assert registry.weights(good).name == registry.file(good, WEIGHTS).name


@pytest.mark.parametrize("content", ['{"r": 4, "lora_alpha": 800}', "{", ""])
def test_a_changed_configuration_is_never_read(registry: Registry, draft: Make, content: str) -> None:
    version = registry.publish(draft())
    path = registry.file(version, CONFIG)
    path.chmod(0o644)
    path.write_text(content)
    with pytest.raises(CheckFailed, match="support@1") as told:
        registry.config(version)
    assert told.value.code == "changed-file"


@ON_SQLITE
@pytest.mark.parametrize("name", ["../x", "", "A", "-x", "x/y", "a@b", "x\0", "é", "a" * 65, "‮abc", "a b"])
def test_names_that_are_none_are_refused(registry: Registry, home: Path, draft: Make, name: str) -> None:
    with pytest.raises(InvalidName):
        registry.publish(draft(name))
    assert not home.exists()


@ON_SQLITE
@pytest.mark.parametrize("alias", ["3", "a@b", "../x", ""])
def test_aliases_that_could_be_something_else_are_refused(
    registry: Registry, draft: Make, alias: str
) -> None:
    registry.publish(draft())
    with pytest.raises(InvalidName):
        registry.alias("support", alias)


@pytest.mark.parametrize(
    "text",
    [
        "support",
        "support@3",
        "support@prod",
        "support@sha256:0123abcd",
        "hub:org/repo",
        "hub:org/repo@v1",
        "./x",
        "a/b",
    ],
)
def test_refs_print_as_they_were_read(text: str) -> None:
    assert str(parse_ref(text)) == text


@pytest.mark.parametrize(
    "text", ["", "a@", "@b", "a@b@c", "a@0", "a@sha256:xyz", "a@sha256:12", "hub:org", "A", "-x"]
)
def test_what_is_no_ref(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_ref(text)


@pytest.mark.parametrize(
    ("text", "ref", "weight"),
    [
        ("a", "a", 1.0),
        ("a:0.7", "a", 0.7),
        ("a@prod:-2", "a@prod", -2.0),
        ("a@sha256:0123abcd", "a@sha256:0123abcd", 1.0),
        ("a@sha256:01234567:0.5", "a@sha256:01234567", 0.5),
        ("./x:0.5", "./x", 0.5),
    ],
)
def test_a_weight_follows_the_last_colon(text: str, ref: str, weight: float) -> None:
    assert (str(parse_weighted(text)[0]), parse_weighted(text)[1]) == (ref, weight)


@pytest.mark.parametrize("text", ["a:x", "a:", "a:nan", "a:inf", ":0.5", "a:0.5:0.5"])
def test_what_is_no_weight(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_weighted(text)
