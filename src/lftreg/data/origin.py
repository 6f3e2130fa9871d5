"""Where the rows of a version came from, and the proof that they are still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from lftreg.data.files import read_data
from lftreg.data.splits import remembered_split
from lftreg.errors import InvalidData, NotFound
from lftreg.plugins.host import Host
from lftreg.plugins.types import SPLITS, Example, Message, Split
from lftreg.registry import Registry, Version


def examples_of(version: Version, registry: Registry, host: Host) -> dict[Split, tuple[Example, ...]]:
    """The rows that a version was trained on and those it held out, proven by their digest.

    Raises NotFound for a version that was not trained from a domain or from files, and for files that are gone;
    InvalidData where they hold something else by now.
    """
    run = version.run
    if run is None:
        raise NotFound(f"{version.ref} was not trained here, so its data is unknown")
    source = run.settings.get("source") or {"domain": version.domain}
    if "data" in source:
        held_out, _ = remembered_split(registry, version.name)
        columns = dict(word.split("=", 1) for word in source["map"])
        domain = read_data(source["data"], version.name, columns=columns, remembered=held_out).domain
    elif source.get("domain"):
        domain = host.domain(source["domain"])
    else:
        raise NotFound(f"{version.ref} was trained by a program, whose data is unknown")
    examples = {split: tuple(domain.build(split, run.seed)) for split in SPLITS}
    if data_digest(examples) != run.data_digest:
        raise InvalidData(f"the data of {version.ref} is not what it was", "put it back", code="data-changed")
    return examples


def data_digest(splits: Mapping[Split, Sequence[Example]]) -> str:
    """sha256 of the examples themselves, whatever tokenizer reads them."""
    digest = hashlib.sha256()
    for split in sorted(splits):
        for example in splits[split]:
            said: list[object] = [_said(message) for message in example.messages]
            if example.tools:
                said.append(["tools", example.tools])
            if not said:
                said = [example.text, example.label]
            digest.update(json.dumps([split, said], ensure_ascii=False).encode())
            digest.update(b"\n")
    return digest.hexdigest()


def _said(message: Message) -> list[object]:
    """A turn as it is hashed: what few turns have is written where they have it, so others hash as ever."""
    calls = [[call.name, call.arguments, call.id] for call in message.calls]
    more = [calls, message.name, message.call]
    return [message.role, message.content, *(more if any(more) else ())]
