"""The adapters that lie in the slots of a pool: brought in from the registry by digest, checked, and taken out again.

Reading and checking happen on a thread of their own, so that nobody who is being answered waits for it. What was used
least recently leaves, and never what a row in flight uses.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lftreg.composer.parents import keys_of, read_slots
from lftreg.composer.settings import read_settings
from lftreg.errors import Incompatible, InvalidData, LftregError, UsageError
from lftreg.models.attach import AdapterModel
from lftreg.registry import WEIGHTS, Registry, Version
from lftreg.registry.content import changed
from lftreg.serving.pool import Parts, Pool
from lftreg.serving.voices import Voice
from lftreg.tensors import header_of, read_header

if TYPE_CHECKING:
    import torch

Factors = Mapping[str, "tuple[torch.Tensor, torch.Tensor]"]  # by path A, (rank, inputs), and scaled B
WHOLE = 8  # adapters that PEFT runs, at most, in memory

log = logging.getLogger("lftreg.serving")


@dataclass(slots=True)
class Lying:
    """An adapter in memory, or on its way: its slots, or none where PEFT runs it."""

    slots: tuple[int, ...]
    users: int = 0
    ready: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class Lease:
    """The right of one row to the adapters of its voice, from before they are there until it ends."""

    voice: Voice
    lying: tuple[Lying, ...] = ()
    whole: str | None = None  # the adapter's digest where PEFT runs it
    done: bool = field(default=False)

    @property
    def ready(self) -> bool:
        return all(one.ready for one in self.lying)

    @property
    def error(self) -> Exception | None:
        return next((one.error for one in self.lying if one.error is not None), None)

    @property
    def parts(self) -> Parts:
        """The slots of the row, and how much each counts."""
        if self.whole is not None:
            return ()
        pairs = zip(self.lying, self.voice.weights, strict=True)
        return tuple((slot, weight) for one, weight in pairs for slot in one.slots)


class Shelf:
    """Who is in which slot. `lend` and `give_back` are called by one thread; loading is on another."""

    def __init__(self, pool: Pool, peft: AdapterModel, registry: Registry, wake: Callable[[], None]) -> None:
        self._pool, self._peft, self._registry, self._wake = pool, peft, registry, wake
        self._free = list(range(pool.slots))
        self._there: OrderedDict[str, Lying] = OrderedDict()  # the least recently used first
        self._known: dict[str, bool] = {}  # by digest, whether the pool can hold it
        self._elsewhere: dict[str, Registry] = {}
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="lftreg-loader")
        self.loads = self.evictions = 0

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)

    @property
    def there(self) -> tuple[str, ...]:
        """Digests of what is in memory, the least recently used first."""
        with self._lock:
            return tuple(digest for digest, lying in self._there.items() if lying.ready)

    def check(self, voice: Voice) -> None:
        """Raise UsageError or Incompatible for a voice that can never speak here, whatever else leaves."""
        wanted = 0
        for version in voice.versions:
            plain = self.plain(version)
            if not plain and not voice.plain:
                raise Incompatible(
                    f"{version.ref} is more than the factors of a LoRA, and cannot be part of a sum",
                    "ask it by itself",
                    code="not-plain",
                )
            wanted += self._slots_of(version) if plain else 0
        if wanted > self._pool.slots:
            raise UsageError(
                f"{voice.asked[:80]!r} needs {wanted} slots of rank {self._pool.rank}; there are {self._pool.slots}",
                "lftreg serve --slots N --slot-rank N, or compose it into one adapter",
            )

    def lend(self, voice: Voice) -> Lease | None:
        """A lease, of adapters that may still be on their way; None while there is no room for them."""
        with self._lock:
            if voice.plain and not self.plain(voice.versions[0]):
                return self._lend_whole(voice)
            lacking = [v for v in voice.versions if v.digest not in self._there]
            wanted = sum(self._slots_of(version) for version in lacking)
            if not self._make_room(wanted, {v.digest for v in voice.versions}):
                return None
            for version in lacking:
                count = self._slots_of(version)
                lying = Lying(tuple(self._free.pop() for _ in range(count)))
                self._there[version.digest] = lying
                self._loader.submit(self._load, version, lying)
            return self._taken(voice, None)

    def give_back(self, lease: Lease) -> None:
        with self._lock:
            if lease.done:
                return
            lease.done = True
            for version, lying in zip(lease.voice.versions, lease.lying, strict=True):
                lying.users -= 1
                if lying.ready:
                    self._clear(version.digest, lying)

    def lies_in(self, digest: str, registry: Registry) -> None:
        """Say that the files of an adapter are those of another registry."""
        self._elsewhere[digest] = registry

    def _of(self, version: Version) -> Registry:
        return self._elsewhere.get(version.digest, self._registry)

    def drop(self, digest: str) -> bool:
        """Take out an adapter that nobody uses. Returns whether it was there."""
        with self._lock:
            lying = self._there.get(digest)
            if lying is None or lying.users or not lying.ready:
                return False
            self._take_out(digest)
            return True

    def _take_out(self, digest: str) -> None:
        lying = self._there.pop(digest)
        self._free.extend(lying.slots)
        if not lying.slots:
            self._peft.detach(digest)

    def _taken(self, voice: Voice, whole: str | None) -> Lease:
        lying = []
        for version in voice.versions:
            one = self._there[version.digest]
            one.users += 1
            self._there.move_to_end(version.digest)
            lying.append(one)
        return Lease(voice, tuple(lying), whole)

    def _lend_whole(self, voice: Voice) -> Lease | None:
        (version,) = voice.versions
        if version.digest not in self._there:
            whole = [digest for digest, lying in self._there.items() if not lying.slots]
            if len(whole) >= WHOLE:
                idle = next((d for d in whole if not self._there[d].users and self._there[d].ready), None)
                if idle is None:
                    return None
                self._take_out(idle)
                self.evictions += 1
            lying = self._there[version.digest] = Lying(())
            self._loader.submit(self._load, version, lying)
        return self._taken(voice, version.digest)

    def _make_room(self, wanted: int, keep: set[str]) -> bool:
        idle = [
            digest
            for digest, lying in self._there.items()
            if lying.slots and not lying.users and lying.ready and digest not in keep
        ]
        if len(self._free) + sum(len(self._there[d].slots) for d in idle) < wanted:
            return False
        for digest in idle:
            if len(self._free) >= wanted:
                break
            self._take_out(digest)
            self.evictions += 1
        return True

    def plain(self, version: Version) -> bool:
        """Whether an adapter is nothing but the factors of linear layers, which the pool can hold."""
        if version.digest not in self._known:
            self._known[version.digest] = self._fits(version)
        return self._known[version.digest]

    def _fits(self, version: Version) -> bool:
        registry = self._of(version)
        try:
            settings = read_settings(registry.config(version), version.ref)
            header = read_header(registry.file(version, WEIGHTS))
            slots = read_slots(header.tensors, settings, version.ref)
        except Incompatible:
            return False
        except InvalidData:  # not even a header: say whose file it is, and that it has changed
            registry.weights(version)
            raise
        return all(path in self._pool.at and not slot.layer.embedding for path, slot in slots.items())

    def _slots_of(self, version: Version) -> int:
        return max(1, math.ceil(version.rank / self._pool.rank))

    def _load(self, version: Version, lying: Lying) -> None:
        try:
            registry = self._of(version)
            if lying.slots:
                pieces = read_factors(version, registry, self._pool.rank)
                for slot, piece in zip(lying.slots, pieces, strict=True):
                    self._pool.fill(slot, piece)
            else:
                self._peft.attach(version.digest, registry.config(version), registry.weights(version))
            self.loads += 1
        except Exception as error:  # whoever waits for it is told, and the thread goes on
            if not isinstance(error, LftregError):
                log.exception("%s could not be loaded", version.ref)
            lying.error = error
        lying.ready = True
        with self._lock:
            self._clear(version.digest, lying)  # nobody may be left to give it back
        self._wake()

    def _clear(self, digest: str, lying: Lying) -> None:
        """Take out what could not be loaded, once nobody waits for it: the next who asks has it tried again."""
        if lying.error is not None and not lying.users and self._there.get(digest) is lying:
            del self._there[digest]
            self._free.extend(lying.slots)


def read_factors(version: Version, registry: Registry, rank: int) -> Sequence[Factors]:
    """The factors of an adapter by path, cut into pieces of at most `rank`; its scale is in B.

    Raises CheckFailed where the file is not the one that was registered.
    """
    import torch

    settings = read_settings(registry.config(version), version.ref)
    held = checked_bytes(version, registry)
    header = header_of(held, registry.file(version, WEIGHTS))
    slots = read_slots(header.tensors, settings, version.ref)

    def tensor(key: str) -> torch.Tensor:
        info = header.tensors[key]
        dtype = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
        flat = torch.frombuffer(held, dtype=dtype[info.dtype], count=info.count, offset=info.start)
        return flat.view(info.shape)

    pieces: list[dict[str, Any]] = [{} for _ in range(max(1, math.ceil(version.rank / rank)))]
    for path, slot in slots.items():
        a, b = (tensor(key) for key in keys_of(slot.layer))
        scaled = b.float() * slot.scale
        for at, piece in enumerate(pieces):
            cut = slice(at * rank, (at + 1) * rank)
            if cut.start < slot.rank:
                piece[path] = a[cut], scaled[:, cut]
    return pieces


def checked_bytes(version: Version, registry: Registry) -> bytearray:
    """The weights of a version, read once and hashed. Raises CheckFailed where they have changed."""
    stored = next(file for file in version.files if file.name == WEIGHTS)
    held = bytearray(stored.size)
    with registry.file(version, WEIGHTS).open("rb", buffering=0) as file:
        at = 0
        while at < len(held) and (got := file.readinto(memoryview(held)[at:])):
            at += got
        more = file.read(1)
    if at < len(held) or more or hashlib.sha256(held).hexdigest() != stored.sha256:
        raise changed(WEIGHTS, version)
    return held
