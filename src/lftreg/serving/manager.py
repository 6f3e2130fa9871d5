"""The engine under the names that people know from tutorials: one base in memory, and adapters by name."""

from __future__ import annotations

import tempfile
import threading
import weakref
from pathlib import Path

from lftreg.errors import NotFound, unknown
from lftreg.models.answers import prompt_rows
from lftreg.models.base import find_base
from lftreg.models.generate import BASE_PREFIX
from lftreg.models.load import load_base
from lftreg.models.markers import unmarked
from lftreg.paths import Home
from lftreg.plugins.types import Message
from lftreg.registry import Registry, parse_ref
from lftreg.remotes.folder import import_folder
from lftreg.serving.engine import Engine
from lftreg.serving.sampling import Sampling
from lftreg.serving.tickets import Asked, Ended, Event, Failed, Said
from lftreg.serving.voices import Voice, find_voice


class AdapterManager:
    """One base in memory, and every adapter of the registry that was made for it, by name.

    Threads may ask at once: their requests share batches, and each is answered by the adapter that it names.
    """

    def __init__(
        self, base: str = "starter", registry: Registry | None = None, *, quantize: str | None = None
    ) -> None:
        self.registry = registry or Registry()
        loaded = load_base(find_base(base, self.registry), quantize=quantize)
        self.engine = Engine(loaded, self.registry)
        self.close = weakref.finalize(self, self.engine.close)
        self._bare = f"{BASE_PREFIX}{loaded.base.record.id}"
        self.active = self._bare
        self._named: dict[str, Voice] = {}
        self._private: Registry | None = None

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Let an adapter be called by a name: a REF or a sum such as `a:0.7+b:0.3`, or a folder that PEFT wrote.

        Adapters of the registry need not be loaded first. A folder passes the gate for strangers' adapters; it
        is copied to a place that is gone with this object, and the registry does not see it.
        """
        if isinstance(path, Path) or ("+" not in path and parse_ref(path.rpartition(":")[0] or path).path):
            self._named[name] = self._from_folder(name, Path(path))
        else:
            self._named[name] = find_voice(path, self.engine.loaded.base, self.registry)

    def switch_adapter(self, name: str | None) -> None:
        """Let an adapter answer from now on; None is the bare base."""
        self._voice(name or self._bare)
        self.active = name or self._bare

    def generate(
        self,
        prompt: str,
        adapter_name: str | None = None,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> str:
        """An answer of the active adapter, or of the one that is named: any REF, or a sum of them."""
        voice = self._voice(adapter_name or self.active)
        (ids,) = prompt_rows(self.engine.loaded, [[Message("user", unmarked(prompt))]])
        return said(self.engine, Asked(voice, ids, Sampling(max_new_tokens, temperature, seed=seed)))

    def _voice(self, name: str) -> Voice:
        if name in self._named:
            return self._named[name]
        try:
            return find_voice(name, self.engine.loaded.base, self.registry)
        except NotFound:
            known = [*self._named, *(version.name for version in self.registry.list())]
            raise unknown(
                "adapter", name, known, "load_adapter(name, REF or folder) gives it a name"
            ) from None

    def _from_folder(self, name: str, folder: Path) -> Voice:
        if self._private is None:
            scratch = tempfile.TemporaryDirectory(prefix="lftreg-")
            weakref.finalize(self, scratch.cleanup)
            self._private = Registry(Home(Path(scratch.name)))
        version = import_folder(self._private, folder, name=name, base=self.engine.loaded.base)
        self.engine.shelf.lies_in(version.digest, self._private)
        return Voice(name, (version,), (1.0,))


class LoRAModelServer:
    """A base with one adapter that answers; see `AdapterManager` for many."""

    def __init__(
        self,
        base: str = "starter",
        adapter: str | Path | None = None,
        registry: Registry | None = None,
        *,
        quantize: str | None = None,
    ) -> None:
        """`adapter` is a REF, a sum such as `a:0.7+b:0.3`, or a folder that PEFT wrote; None is the bare base."""
        self.manager = AdapterManager(base, registry, quantize=quantize)
        if adapter is not None:
            self.manager.load_adapter("adapter", adapter)
            self.manager.switch_adapter("adapter")

    def generate(self, prompt: str, max_length: int = 100, temperature: float = 0.7, seed: int = 0) -> str:
        """An answer of at most `max_length` new tokens."""
        return self.manager.generate(prompt, None, max_length, temperature, seed)


def said(engine: Engine, asked: Asked) -> str:
    """Ask an engine and wait for the whole answer. Raises what it fails with."""
    texts: list[str] = []
    failed: list[Failed] = []
    done = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, Said | Ended):
            texts.append(event.text)
        else:
            failed.append(event)
        if not isinstance(event, Said):
            done.set()

    ticket = engine.submit(asked, listen)
    try:
        done.wait()
    except BaseException:  # Ctrl-C: nobody listens any more
        ticket.cancel()
        raise
    if failed:
        raise failed[0].error
    return "".join(texts).strip()
