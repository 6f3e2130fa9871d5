"""What is sent to a hub on this machine, by the client as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import (
    InvalidData,
    LftregError,
    NotFound,
    TokenNeeded,
    Unavailable,
    UsageError,
)
from lftreg.registry import Base, Registry, Version
from lftreg.remotes.manifest import MANIFEST, read_manifest
from tests.hub import faults
from tests.hub.conftest import OTHER, READER, TOKEN
from tests.hub.server import Hub
from tests.hub.sharing import FILES, REPO, SOON, code, make, pull, push


def test_the_same_content_again_sends_nothing(hub: Hub, mine: Registry, version: Version) -> None:
    first = push(mine, version, REPO)
    before = hub.state.count("commit"), hub.state.sent("put")
    again = push(mine, version, REPO)
    assert (again.commit, again.unchanged, again.transferred) == (first.commit, True, 0)
    assert (hub.state.count("commit"), hub.state.sent("put")) == before


def test_the_same_weights_under_another_name_are_not_sent_again(
    hub: Hub,
    mine: Registry,
    version: Version,
    tmp_path: Path,
) -> None:
    push(mine, version, REPO)
    sent = hub.state.sent("put")
    push(mine, version, "our-desk/other")
    twin = make(mine, tmp_path / "made", base=version.base, tags={"license": "mit"})
    assert not push(mine, twin, REPO).unchanged
    assert hub.state.sent("put") == sent
    assert len(hub.state.repos[REPO].commits) == 3


def test_nothing_of_this_machine_and_no_token_goes_out(
    hub: Hub,
    mine: Registry,
    tmp_path: Path,
) -> None:
    folder = Base("cd" * 32, str(tmp_path / "models" / "big"), "llama", 10)
    tags = {"rows": "file:///home/somebody/inbox.jsonl", "note": "see /home/somebody/notes.txt"}
    push(mine, make(mine, tmp_path / "made", base=folder, tags=tags), REPO)
    for name, file in hub.state.repos[REPO].head.files.items():
        for word in (str(tmp_path), "/home/somebody", TOKEN, os.uname().nodename, "our-desk"):
            assert word not in file.content.decode("latin-1").replace(REPO, ""), (name, word)
    card = hub.state.repos[REPO].head.files["README.md"].content.decode()
    assert "inbox.jsonl" in card and "`big`" in card
    assert f'from_pretrained(base, "{REPO}")' in card and f"support={REPO}" in card and "ORG/NAME" not in card
    manifest = read_manifest(hub.state.repos[REPO].head.files[MANIFEST].content)
    assert manifest.base.id == "big" and manifest.base.fingerprint == folder.fingerprint
    assert {file.name for file in manifest.files} == FILES - {MANIFEST}


@pytest.mark.parametrize("where", ["tags", "message", "samples"])
def test_a_token_is_not_pushed(
    hub: Hub, mine: Registry, version: Version, tmp_path: Path, where: str
) -> None:
    """Input 74."""
    fields: dict[str, Any] = {"tags": {"note": f"use {OTHER}"}} if where == "tags" else {}
    if where == "samples":
        rows = [{"prompt": "Which token?", "before": "", "after": TOKEN}]
        fields["attachments"] = {"samples.json": json.dumps(rows).encode()}
    with pytest.raises(InvalidData) as error:  # tags are not even kept
        made = make(mine, tmp_path / "made", base=version.base, **fields)
        push(mine, made, REPO, message=TOKEN if where == "message" else None)
    assert code(error) == "secret" and TOKEN not in str(error.value)
    assert REPO not in hub.state.repos


def test_who_may_not_write_is_told(
    hub: Hub,
    mine: Registry,
    version: Version,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TokenNeeded) as forbidden:
        push(mine, version, "their-desk/support")
    assert code(forbidden) == "forbidden"
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(TokenNeeded):
        push(mine, version, REPO)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(TokenNeeded) as needed:
        push(mine, version, REPO)
    assert code(needed) == "token-needed" and "hf auth login" in str(needed.value.hint)
    monkeypatch.setenv("HF_TOKEN", "hf_ThisOneWasRevokedLongAgo000000000")
    with pytest.raises(TokenNeeded) as revoked:
        push(mine, version, REPO)
    assert code(revoked) == "token-refused" and "revoked" in str(revoked.value.hint)


def test_tags_name_commits_and_stay(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    tmp_path: Path,
) -> None:
    first = push(mine, version, REPO, tag="v1")
    repo = hub.state.repos[REPO]
    assert repo.refs["refs/tags/v1"] == first.commit
    assert push(mine, version, REPO, tag="v1").unchanged
    second = make(mine, tmp_path / "made", base=version.base, seed=1)
    commits = len(repo.commits)
    with pytest.raises(UsageError) as error:
        push(mine, second, REPO, tag="v1")
    assert code(error) == "tag-exists" and len(repo.commits) == commits
    push(mine, second, REPO, tag="v2")
    assert pull(theirs, f"{REPO}@v1").version.digest == version.digest
    assert pull(theirs, f"hub:{REPO}@v2", name="two").version.digest == second.digest
    assert pull(theirs, f"{REPO}@{first.commit}", name="three").version.digest == version.digest
    with pytest.raises(NotFound) as unknown:
        pull(theirs, f"{REPO}@v9")
    assert unknown.value.code == "unknown-revision"


def test_a_pull_request_is_made_once(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    tmp_path: Path,
) -> None:
    hub.state.repo("their-desk/support")
    sent = push(mine, version, "their-desk/support", create_pr=True)
    repo = hub.state.repos["their-desk/support"]
    assert sent.revision == "refs/pr/1" and sent.url.endswith("/discussions/1")
    assert set(repo.head.files) == {".gitattributes"}
    assert pull(theirs, "their-desk/support@refs/pr/1").version.digest == version.digest
    again = push(mine, version, "their-desk/support", create_pr=True)
    assert again.unchanged and again.revision == "refs/pr/1" and list(repo.proposals()) == ["refs/pr/1"]
    with pytest.raises(UsageError):
        push(mine, version, "their-desk/support", create_pr=True, tag="v1")


def test_what_others_wrote_is_not_replaced(
    hub: Hub, mine: Registry, version: Version, tmp_path: Path
) -> None:
    push(mine, version, REPO)
    repo = hub.state.repos[REPO]
    second = make(mine, tmp_path / "made", base=version.base, seed=1)
    repo.put({"notes.md": b"hello"}, by="berta")
    push(mine, second, REPO)  # theirs is another file
    assert repo.head.files["notes.md"].content == b"hello"
    repo.put({"README.md": b"# A better card"}, by="berta")
    third = make(mine, tmp_path / "made", base=version.base, seed=2)
    head = repo.head.sha
    with pytest.raises(LftregError) as error:
        push(mine, third, REPO)
    assert code(error) == "remote-changed" and "README.md" in str(error.value) and repo.head.sha == head
    assert "--force" in str(error.value.hint)
    assert push(mine, third, REPO, create_pr=True).revision == "refs/pr/1"
    push(mine, third, REPO, force=True)
    assert b"A better card" not in repo.head.files["README.md"].content


def test_a_registry_that_never_was_there_replaces_nothing(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    tmp_path: Path,
) -> None:
    push(mine, version, REPO)
    other = make(theirs, tmp_path / "made", base=version.base, seed=5)
    with pytest.raises(LftregError) as error:
        push(theirs, other, REPO)
    assert code(error) == "remote-changed"
    pull(theirs, REPO)  # now it has seen what is there
    assert not push(theirs, other, REPO).unchanged


def test_somebody_who_commits_at_the_same_moment(
    hub: Hub, mine: Registry, version: Version, tmp_path: Path
) -> None:
    push(mine, version, REPO)
    repo = hub.state.repos[REPO]
    second = make(mine, tmp_path / "made", base=version.base, seed=1)
    hub.fault = faults.at("commit", faults.RIVAL_ELSEWHERE)
    push(mine, second, REPO)
    assert [c.by for c in repo.commits.values()] == ["hub", "anna", "rival", "anna"]
    assert "notes.txt" in repo.head.files
    third = make(mine, tmp_path / "made", base=version.base, seed=2)
    hub.fault = faults.at("commit", faults.RIVAL)
    with pytest.raises(LftregError) as error:
        push(mine, third, REPO)
    assert code(error) == "remote-changed" and repo.head.by == "rival"
    hub.fault = faults.at("commit", faults.RIVAL)
    push(mine, third, REPO, force=True)
    assert repo.head.by == "anna"


@pytest.mark.parametrize("times", [(1,), (1, 2)])
def test_a_lost_answer_makes_no_second_commit(
    hub: Hub,
    mine: Registry,
    theirs: Registry,
    version: Version,
    times: tuple[int, ...],
) -> None:
    hub.fault = faults.at("commit", faults.LOST, times)
    sent = push(mine, version, REPO)
    repo = hub.state.repos[REPO]
    assert sent.commit == repo.head.sha and not sent.unchanged
    assert [c.by for c in repo.commits.values()] == ["hub", "anna"]


def test_a_lost_answer_makes_no_second_pull_request(hub: Hub, mine: Registry, version: Version) -> None:
    repo = hub.state.repo("their-desk/support")
    hub.fault = faults.at("commit", faults.LOST)
    assert push(mine, version, "their-desk/support", create_pr=True).revision == "refs/pr/1"
    assert list(repo.proposals()) == ["refs/pr/1"]
    hub.state.repo("their-desk/cut")
    hub.fault = faults.at("commit", faults.CUT)
    with pytest.raises(Unavailable) as error:
        push(mine, version, "their-desk/cut", create_pr=True)
    assert code(error) == "answer-lost" and not hub.state.repos["their-desk/cut"].proposals()


def test_offline_nothing_is_asked(
    hub: Hub, mine: Registry, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for ask in (lambda: push(mine, version, REPO), lambda: pull(mine, REPO)):
        with pytest.raises(Unavailable) as error:
            ask()
        assert code(error) == "offline" and "HF_HUB_OFFLINE" in str(error.value.hint)
    assert hub.state.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "ftp://x",
        "hub.example",
        "https://me:secret1234@hub.example",
        "https://secret1234@hub.example",
        "http://",
    ],
)
def test_an_endpoint_that_is_none(
    mine: Registry, version: Version, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(UsageError) as error:
        push(mine, version, REPO)
    assert code(error) == "endpoint" and "secret1234" not in str(error.value)


def test_nobody_there(mine: Registry, version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable) as error:
        push(mine, version, REPO)
    assert code(error) == "remote-unreachable"


def test_a_server_that_asks_for_an_hour(hub: Hub, mine: Registry, version: Version) -> None:
    hub.fault = lambda asked: faults.Fault(faults.SLOW_DOWN, wait=3600)
    with pytest.raises(Unavailable) as error:
        push(mine, version, REPO)
    assert code(error) == "rate-limited"


def test_the_token_stays_with_the_hub(hub: Hub, mine: Registry, theirs: Registry, version: Version) -> None:
    """It goes neither to where large files are sent nor to where they are fetched."""
    push(mine, version, REPO)
    pull(theirs, REPO)
    assert {asked.token for asked in hub.state.asked if asked.kind in ("put", "cdn")} == {None}
    assert {asked.token for asked in hub.state.asked if asked.kind not in ("put", "cdn", "verify")} == {TOKEN}


def test_the_client_is_left_as_it_was(hub: Hub, mine: Registry, version: Version) -> None:
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    before = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()
    push(mine, version, REPO)
    assert (constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET, are_progress_bars_disabled()) == before
    assert "send" not in vars(get_session())
    assert SOON.tries == 4


@pytest.mark.parametrize("kind", ["info", "preupload", "batch"])
def test_a_server_that_says_nothing_is_asked_as_often_as_said(
    hub: Hub, mine: Registry, version: Version, kind: str
) -> None:
    hub.state.repo(REPO)
    hub.fault = faults.at(kind, faults.CUT, times=range(1, 99))
    with pytest.raises(Unavailable) as error:
        push(mine, version, REPO)
    assert code(error) == "remote-unreachable"
    assert hub.state.count(kind) == SOON.tries


def test_plain_peft_loads_it_as_its_card_says(hub: Hub, mine: Registry, version: Version) -> None:
    push(mine, version, REPO)
    card = hub.state.repos[REPO].head.files["README.md"].content.decode()
    assert f'PeftModel.from_pretrained(base, "{REPO}")' in card
    script = (
        "from peft import PeftConfig\nfrom peft.utils import load_peft_weights\n"
        f"print(PeftConfig.from_pretrained({REPO!r}).r, len(load_peft_weights({REPO!r}, device='cpu')))"
    )
    # A process of its own: the client reads HF_ENDPOINT once, as it is imported.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "4"]
