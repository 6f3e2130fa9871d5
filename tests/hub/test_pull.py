"""What is taken from a hub on this machine, by the client as it is, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import (
    CheckFailed,
    Incompatible,
    InvalidData,
    InvalidName,
    InvalidReference,
    LftregError,
    NotFound,
    TokenNeeded,
    Unavailable,
    UsageError,
)
from lftreg.registry import Base, Parent, Recipe, Registry, Version
from lftreg.remotes.manifest import MANIFEST
from tests.hub import faults
from tests.hub.conftest import OTHER, TOKEN
from tests.hub.server import Hub
from tests.hub.sharing import FILES, LITTLE, REPO, SOON, brief, code, make, pull, push
from tests.hub.state import Stored


@pytest.mark.parametrize("chunk", [None, 700])
def test_what_was_pushed_comes_back_the_same(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    chunk: int | None,
) -> None:
    hub.state.chunk = chunk
    sent = push(mine, version, REPO)
    head = hub.state.repos[REPO].head
    assert (sent.commit, sent.unchanged) == (head.sha, False)
    assert set(head.files) == {*FILES, ".gitattributes"}
    assert head.files["adapter_model.safetensors"].lfs and not head.files["README.md"].lfs
    assert sent.transferred == sum(len(head.files[name].content) for name in FILES)
    hub.state.page = 2
    pulled = pull(theirs, REPO)
    assert pulled.version.digest == version.digest
    assert pulled.version.name == "support" and pulled.version.kind == "imported"
    assert pulled.origin["commit"] == head.sha and pulled.origin["revision"] is None
    assert pulled.origin["host"] == hub.url.removeprefix("http://")
    assert pulled.version.base == version.base
    assert theirs.verify() == []
    assert [entry.action for entry in theirs.log(limit=2)] == ["pull", "register"]
    assert mine.log(limit=1)[0].details["commit"] == head.sha


def test_a_private_one_is_for_its_owners(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(mine, version, REPO, private=True)
    assert hub.state.repos[REPO].private
    assert pull(theirs, REPO).version.digest == version.digest
    monkeypatch.setenv("HF_TOKEN", OTHER)
    with pytest.raises(NotFound) as error:
        pull(theirs, REPO, name="again")
    assert code(error) == "unknown-repo" and "hf auth login" in str(error.value.hint)
    push_public = "our-desk/open"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(mine, version, push_public)
    with pytest.raises(UsageError) as refused:
        push(mine, version, push_public, private=True)
    assert refused.value.code == "not-private"


def test_a_gated_one_says_so(hub: Hub, mine: Registry, theirs: Registry, version: Version) -> None:
    push(mine, version, REPO)
    hub.state.repos[REPO].gated = True
    with pytest.raises(TokenNeeded) as error:
        pull(theirs, REPO)
    assert code(error) == "gated"


def test_a_revision_is_one_commit_while_its_tag_moves(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
) -> None:
    """Input 80."""
    sent = push(mine, version, REPO, tag="v1")
    hub.fault = faults.at("info", faults.MOVED)
    pulled = pull(theirs, f"{REPO}@v1")
    assert pulled.version.digest == version.digest and pulled.origin["commit"] == sent.commit
    assert hub.state.repos[REPO].refs["refs/tags/v1"] != sent.commit


@pytest.mark.parametrize("elsewhere", [True, False])
def test_damage_of_the_same_size_is_found(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    elsewhere: bool,
) -> None:
    """Input 79: once is mended by asking again, always is refused."""
    push(mine, version, REPO)
    hub.state.elsewhere = elsewhere
    kind = "cdn" if elsewhere else "resolve"
    hub.fault = faults.at(kind, faults.CORRUPT)
    assert pull(theirs, REPO).version.digest == version.digest
    hub.fault = faults.at(kind, faults.CORRUPT, range(99))
    with pytest.raises(CheckFailed) as error:
        pull(theirs, REPO, name="again")
    assert code(error) == "damaged-download"
    assert [v.name for v in theirs.list()] == ["support"] and not any(theirs.home.scratch.iterdir())


def test_a_file_goes_on_where_it_was_cut(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    push(mine, version, REPO)
    hub.fault = faults.at("cdn", faults.TRUNCATED)
    assert pull(theirs, REPO).version.digest == version.digest


@pytest.mark.parametrize("path", faults.BAD_PATHS)
def test_a_tree_that_leads_out_is_refused(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Input 78."""
    push(mine, version, REPO)
    repo = hub.state.repos[REPO]
    repo.commit({**repo.head.files, path: Stored(b"x", False)}, "evil", by="berta", parent=repo.head.sha)
    with pytest.raises(InvalidData) as error:
        pull(theirs, REPO)
    assert code(error) == "remote-path" and theirs.list() == []


def test_a_wrong_digest_in_the_tree_is_refused(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    push(mine, version, REPO)
    hub.fault = faults.at("tree", faults.WRONG_SHA256)
    with pytest.raises(CheckFailed):
        pull(theirs, REPO)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"digest": "sha256:" + "0" * 64}, "manifest-mismatch"),
        ({"schema": 99}, "newer-manifest"),
        ({"files": []}, "manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    change: dict[str, Any],
    expected: str,
) -> None:
    """Inputs 60 and 62."""
    push(mine, version, REPO)
    repo = hub.state.repos[REPO]
    told = json.loads(repo.head.files[MANIFEST].content) | change
    repo.put({MANIFEST: json.dumps(told).encode()})
    with pytest.raises(InvalidData) as error:
        pull(theirs, REPO)
    assert code(error) == expected and theirs.list() == []


def test_weights_that_the_manifest_does_not_know_are_refused(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    tmp_path: Path,
) -> None:
    push(mine, version, REPO)
    other = mine.file(
        make(mine, tmp_path / "made", base=version.base, seed=9), "adapter_model.safetensors"
    ).read_bytes()
    hub.state.repos[REPO].put({"adapter_model.safetensors": other})
    with pytest.raises(InvalidData) as error:
        pull(theirs, REPO)
    assert code(error) == "manifest-mismatch"


def plain(hub: Hub, mine: Registry, version: Version, base: str, **more: bytes) -> None:
    """An adapter as PEFT pushes it, that lftreg never saw."""
    config = mine.config(version) | {"base_model_name_or_path": base}
    hub.state.repo("berta/lora").put(
        {
            "adapter_model.safetensors": mine.file(version, "adapter_model.safetensors").read_bytes(),
            "adapter_config.json": json.dumps(config).encode(),
            **more,
        }
    )


def test_an_adapter_that_lftreg_never_saw(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    plain(hub, mine, version, version.base.id)
    pulled = pull(theirs, "berta/lora")
    assert pulled.version.digest == version.digest and pulled.version.base == version.base
    assert {file.name for file in pulled.version.files} == {
        "adapter_model.safetensors", "adapter_config.json", "origin.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("/etc", "base-path"), ("../x", "base-upwards"), ("https://evil.example/x", "base-url"),
        ("org/unknown", "unknown-base"), ("\u202ex", "unknown-base"),
    ],
)  # fmt: skip
def test_the_word_of_a_stranger_opens_nothing(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    said: str,
    expected: str,
) -> None:
    """Inputs 48 to 50: a base that is not known here has to be given by hand."""
    plain(hub, mine, version, said)
    before = len(hub.state.asked)
    with pytest.raises(UsageError) as error:
        pull(theirs, "berta/lora")
    assert code(error) == expected and "--base" in str(error.value.hint)
    asked = [str(one) for one in hub.state.asked[before:]]
    assert all("berta/lora" in one or "/cdn/" in one for one in asked)
    assert pull(theirs, "berta/lora", base=LITTLE).version.base.id == LITTLE


def test_another_base_than_it_was_made_for_is_refused(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    push(mine, version, REPO)
    with pytest.raises(Incompatible) as error:
        pull(theirs, REPO, base="starter")
    assert code(error) == "other-base" and theirs.list() == []


def test_only_a_pickle_is_refused(hub: Hub, mine: Registry, theirs: Registry, version: Version) -> None:
    hub.state.repo("berta/old").put({"adapter_model.bin": b"\x80\x04", "adapter_config.json": b"{}"})
    hub.state.repo("berta/none").put({"README.md": b"# Nothing"})
    with pytest.raises(InvalidData) as pickled:
        pull(theirs, "berta/old")
    with pytest.raises(NotFound) as nothing:
        pull(theirs, "berta/none")
    assert (code(pickled), code(nothing)) == ("pickle", "no-adapter")


def test_the_same_commit_is_not_pulled_twice(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    push(mine, version, REPO, tag="v1")
    first = pull(theirs, REPO)
    before = hub.state.count("resolve")
    again = pull(theirs, f"{REPO}@v1")
    assert again.unchanged and again.version.ref == first.version.ref
    assert hub.state.count("resolve") == before
    assert not pull(theirs, REPO, name="other").unchanged
    assert sorted(v.ref for v in theirs.list(all_versions=True)) == ["other@1", "support@1"]


def test_what_a_stranger_claims_stays_a_claim(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    push(mine, version, REPO)
    pulled = pull(theirs, REPO).version
    assert pulled.run is None and pulled.recipe is None and dict(pulled.tags) == {}
    assert theirs.scores.newest(digest=pulled.digest) == []
    names = {file.name for file in pulled.files if file.attachment}
    assert names == {"origin.json", "theirs-README.md", "theirs-lftreg.json"}


def test_a_recipe_and_a_domain_come_with_it_as_with_a_bundle(
    hub: Hub, mine: Registry, theirs: Registry, tmp_path: Path, base: Base
) -> None:
    recipe = Recipe("cat", {}, (Parent("one@1", "a" * 64, 0.7), Parent("two@1", "b" * 64, 0.3)))
    fields: dict[str, Any] = {"kind": "composed", "run": None, "recipe": recipe, "domain": "desk"}
    push(mine, make(mine, tmp_path / "made", base=base, **fields), REPO)
    pulled = pull(theirs, REPO).version
    assert (pulled.kind, pulled.recipe, pulled.domain) == ("imported", recipe, "desk")


@pytest.mark.parametrize(
    "place", ["support", "a/b/c", "../x", "a/..", "-a/b", "a/b@", "a/b@c@d", "a/b@../x", "a b/c", ""]
)
def test_bad_names_are_refused_before_anything_is_asked(hub: Hub, theirs: Registry, place: str) -> None:
    with pytest.raises((InvalidReference, InvalidName)):
        pull(theirs, place, name="x")
    assert hub.state.asked == []


def test_a_body_that_drips_ends_at_the_deadline(
    hub: Hub, mine: Registry, theirs: Registry, version: Version
) -> None:
    push(mine, version, REPO)
    hub.fault = lambda asked: faults.Fault(faults.DRIP) if asked.kind == "cdn" else None
    with pytest.raises(Unavailable) as error:
        pull(theirs, REPO, patience=brief(whole=0.7))
    assert code(error) == "remote-deadline" and theirs.list() == []


@pytest.mark.parametrize("fault", [faults.SLOW_HEADERS, faults.SLOW_DETOUR])
@pytest.mark.parametrize("kind", ["info", "resolve"])
def test_a_server_that_never_comes_to_its_point_is_left_at_the_deadline(
    hub: Hub, mine: Registry, theirs: Registry, version: Version, kind: str, fault: str
) -> None:
    push(mine, version, REPO)
    hub.fault = faults.at(kind, fault, times=range(1, 9))
    with pytest.raises(Unavailable) as error:
        pull(theirs, REPO, patience=brief(whole=1.0))
    assert (code(error), hub.outlasted) == ("remote-deadline", 0)


@pytest.mark.parametrize(
    ("fault", "why"), [(faults.ENDLESS_DETOUR, "more than 64 MiB"), (faults.PACKED, "packed as 'gzip'")]
)
@pytest.mark.parametrize("kind", ["info", "resolve"])
def test_an_answer_that_grows_in_memory_is_not_read(
    hub: Hub, mine: Registry, theirs: Registry, version: Version, kind: str, fault: str, why: str
) -> None:
    push(mine, version, REPO)
    hub.fault = faults.at(kind, fault)
    with pytest.raises(LftregError, match=why) as error:
        pull(theirs, REPO)
    assert code(error) == "remote-answer"
    assert theirs.list() == []


@pytest.mark.parametrize("kind", ["info", "tree", "resolve"])
def test_a_server_that_says_nothing_is_asked_as_often_as_said(
    hub: Hub, mine: Registry, theirs: Registry, version: Version, kind: str
) -> None:
    push(mine, version, REPO)
    before = hub.state.count(kind)
    hub.fault = faults.at(kind, faults.CUT, times=range(1, 99))
    with pytest.raises(Unavailable) as error:
        pull(theirs, REPO)
    assert code(error) == "remote-unreachable"
    assert hub.state.count(kind) - before == SOON.tries


def test_an_address_from_a_browser_says_what_to_write(theirs: Registry) -> None:
    with pytest.raises(InvalidReference) as error:
        pull(theirs, f"https://huggingface.co/{REPO}")
    assert "ORG/NAME" in str(error.value.hint)
