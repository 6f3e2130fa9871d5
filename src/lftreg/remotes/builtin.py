"""The remotes that lftreg brings: the Hugging Face Hub, or a server like it, and folders that several people see."""

from __future__ import annotations

from collections.abc import Iterable

from lftreg.plugins import hookimpl
from lftreg.plugins.types import Errand, Hit, Parcel, Patience, Remote, Sent, Taken


def _hub_push(parcel: Parcel) -> Sent:
    from lftreg.remotes.hub_push import push

    return push(parcel)


def _hub_pull(errand: Errand) -> Taken:
    from lftreg.remotes.hub import pull

    return pull(errand)


def _hub_search(text: str, limit: int, patience: Patience) -> Iterable[Hit]:
    from lftreg.remotes.hub import search

    return search(text, limit, patience)


def _folder_push(parcel: Parcel) -> Sent:
    from lftreg.remotes.shared import push

    return push(parcel)


def _folder_pull(errand: Errand) -> Taken:
    from lftreg.remotes.shared import pull

    return pull(errand)


@hookimpl
def lftreg_remotes() -> Iterable[Remote]:
    yield Remote(
        "hub", _hub_push, _hub_pull, _hub_search, help="The Hugging Face Hub, or the server of HF_ENDPOINT."
    )
    yield Remote("folder", _folder_push, _folder_pull, help="A folder that several people see.")
