"""Any order of acts: the registry does what a few dictionaries do, which are read in a minute.

`LFTREG_MACHINE=2000 pytest tests/registry/test_machine.py` runs as many stories, of other acts each time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lftreg.errors import InvalidName, LftregError, NotFound
from lftreg.paths import Home
from lftreg.registry import Base, Draft, Lineage, Parent, Recipe, Registry, Version
from tests.registry.schemas.make import small_weights

LONG = os.environ.get("LFTREG_MACHINE")
# No word is part of another, or of a word that every version has.
NAMES = ("amber", "birch.2", "clover-x", "dune_y")
ALIASES = ("prod", "canary", "north")
DOMAINS = (None, "gardens", "harbours")
TAGS = {"juice": ("kelp", "lemon", ""), "mango's": ("nut", "%_\\"), "ключ": ("орех", "パン")}
WORDS = ("amber", "birch", "CLOVER", "prod", "canary", "north", "gardens", "juice", "kelp", "lem", "mango", "орех",
         "trained", "composed", "ties", "nowhere", "ключ juice", "amber prod", "birch canary kelp")  # fmt: skip
BASES = (Base("a1" * 32, "vbase", "llama", 1), Base("b2" * 32, "wbase", "qwen2", 2))
names, aliases = st.sampled_from(NAMES), st.sampled_from(ALIASES)
contents = st.integers(0, 3)
refs = st.one_of(
    names,
    st.builds("{}@{}".format, names, st.integers(1, 5)),
    st.builds("{}@{}".format, names, aliases),
    st.tuples(names, contents, st.sampled_from((8, 20, 64))),
)
changes = st.dictionaries(
    st.sampled_from(tuple(TAGS)), st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=2
)
RefLike = str | tuple[str, int, int]


@dataclass
class Known:
    """A version as the model has it. `at` counts versions as they come."""

    name: str
    number: int
    at: int
    digest: str
    kind: str
    domain: str | None
    base: Base
    tags: dict[str, str]
    parents: tuple[Parent, ...]
    removed: bool = False

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass
class Model:
    versions: list[Known] = field(default_factory=list)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    moves: list[tuple[str, str, int | None]] = field(default_factory=list)

    def of(self, name: str, removed: bool | None = False) -> list[Known]:
        """The versions of a name, the newest first; `removed` None is both kinds."""
        return [
            v for v in reversed(self.versions) if v.name == name and (removed is None or v.removed == removed)
        ]

    def find(self, ref: str, removed: bool | None = False) -> Known | None:
        name, _, end = ref.partition("@")
        number = self.aliases.get((name, end))
        for v in self.of(name, removed):
            if end in ("", str(v.number)) or v.number == number or f"sha256:{v.digest}".startswith(end):
                return v
        return None

    def said(self, v: Known) -> dict[str, Any]:
        return {
            "ref": v.ref, "digest": v.digest, "kind": v.kind, "domain": v.domain, "base": v.base, "tags": v.tags,
            "aliases": tuple(sorted(a for (name, a), n in self.aliases.items() if (name, n) == (v.name, v.number))),
            "parents": v.parents, "removed": v.removed,
        }  # fmt: skip

    def words(self, v: Known) -> str:
        """In lower case, behind spaces."""
        method = "ties" if v.parents else ""
        said = [
            v.name,
            v.kind,
            v.domain or "",
            v.base.id,
            method,
            *self.said(v)["aliases"],
            *v.tags,
            *v.tags.values(),
        ]
        return " " + " ".join(said).lower().replace(".", " ").replace("-", " ").replace("_", " ")

    def lineage(self, v: Known | None, ref: str, digest: str, weight: float | None) -> tuple[Any, ...]:
        parents = []
        for p in v.parents if v else ():
            assert v is not None
            older = [o for o in self.versions if o.digest == p.digest and o.at < v.at]
            parents.append(self.lineage(older[-1] if older else None, p.ref, p.digest, p.weight))
        return (v and v.ref, ref, digest, weight, tuple(parents))


def said(v: Version) -> dict[str, Any]:
    return {
        "ref": v.ref, "digest": v.digest, "kind": v.kind, "domain": v.domain, "base": v.base, "tags": dict(v.tags),
        "aliases": v.aliases, "parents": v.recipe.parents if v.recipe else (), "removed": v.removed_at is not None,
    }  # fmt: skip


def drawn(line: Lineage) -> tuple[Any, ...]:
    """A lineage as the model draws it."""
    parents = tuple(drawn(p) for p in line.parents)
    return (line.version and line.version.ref, line.ref, line.digest, line.weight, parents)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Home(Path(self.folder.name) / "home")
        self.registry = Registry(self.home)
        self.model = Model()
        self.digests: dict[int, str] = {}

    def teardown(self) -> None:
        assert self.registry.verify() == []
        self.registry.close()
        self.folder.cleanup()

    @initialize(name=names)
    def nothing_is_there(self, name: str) -> None:
        assert self.registry.list() == [] and not self.home.root.exists()
        with pytest.raises(NotFound):
            self.registry.get(name)

    # Make

    @rule(
        name=names,
        content=contents,
        domain=st.sampled_from(DOMAINS),
        base=st.sampled_from(BASES),
        tagged=changes,
    )
    def publish(
        self, name: str, content: int, domain: str | None, base: Base, tagged: dict[str, int | None]
    ) -> None:
        tags = {key: value for key, value in values(tagged).items() if value is not None}
        self._publish(name, content, kind="trained", domain=domain, base=base, tags=tags)

    @rule(name=names, content=contents, wanted=st.lists(refs, min_size=1, max_size=3))
    def compose(self, name: str, content: int, wanted: list[RefLike]) -> None:
        found = [(self.ref(ref), self.model.find(self.ref(ref))) for ref in wanted]
        parents = tuple(Parent(ref, v.digest, 0.5 + n) for n, (ref, v) in enumerate(found) if v is not None)
        if parents:
            self._publish(name, content, kind="composed", base=BASES[0], recipe=Recipe("ties", {}, parents))

    def _publish(self, name: str, content: int, **fields: Any) -> None:
        weights = Path(self.folder.name) / f"{content}.safetensors"
        weights.write_bytes(small_weights(content))
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
        version = self.registry.publish(Draft(name, weights=weights, config=config, **fields))
        assert self.digests.setdefault(content, version.digest) == version.digest
        recipe = fields.get("recipe")
        known = Known(
            name, len(self.model.of(name, None)) + 1, len(self.model.versions), version.digest, fields["kind"],
            fields.get("domain"), fields["base"], fields.get("tags", {}), recipe.parents if recipe else (),
        )  # fmt: skip
        self.model.versions.append(known)
        assert said(version) == self.model.said(known)

    # Label

    @rule(ref=refs, tags=changes)
    def tag(self, ref: RefLike, tags: dict[str, int | None]) -> None:
        found = self.model.find(self.ref(ref))
        wanted = values(tags)
        if self.does(found, lambda: self.registry.tag(self.ref(ref), wanted)):
            assert found is not None
            kept = {key: value for key, value in found.tags.items() if key not in wanted}
            found.tags = kept | {key: value for key, value in wanted.items() if value is not None}

    @rule(ref=refs, alias=aliases)
    def alias(self, ref: RefLike, alias: str) -> None:
        found = self.model.find(self.ref(ref))
        if self.does(found, lambda: self.registry.alias(self.ref(ref), alias)):
            assert found is not None
            if self.model.aliases.get((found.name, alias)) == found.number:
                return  # it stays where it is
            self.model.aliases[found.name, alias] = found.number
            self.model.moves.append((found.name, alias, found.number))

    @rule(name=names, alias=aliases)
    def unalias(self, name: str, alias: str) -> None:
        if self.does((name, alias) in self.model.aliases, lambda: self.registry.unalias(name, alias)):
            del self.model.aliases[name, alias]
            self.model.moves.append((name, alias, None))

    @rule(ref=refs, alias=st.sampled_from(("3", "A", "-x", "a@b", "", "a\0")))
    def refused_alias(self, ref: RefLike, alias: str) -> None:
        with pytest.raises(InvalidName):
            self.registry.alias(self.ref(ref), alias)

    # Keep

    @rule(ref=refs)
    def remove(self, ref: RefLike) -> None:
        self._mark(self.ref(ref), True, self.registry.remove)

    @rule(ref=refs)
    def restore(self, ref: RefLike) -> None:
        self._mark(self.ref(ref), False, self.registry.restore)

    def _mark(self, ref: str, removed: bool, act: Callable[[str], list[Version]]) -> None:
        found = self.model.find(ref, not removed)
        wanted = [] if found is None else [found] if "@" in ref else self.model.of(ref, not removed)
        done: list[Version] = []
        if self.does(found, lambda: done.extend(act(ref))):
            for v in wanted:
                v.removed = removed
            assert [v.ref for v in done] == sorted(v.ref for v in wanted)

    # Find

    @rule(ref=refs)
    def get(self, ref: RefLike) -> None:
        found = self.model.find(self.ref(ref))
        if self.does(found, lambda: self.registry.get(self.ref(ref))):
            assert found is not None
            assert said(self.registry.get(self.ref(ref))) == self.model.said(found)

    @rule(
        name=st.none() | names, domain=st.sampled_from(DOMAINS), base=st.sampled_from((None, "vbase", "b2" * 32)),
        kind=st.sampled_from((None, "trained", "composed")), content=st.none() | contents,
        tag=st.none() | st.sampled_from([(k, v) for k, vs in TAGS.items() for v in vs]), every=st.booleans(),
        limit=st.none() | st.integers(1, 3),
    )  # fmt: skip
    def filters(
        self, name: str | None, domain: str | None, base: str | None, kind: str | None, content: int | None,
        tag: tuple[str, str] | None, every: bool, limit: int | None,
    ) -> None:  # fmt: skip
        digest = None if content is None else self.digests.get(content, "0" * 64)
        expected = [
            v.ref
            for v in reversed(self.model.versions)
            if not v.removed
            and (every or v is self.model.of(v.name)[0])
            and (name or v.name, domain or v.domain, kind or v.kind) == (v.name, v.domain, v.kind)
            and base in (None, v.base.id, v.base.fingerprint)
            and digest in (None, v.digest)
            and (tag is None or v.tags.get(tag[0]) == tag[1])
        ]
        tags = None if tag is None else dict([tag])
        found = self.registry.list(
            name=name,
            domain=domain,
            base=base,
            kind=kind,
            digest=digest,
            tags=tags,
            all_versions=every,
            limit=limit,
        )
        assert [v.ref for v in found] == expected[:limit]

    @rule(text=st.sampled_from(WORDS))
    def search(self, text: str) -> None:
        asked = [f" {word.lower()}" for word in text.split()]
        expected = {
            v.ref
            for v in self.model.versions
            if not v.removed and all(a in self.model.words(v) for a in asked)
        }
        assert {v.ref for v in self.registry.search(text, limit=1000)} == expected

    @rule(name=names, alias=st.none() | aliases)
    def history(self, name: str, alias: str | None) -> None:
        found = [(m.name, m.alias, m.number) for m in self.registry.alias_history(name, alias)]
        assert found == [m for m in self.model.moves if m[0] == name and alias in (None, m[1])]

    @rule(ref=refs)
    def lineage(self, ref: RefLike) -> None:
        found = self.model.find(self.ref(ref))
        if found is not None:
            line = self.registry.lineage(self.ref(ref))
            assert drawn(line) == self.model.lineage(found, found.ref, found.digest, None)

    # Come again

    @rule()
    def reopen(self) -> None:
        self.registry.close()
        self.registry = Registry(self.home)

    @precondition(lambda self: self.model.versions)
    @rule()
    def open_a_backup(self) -> None:
        copy = Path(self.folder.name) / "copy.db"
        copy.unlink(missing_ok=True)
        self.registry.backup(copy)
        with Registry(self.home, f"sqlite:///{copy}") as registry:
            self._same(registry)

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        self._same(self.registry)

    def _same(self, registry: Registry) -> None:
        model = self.model
        kept = [model.said(v) for v in reversed(model.versions) if not v.removed]
        gone = [model.said(v) for v in reversed(model.versions) if v.removed]
        assert [said(v) for v in registry.list(all_versions=True)] == kept
        assert [said(v) for v in registry.list(removed=True)] == gone
        bases = {base.id: count for base, count in registry.bases()}
        assert bases == {
            base.id: len({v.name for v in model.versions if v.base == base and not v.removed})
            for base in {v.base for v in model.versions}
        }

    def ref(self, ref: RefLike) -> str:
        """As text: content is named by its digest, or as many of its digits."""
        if isinstance(ref, str):
            return ref
        name, content, digits = ref
        return f"{name}@sha256:{self.digests.get(content, '0' * 64)[:digits]}"

    def does(self, expected: object, act: Callable[[], object]) -> bool:
        """Whether an act was to succeed. One that was not is refused by name, and changes nothing (an invariant)."""
        if expected:
            act()
            return True
        with pytest.raises(NotFound) as refused:
            act()
        assert isinstance(refused.value, LftregError) and refused.value.hint
        return False


def values(tags: dict[str, int | None]) -> dict[str, str | None]:
    return {key: None if n is None else TAGS[key][n % len(TAGS[key])] for key, n in tags.items()}


Machine.TestCase.settings = settings(
    max_examples=int(LONG) if LONG else 12,
    stateful_step_count=60 if LONG else 40,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase
