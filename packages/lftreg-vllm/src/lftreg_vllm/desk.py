"""What is asked of the registry while vLLM serves: a version by its REF, and whether it fits the served base.

Nothing here knows vLLM. A registry belongs to one thread and a server has an event loop, so a `Desk` has a thread of
its own, which opens the registry when it is first asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from lftreg.config import load_settings
from lftreg.errors import Incompatible, InvalidReference, LftregError, NotFound
from lftreg.models.base import find_base
from lftreg.registry import Base, Ref, Registry, Version, parse_ref
from lftreg.remotes.vllm import Servable, check_servable, servable, vllm_folder

BASE = "LFTREG_VLLM_BASE"  # the served base by its id or fingerprint in `lftreg bases`, where it cannot be found out
LONGEST = 256  # characters; a name, an `@` and a digest take 136
_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")
T = TypeVar("T")

# vLLM shows what is logged below its own logger; others it leaves to whoever configures logging.
log = logging.getLogger("vllm.lftreg")


@dataclass(frozen=True, slots=True)
class Resolved:
    """An adapter to load: `name` is NAME@sha256:DIGEST, `number` from 1 to 2**60, the same for the same digest."""

    name: str
    number: int
    folder: Path
    version: Version


class Desk:
    """Answers about one registry, from a thread of its own. `open_registry` is that of the settings if left out."""

    def __init__(self, open_registry: Callable[[], Registry] | None = None) -> None:
        self._open = open_registry or _registry_of_settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lftreg")
        self._bases: dict[str, str] = {}
        self._served: dict[tuple[str, str], Servable] = {}

    async def ask(self, what: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    async def resolve(self, served: str, text: str) -> Resolved:
        """The adapter that a REF names, ready to be loaded. Raises what `resolve_now` raises."""
        return await self.ask(lambda: self.resolve_now(served, text))

    async def pin(self, text: str) -> str:
        """NAME@sha256:DIGEST for a REF. Raises NotFound or InvalidReference."""
        return await self.ask(lambda: pinned(self.registry.get(registry_ref(text))))

    # In the thread

    @cached_property
    def registry(self) -> Registry:
        return self._open()

    def resolve_now(self, served: str, text: str) -> Resolved:
        """`served` is the model as vLLM was given it: a folder or a hub id.

        Raises InvalidReference for what is no REF of the registry, NotFound, Incompatible for another base or an
        adapter that vLLM cannot serve, CheckFailed where stored files are not what was registered.
        """
        version = self.registry.get(registry_ref(text))
        fingerprint = self.fingerprint(served)
        if version.base.fingerprint != fingerprint:
            raise Incompatible(
                f"{version.ref} was made for base {version.base.id!r} ({version.base.fingerprint[:12]}), and "
                f"{served!r} ({fingerprint[:12]}) is served",
                f"serve its base, or set {BASE} where both are the same model",
                code="other-base",
            )
        check_servable(self.registry, version)
        folder = vllm_folder(self.registry, version)
        return Resolved(pinned(version), number_of(version.digest), folder, version)

    def listed(self, served: str, max_rank: int | None = None) -> list[Version]:
        """Every version that can be served on this base, newest first, each content once.

        `max_rank` is the server's `--max-lora-rank`. Raises what `fingerprint` raises.
        """
        versions = self.registry.list(base=self.fingerprint(served), all_versions=True)
        found = {pinned(version): version for version in reversed(versions) if self._fits(version, max_rank)}
        return list(reversed(found.values()))

    def fingerprint(self, served: str) -> str:
        """The fingerprint of the served base, found once. Raises NotFound where nothing tells it."""
        if served not in self._bases:
            self._bases[served] = self._find(served)
        return self._bases[served]

    def _find(self, served: str) -> str:
        said = os.environ.get(BASE)
        if said:
            return _known(said, [base for base, _ in self.registry.bases()])
        return find_base(_on_this_disk(served), self.registry).record.fingerprint

    def _fits(self, version: Version, max_rank: int | None) -> bool:
        key = (version.digest, version.base.fingerprint)
        if key not in self._served:
            try:
                self._served[key] = servable(self.registry, version)
            except LftregError as error:
                log.warning("lftreg: %s is not listed: %s", version.ref, error.message)
                return False
        found = self._served[key]
        return found.vllm and (max_rank is None or (found.max_lora_rank or 0) <= max_rank)


def registry_ref(text: str) -> Ref:
    """A REF of the registry: NAME, NAME@3, NAME@ALIAS or NAME@sha256:DIGEST; no path and no hub id.

    Raises InvalidReference for anything else, whatever it holds.
    """
    if len(text) > LONGEST:
        raise InvalidReference("the name is too long for a reference", "write NAME, NAME@3 or NAME@prod")
    ref = parse_ref(text)
    if ref.name is None:
        raise InvalidReference(f"{text[:80]!r} is not in the registry", "write NAME, NAME@3 or NAME@prod")
    return ref


def pinned(version: Version) -> str:
    """The name under which vLLM knows a version: it says what is inside, and never moves."""
    return f"{version.name}@sha256:{version.digest}"


def number_of(digest: str) -> int:
    """A whole number from 1 to 2**60, which fits the 64 bits that vLLM has for it."""
    return int(digest[:15], 16) + 1


def _registry_of_settings() -> Registry:
    settings = load_settings()
    return Registry(settings.home, settings.database_url)


def _known(said: str, bases: list[Base]) -> str:
    for base in bases:
        by_fingerprint = _FINGERPRINT.fullmatch(said) and base.fingerprint.startswith(said)
        if base.id == said or by_fingerprint:
            return base.fingerprint
    raise NotFound(f"{BASE}={said} is no base of this registry", "`lftreg bases` lists them")


def _on_this_disk(served: str) -> str:
    """The folder of the served model, which vLLM has read already: nothing is downloaded to compare it."""
    if Path(served).expanduser().is_dir():
        return served
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(served, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        raise NotFound(
            f"the served base {served!r} is neither a folder nor in the cache of the hub",
            f"set {BASE} to its id or fingerprint in `lftreg bases`",
        ) from error
