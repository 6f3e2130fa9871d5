"""A version as one file: the same bytes for the same version, whole on the other side, and nobody's measurements."""

from __future__ import annotations

import getpass
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import Incompatible, InvalidData, UsageError
from lftreg.models.base import FoundBase, find_base
from lftreg.paths import Home
from lftreg.registry import CONFIG, WEIGHTS, Draft, Parent, Recipe, Registry, Run, Version
from lftreg.remotes.bundle import export_bundle, import_bundle
from lftreg.remotes.card import write_card
from lftreg.remotes.folder import export_folder
from lftreg.remotes.manifest import MANIFEST, read_manifest, scrubbed
from tests.evaluation.test_leaderboard import record, values
from tests.hostile.inputs import CONFIG as CONFIG_FILE
from tests.hostile.inputs import write_good

PARENTS = (Parent("one@1", "a" * 64, 0.7), Parent("two@1", "b" * 64, 0.3))
RECIPE = Recipe("cat", {"engine": "factors"}, PARENTS, 2e-8)


@pytest.fixture
def base(tiny_llama: Path, registry: Registry) -> FoundBase:
    return find_base(str(tiny_llama), registry)


@pytest.fixture
def made(base: FoundBase, registry: Registry, tmp_path: Path) -> Version:
    """A version with everything that a version can have, paths of this machine among it."""
    folder = write_good(tmp_path / "support", base.record.id)
    run = Run(
        3, "d" * 64, {"rank": 4, "source": {"data": [str(tmp_path / "inbox.jsonl")]}, "run": "r-1", "cost": 0.5},
        {"torch": "2"}, {"train_first": 4.0, "train_last": 0.5}, {"train": 600}, 36_000, 58.5,
    )  # fmt: skip
    facts = {"facts": {"asked": {"data": str(tmp_path / "inbox.jsonl"), "on": f"file://{tmp_path}/x"}}}
    version = registry.publish(
        Draft(
            "support",
            "trained",
            base.record,
            folder / WEIGHTS,
            json.loads((folder / CONFIG_FILE).read_text()),
            domain="customer_support",
            attachments={"losses.json": json.dumps(facts).encode(), "samples.json": b'[{"prompt": "</b>"}]'},
            run=run,
            recipe=RECIPE,
            tags={"team": "desk"},
        )
    )
    record(registry, "a", values(0.6), digest=version.digest)
    return registry.get(version.ref)


def other(tmp_path: Path, *bases: FoundBase) -> Registry:
    """Somebody else's registry, which knows these bases."""
    elsewhere = Registry(Home(tmp_path / "elsewhere"))
    for base in bases:
        elsewhere.remember_base(base.record)
    return elsewhere


def manifest_of(bundle: Path) -> dict[str, Any]:
    with tarfile.open(bundle) as tar:
        file = tar.extractfile(MANIFEST)
        assert file is not None
        return dict(json.load(file))


def test_the_same_version_gives_the_same_bytes(registry: Registry, made: Version, tmp_path: Path) -> None:
    files = export_bundle(registry, made, tmp_path / "a.lftreg")
    assert files == [MANIFEST, WEIGHTS, CONFIG, "losses.json", "samples.json"]
    export_bundle(registry, made, tmp_path / "b.lftreg")
    assert (tmp_path / "a.lftreg").read_bytes() == (tmp_path / "b.lftreg").read_bytes()
    with tarfile.open(tmp_path / "a.lftreg") as tar:
        assert tar.getnames() == files
        assert {(one.mtime, one.uid, one.uname, one.mode) for one in tar} == {(0, 0, "", 0o644)}
    with pytest.raises(UsageError, match="there already"):
        export_bundle(registry, made, tmp_path / "a.lftreg")


def test_it_names_no_place_of_this_machine(registry: Registry, made: Version, tmp_path: Path) -> None:
    export_bundle(registry, made, tmp_path / "a.lftreg")
    content = (tmp_path / "a.lftreg").read_bytes()
    for secret in (
        str(tmp_path),
        str(Path.home()) + "/",
        made.base.id,
        socket.gethostname(),
        'inbox.jsonl"]',
    ):
        assert secret.encode() not in content, secret
    assert getpass.getuser() == "root" or getpass.getuser().encode() not in content
    told = manifest_of(tmp_path / "a.lftreg")
    assert told["base"]["id"] == Path(made.base.id).name
    assert told["run"]["settings"] == {"rank": 4}
    assert b"</b>" in content


def test_it_comes_back_as_the_same_content(
    registry: Registry, made: Version, base: FoundBase, tmp_path: Path
) -> None:
    export_bundle(registry, made, tmp_path / "a.lftreg")
    with other(tmp_path, base) as elsewhere:
        version, known = import_bundle(elsewhere, tmp_path / "a.lftreg")
        assert not known
        assert (version.ref, version.digest, version.domain) == ("support@1", made.digest, "customer_support")
        assert elsewhere.verify() == []
        again, known = import_bundle(elsewhere, tmp_path / "a.lftreg")
        assert known and again.ref == "support@1"
        named, known = import_bundle(elsewhere, tmp_path / "a.lftreg", name="theirs")
        assert not known and named.digest == made.digest
        export_bundle(elsewhere, version, tmp_path / "b.lftreg")
    assert manifest_of(tmp_path / "b.lftreg")["digest"] == manifest_of(tmp_path / "a.lftreg")["digest"]


def test_claims_are_kept_as_claims(
    registry: Registry, made: Version, base: FoundBase, tmp_path: Path
) -> None:
    """A recipe can be tried; a loss, a score and a tag of a stranger's are nobody's measurement here."""
    export_bundle(registry, made, tmp_path / "a.lftreg")
    with other(tmp_path, base) as elsewhere:
        version, _ = import_bundle(elsewhere, tmp_path / "a.lftreg")
        assert (version.kind, version.run, dict(version.tags)) == ("imported", None, {})
        assert elsewhere.scores.newest(digest=version.digest) == []
        assert version.recipe == Recipe("cat", {"engine": "factors"}, PARENTS)
        assert [parent.ref for parent in elsewhere.lineage(version.ref).parents] == ["one@1", "two@1"]
        names = {file.name for file in version.files if file.attachment}
        assert names == {"theirs-lftreg.json", "theirs-losses.json", "theirs-samples.json"}
        claims = read_manifest(elsewhere.read(version, "theirs-lftreg.json"))
        assert claims.run and claims.run["losses"]["train_last"] == 0.5
        assert claims.scores[0]["suite"] == "desk" and claims.tags == {"team": "desk"}
        export_bundle(elsewhere, version, tmp_path / "b.lftreg")
        assert {file["name"] for file in manifest_of(tmp_path / "b.lftreg")["files"]} == {WEIGHTS, CONFIG}


def test_a_base_that_is_not_known_has_to_be_given(
    registry: Registry, made: Version, base: FoundBase, tiny_gpt2: Path, tmp_path: Path
) -> None:
    export_bundle(registry, made, tmp_path / "a.lftreg")
    with other(tmp_path) as elsewhere:
        with pytest.raises(UsageError) as unknown:
            import_bundle(elsewhere, tmp_path / "a.lftreg")
        assert unknown.value.code == "unknown-base"
        with pytest.raises(Incompatible) as wrong:
            import_bundle(elsewhere, tmp_path / "a.lftreg", base=str(tiny_gpt2))
        assert wrong.value.code == "other-base"
        version, _ = import_bundle(elsewhere, tmp_path / "a.lftreg", base=base.record.id)
        assert version.base == base.record


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/u/x/y.jsonl", "y.jsonl"),
        ("no file ~/a/b.txt here", "no file b.txt here"),
        ("../up/z.csv", "z.csv"),
        ("C:\\Users\\me\\f.txt", "f.txt"),
        ("https://u:token@h.com/x", "https://h.com/x"),
        ("hub:org/repo", "hub:org/repo"),
        ("org/model", "org/model"),
        ("and/or 3/4 of it", "and/or 3/4 of it"),
    ],
)
def test_paths_lose_all_but_their_last_part(text: str, clean: str) -> None:
    assert scrubbed({"a": [text]}) == {"a": [clean]}


def test_a_token_is_neither_bundled_nor_kept_as_a_tag(
    made: Version, base: FoundBase, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input 74: what was kept before anybody knew it for a token stays here, what is one is not kept."""
    monkeypatch.setenv("HF_TOKEN", "CanaryWithoutAnyShape0123")
    for tags in ({"note": "CanaryWithoutAnyShape0123"}, {"hf_CanaryCanaryCanary01": "x"}):
        with pytest.raises(InvalidData) as error:
            registry.tag(made.ref, tags)
        assert error.value.code == "secret" and "Canary" not in str(error.value)
    registry.tag(made.ref, {"license": "yet-unknown-to-be-one"})
    monkeypatch.setenv("HF_TOKEN", "yet-unknown-to-be-one")
    version = registry.get(made.ref)
    for export, place in ((export_bundle, "x.lftreg"), (export_folder, "x")):
        with pytest.raises(InvalidData) as error:
            export(registry, version, tmp_path / place)
        assert error.value.code == "secret" and not (tmp_path / place).exists()


def test_a_parent_of_a_stranger_stays_within_its_cell(
    base: FoundBase, registry: Registry, tmp_path: Path
) -> None:
    folder = write_good(tmp_path / "support", base.record.id)
    parents = (Parent("x` | <img src=x> [a](b)", "a" * 64, 1.0),)
    config = json.loads((folder / CONFIG_FILE).read_text())
    draft = Draft(
        "support", "imported", base.record, folder / WEIGHTS, config, recipe=Recipe("cat", {}, parents)
    )
    assert "| `x' / <img src=x> [a](b)` | 1 |" in write_card(registry.publish(draft), registry)
