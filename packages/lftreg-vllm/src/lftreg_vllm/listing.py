"""The list of models: vLLM's own, and what the registry could give it."""

from __future__ import annotations

from typing import Any

from lftreg.errors import LftregError
from lftreg.registry import Version
from lftreg_vllm.desk import Desk, log, pinned


async def merged(
    desk: Desk, shown: list[dict[str, Any]], served: str, max_rank: int | None = None
) -> list[dict[str, Any]]:
    """vLLM's own cards, each id once, and one for everything else that could be asked for.

    `served` is the model as vLLM was given it, `max_rank` its `--max-lora-rank`. Where the registry cannot be read
    the log says why, and what vLLM has is listed all the same.
    """
    own = {card["id"]: card for card in shown}
    parent = shown[0]["id"] if shown else served
    try:
        versions = await desk.ask(lambda: desk.listed(served, max_rank))
    except LftregError as error:
        log.warning("lftreg: registered adapters are not listed: %s", error.message)
        return list(own.values())
    cards = {pinned(version): _card(version, parent, pinned(version) in own) for version in versions}
    return [cards.pop(name, {}) | card for name, card in own.items()] + list(cards.values())


def _card(version: Version, parent: str, loaded: bool) -> dict[str, Any]:
    """A model as clients of OpenAI's API read it; what only a registry knows is under `lftreg`."""
    return {
        "id": pinned(version),
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": "lftreg",
        "root": version.name,
        "parent": parent,
        "lftreg": {
            "ref": version.ref,
            "digest": f"sha256:{version.digest}",
            "aliases": list(version.aliases),
            "domain": version.domain,
            "rank": version.rank,
            "loaded": loaded,
        },
    }
