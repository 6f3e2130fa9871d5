"""Push, pull and search through the real command, against a hub on this machine and its unmodified client."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lftreg.registry import Base, Registry, Version
from tests.cli.conftest import Done, Lftreg
from tests.hub import faults
from tests.hub.conftest import OTHER, TOKEN, base, cache, hub  # noqa: F401 fixtures
from tests.hub.server import Hub
from tests.hub.sharing import FILES, LITTLE, REPO, make

pytestmark = pytest.mark.slow
Ask = Callable[..., Done]


@pytest.fixture
def version(registry: Registry, tmp_path: Path, base: Base) -> Version:  # noqa: F811
    registry.remember_base(base)
    return make(registry, tmp_path / "made", base=base)


@pytest.fixture
def ask(lftreg: Lftreg, hub: Hub, cache: Path, tmp_path: Path) -> Ask:  # noqa: F811
    def run(*words: str, home: str | None = None, **options: Any) -> Done:
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": TOKEN,
            "LFTREG_REMOTE_SILENCE": "5",
        }
        there = () if home is None else ("--home", str(tmp_path / home))
        return lftreg(*words, *there, **(variables | options))

    return run


def test_pushed_pulled_and_shown(ask: Ask, hub: Hub, version: Version) -> None:  # noqa: F811
    document = ask("push", "support", REPO, "--tag", "v3", "--message", "The third", "--json").document
    head = hub.state.repos[REPO].head
    assert document == {
        "ref": "support@1",
        "digest": f"sha256:{version.digest}",
        "repo": REPO,
        "remote": "hub",
        "commit": head.sha,
        "revision": "main",
        "tag": "v3",
        "url": f"{hub.url}/{REPO}/commit/{head.sha}",
        "files": document["files"],
        "transferred_bytes": sum(len(head.files[name].content) for name in FILES),
        "unchanged": False,
    }
    assert set(document["files"]) == FILES and head.message == "The third"
    again = ask("push", "support", REPO, "--json").document
    assert (again["unchanged"], again["transferred_bytes"], again["commit"]) == (True, 0, head.sha)
    assert "nothing was sent" in ask("push", "support", REPO).err

    pulled = ask("pull", f"{REPO}@v3", "--as", "theirs", "--base", LITTLE, "--json", home="other").document
    assert (pulled["ref"], pulled["digest"]) == ("theirs@1", f"sha256:{version.digest}")
    assert pulled["origin"]["commit"] == head.sha and pulled["origin"]["revision"] == "v3"
    assert "nothing was fetched" in ask("pull", f"hub:{REPO}@v3", "--name", "theirs", home="other").err
    assert [row["ref"] for row in ask("list", "--all", "--json", home="other").document] == ["theirs@1"]
    shown = ask("show", "theirs", "--json", home="other").document
    assert shown["origin"] == pulled["origin"]
    told = ask("show", "theirs", home="other").out
    assert f"hub:{REPO}@v3" in told and head.sha[:12] in told
    log = ask("log", "theirs", "--json", home="other").document
    assert [entry["action"] for entry in log] == ["pull", "register"]


def test_search_asks_the_hub(ask: Ask, hub: Hub) -> None:  # noqa: F811
    for name, downloads in (("a/sql-lora", 5), ("b/sql-writer", 90), ("c/poems", 7)):
        hub.state.repo(name, downloads=downloads, tags=("lora", f"base_model:{LITTLE}"))
    found = ask("search", "--hub", "sql", "--json").document
    assert [hit["ref"] for hit in found] == ["hub:b/sql-writer", "hub:a/sql-lora"]
    assert found[0]["base"] == LITTLE and found[0]["downloads"] == 90
    assert "hub:b/sql-writer" in ask("search", "--hub", "sql").out
    assert "no adapter" in ask("search", "--hub", "cobol").err


def test_what_cannot_be_had_is_told(ask: Ask, version: Version) -> None:
    for words, code, name in (
        (("pull", "our-desk/nothing"), 3, "unknown-repo"),
        (("pull", "nothing"), 2, "invalid-reference"),
        (("pull", "s4:somewhere"), 3, "unknown-remote"),
        (("push", "support", "their-desk/x"), 4, "forbidden"),
        (("push", "support", "a/b@v1"), 2, "usage"),
        (("push", "nobody", REPO), 3, "unknown-adapter"),
    ):
        error = ask(*words, "--json", code=code).error
        assert error["code"] == name and error["hint"], error
    offline = ask("push", "support", REPO, "--json", code=5, HF_HUB_OFFLINE="1").error
    assert offline["code"] == "offline"
    wrong = ask("push", "support", REPO, "--json", code=2, LFTREG_REMOTE_DEADLINE="soon").error
    assert "remote_deadline" in wrong["message"]


def test_a_token_appears_nowhere(
    ask: Ask,
    hub: Hub,  # noqa: F811
    registry: Registry,
    version: Version,
    tmp_path: Path,
) -> None:
    """Input 75: a server that quotes what it was told, errors with -v, bugs, and all that is written."""
    said: list[Done] = []
    hub.state.echo = True
    said.append(ask("push", "support", REPO, "-v"))
    said.append(ask("pull", REPO, "--name", "again", "-v"))
    said.append(ask("push", "support", "their-desk/x", "-v", code=4))
    said.append(ask("push", "support", "their-desk/x", "--json", code=4))
    said.append(ask("pull", "our-desk/nothing", "-v", code=3, HF_DEBUG="1"))
    revoked = "hf_RevokedRevokedRevokedRevoked000000"
    said.append(ask("push", "support", REPO, "--force", "-v", code=4, HF_TOKEN=revoked))
    hub.fault = lambda asked: faults.Fault(faults.GARBAGE)
    said.append(ask("pull", REPO, "--name", "more", "-v", code=1))
    hub.fault = lambda asked: faults.Fault(faults.BUSY)
    said.append(ask("pull", REPO, "--name", "more", "-v", code=5, LFTREG_REMOTE_DEADLINE="1"))
    odd = "an-Odd-Token-of-no-known-shape"
    said.append(ask("pull", REPO, "--name", "more", "-v", code=5, HF_TOKEN=odd, LFTREG_REMOTE_DEADLINE="1"))
    hub.fault = lambda asked: None
    said.append(ask("export", "support", "--format", "bundle", "--output", str(tmp_path / "x.lftreg")))
    assert TOKEN in {asked.token for asked in hub.state.asked}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "registry.db" for path in written)
    for secret in (TOKEN, OTHER, revoked, odd):
        for done in said:
            assert secret not in done.out + done.err
        for path in written:
            assert secret.encode() not in path.read_bytes(), path
        for file in hub.state.repos[REPO].head.files.values():
            assert secret.encode() not in file.content
    traced = [done for done in said if "Traceback" in done.err]
    assert len(traced) >= 5


def test_a_bug_is_reported_without_the_token(ask: Ask, tmp_path: Path, home: Path) -> None:
    """Whatever is raised where nobody expects it: a plugin's remote that quotes the environment."""
    package = tmp_path / "site"
    package.mkdir()
    (package / "leaky.py").write_text(
        "import os\n"
        "from lftreg import Remote, hookimpl\n"
        "def leak(*words): raise RuntimeError('sent with Bearer ' + os.environ['HF_TOKEN'])\n"
        "@hookimpl\n"
        "def lftreg_remotes(): yield Remote('leaky', leak, leak, help='Leaks.')\n"
    )
    info = package / "leaky-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[lftreg]\nleaky = leaky\n")
    path = f"{package}:{os.environ.get('PYTHONPATH', '')}"
    ask("plugins", "enable", "leaky", PYTHONPATH=path)
    done = ask("pull", "leaky:x", "-v", code=1, PYTHONPATH=path)
    assert "leaky" in done.err and TOKEN not in done.out + done.err
    for path in home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_a_folder_by_the_command(ask: Ask, version: Version, tmp_path: Path) -> None:
    place = f"folder:{tmp_path / 'srv'}"
    sent = ask("push", "support", place, "--json").document
    assert sent["remote"] == "folder" and not sent["unchanged"] and sent["revision"] is None
    assert json.loads((tmp_path / "srv" / "lftreg.json").read_bytes())["name"] == "support"
    pulled = ask("pull", place, "--name", "twin", "--json").document
    assert pulled["digest"] == f"sha256:{version.digest}" and pulled["origin"]["remote"] == "folder"
