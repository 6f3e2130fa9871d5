"""Sending an adapter to the hub: one commit on top of what was seen there, or none where nothing changed.

A commit names its parent, so the hub takes it once: where its answer is lost, the head tells whether it was made,
and a second one on the same parent cannot be. What others changed since our last visit is not overwritten.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from lftreg.errors import LftregError, NotFound, Unavailable, UsageError
from lftreg.plugins.types import Parcel, Sent
from lftreg.remotes.asking import Asking, asking
from lftreg.remotes.failures import Lost, lost_of, status_of
from lftreg.remotes.hub import COMMIT, Entry, Local, check_repo, check_revision, info, measure, tree

MAIN = "main"


def push(parcel: Parcel) -> Sent:
    """Send a parcel. Raises TokenNeeded, Unavailable, and LftregError where others changed what it would replace."""
    repo = check_repo(parcel.place)
    if parcel.tag is not None:
        check_revision(parcel.tag)
        if parcel.create_pr:
            raise UsageError("a pull request has no tag", "tag it once it is merged")
    with asking(parcel.patience, parcel.told) as hub:
        return _Sending(hub, repo, parcel).run()


@dataclass
class _Sending:
    hub: Asking
    repo: str
    parcel: Parcel
    files: dict[str, Local] = field(default_factory=dict)
    plain: int = 0  # bytes of files that went within a commit

    def run(self) -> Sent:
        self.files = {name: measure(path) for name, path in self.parcel.files.items()}
        head = self._head()
        there = {} if head is None else tree(self.hub, self.repo, head)
        changed = self._changed(there)
        self._check_tag(None if changed else head)
        if not changed and head is not None:
            self._tag(head)
            return self._sent(head, unchanged=True)
        if self.parcel.create_pr:
            return self._propose(head, changed)
        if not self.parcel.force:
            self._refuse_others(there, changed)
        commit = self._commit(head, changed)
        self._tag(commit)
        return self._sent(commit, unchanged=False)

    def _head(self) -> str | None:
        """The newest commit; the repository is made where there is none. None for one without a commit."""
        try:
            commit, private = info(self.hub, self.repo)
        except Exception as error:
            if not _is_missing(error):
                raise
        else:
            if self.parcel.private and not private:
                raise UsageError(
                    f"{self.repo} is there already, and everybody sees it",
                    "make it private in its settings, or push to another name",
                    code="not-private",
                )
            return commit
        self.hub.repeat(
            lambda: self.hub.api.create_repo(self.repo, private=self.parcel.private or None, exist_ok=True)
        )
        return info(self.hub, self.repo)[0]

    def _changed(self, there: Mapping[str, Entry]) -> list[str]:
        return [
            name for name, file in self.files.items() if name not in there or not there[name].is_like(file)
        ]

    def _refuse_others(self, there: Mapping[str, Entry], changed: Sequence[str]) -> None:
        """Refuse to replace what somebody else wrote: what is not as our last visit left it."""
        replaced = [name for name in changed if name in there]
        if not replaced:
            return
        known: Mapping[str, Entry] = {}
        if self.parcel.known is not None and COMMIT.fullmatch(self.parcel.known):
            try:
                known = tree(self.hub, self.repo, self.parcel.known)
            except Exception as error:
                if status_of(error) != 404 and not isinstance(error, NotFound):
                    raise  # else that commit is gone, such as after the repository was made anew
        theirs = [name for name in replaced if known.get(name) != there[name]]
        if theirs:
            raise LftregError(
                f"{self.repo} holds {' and '.join(theirs)} that this registry did not put there",
                "--create-pr proposes yours, --force replaces theirs, `lftreg pull` takes it in first",
                code="remote-changed",
            )

    def _commit(self, head: str | None, changed: list[str]) -> str:
        """Make the commit, whatever happens to its answer. Returns its id."""
        for turn in range(1, self.hub.patience.tries + 1):
            try:
                return str(self._send(head, changed).oid)
            except Exception as error:  # noqa: BLE001 what became of it decides
                failure = error
            lost = lost_of(failure)
            status = status_of(failure)
            if _is_over(lost) or (lost is None and status != 412 and not _is_unreadable(failure)):
                raise failure
            if turn < self.hub.patience.tries and lost is not None:
                self.hub.pause(turn, lost.wait)
            now, _ = info(self.hub, self.repo)
            if now == head or now is None:
                if status == 412:
                    raise failure
                continue
            there = tree(self.hub, self.repo, now)
            changed = self._changed(there)
            if not changed:
                return now  # it was made, and its answer was lost; or somebody sent the same
            if not self.parcel.force:
                before = {} if head is None else tree(self.hub, self.repo, head)
                self._refuse_moved(before, there, changed)
            head = now
        raise failure

    def _refuse_moved(
        self, before: Mapping[str, Entry], there: Mapping[str, Entry], changed: Sequence[str]
    ) -> None:
        """Somebody committed while we did: refuse where they wrote what we would replace."""
        theirs = [name for name in changed if name in there and before.get(name) != there[name]]
        if theirs:
            raise LftregError(
                f"somebody else changed {' and '.join(theirs)} of {self.repo} at the same moment",
                "`lftreg pull` takes theirs in; --create-pr proposes yours, --force replaces theirs",
                code="remote-changed",
            )

    def _propose(self, head: str | None, changed: list[str]) -> Sent:
        """A pull request; where its answer is lost, the one that holds this content is looked for."""
        before = self._requests()
        for ref, commit in before.items():  # an earlier push may have made it
            if self.parcel.known == commit and not self._changed(tree(self.hub, self.repo, commit)):
                return self._sent(commit, unchanged=True, revision=ref)
        for turn in range(1, self.hub.patience.tries + 1):
            try:
                made = self._send(head, changed)
                revision = made.pr_revision or MAIN
                return self._sent(made.oid, unchanged=False, revision=revision)
            except Exception as error:  # noqa: BLE001 what became of it decides
                failure = error
            lost = lost_of(failure)
            if _is_over(lost) or (lost is None and not _is_unreadable(failure)):
                raise failure
            for ref, commit in self._requests().items():
                if ref not in before and not self._changed(tree(self.hub, self.repo, commit)):
                    return self._sent(commit, unchanged=False, revision=ref)
            if lost is None or ("/commit/" in lost.at and lost.unknown):
                self._unknown_end(failure)
            if turn < self.hub.patience.tries:
                self.hub.pause(turn, lost.wait)
        raise failure

    def _unknown_end(self, failure: Exception) -> NoReturn:
        raise Unavailable(
            f"{self.hub.host} did not say whether it made the pull request",
            f"look at {self.hub.endpoint}/{self.repo}/discussions before you push again",
            code="answer-lost",
        ) from failure

    def _requests(self) -> dict[str, str]:
        """The commits of pull requests by their refs."""
        refs = self.hub.repeat(lambda: self.hub.api.list_repo_refs(self.repo, include_pull_requests=True))
        return {ref.ref: ref.target_commit for ref in refs.pull_requests or ()}

    def _send(self, head: str | None, changed: Sequence[str]) -> Any:
        from huggingface_hub import CommitOperationAdd

        self.hub.title = max(changed, key=lambda name: self.files[name].size)
        operations = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=self.parcel.files[name]) for name in changed
        ]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # how it calls its own libraries is its business
            made = self.hub.api.create_commit(
                self.repo,
                operations,
                commit_message=self.parcel.message,
                parent_commit=head,
                revision=MAIN,
                create_pr=self.parcel.create_pr,
            )
        if not isinstance(made.oid, str) or not COMMIT.fullmatch(made.oid):
            raise ValueError("a commit that is none")
        self.plain = sum(
            self.files[name].size
            for name, operation in zip(changed, operations, strict=True)
            if operation._upload_mode == "regular"
        )
        return made

    # Tags

    def _tags(self) -> dict[str, str]:
        refs = self.hub.repeat(lambda: self.hub.api.list_repo_refs(self.repo))
        return {ref.name: ref.target_commit for ref in refs.tags}

    def _check_tag(self, commit: str | None) -> None:
        """Before anything is sent: a tag that is there may not move."""
        if self.parcel.tag is not None and self._tags().get(self.parcel.tag, commit) != commit:
            raise UsageError(
                f"{self.repo} has a tag {self.parcel.tag!r} already, on another commit",
                "tags do not move: choose another",
                code="tag-exists",
            )

    def _tag(self, commit: str) -> None:
        """Give the commit its tag, unless it has it."""
        tag = self.parcel.tag
        if tag is None:
            return
        for turn in range(1, self.hub.patience.tries + 1):
            try:
                self.hub.api.create_tag(self.repo, tag=tag, revision=commit)
                return
            except Exception as error:  # noqa: BLE001 what became of it decides
                failure = error
            lost = lost_of(failure)
            if lost is None and status_of(failure) != 409:
                raise failure
            there = self._tags().get(tag)
            if there == commit:
                return
            if there is not None:
                raise LftregError(
                    f"{self.repo} is pushed as {commit[:12]}, but its tag {tag!r} is on another commit",
                    "choose another tag and push again; nothing is sent twice",
                    code="tag-exists",
                )
            if turn < self.hub.patience.tries:
                self.hub.pause(turn, None if lost is None else lost.wait)
        raise failure

    def _sent(self, commit: str, *, unchanged: bool, revision: str = MAIN) -> Sent:
        number = revision.removeprefix("refs/pr/")
        where = f"discussions/{number}" if number != revision else f"commit/{commit}"
        url = f"{self.hub.endpoint}/{self.repo}/{where}"
        return Sent(commit, url, unchanged, self.hub.sent + self.plain, revision)


def _is_missing(error: Exception) -> bool:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    return isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)


def _is_over(lost: Lost | None) -> bool:
    """Whether a request that only prepares the commit was repeated in vain: no commit was asked for."""
    return lost is not None and lost.tried


def _is_unreadable(error: Exception) -> bool:
    """Whether an answer came that nobody can read: what was asked for may have been done."""
    told = error if error.__cause__ is None else error.__cause__  # a card that the hub refuses has one
    return isinstance(error, ValueError | KeyError | TypeError) and status_of(told) is None
