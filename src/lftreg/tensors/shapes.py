"""The shapes of a base's weights, by which an adapter that is for it can be told: headers only, no weights, no torch.

A file of weights mostly calls a layer as the model does, or with a prefix more or less. Where that does not settle it
(tied heads, fused or renamed layers) the model itself is asked, once, by whoever can build it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lftreg.tensors.header import read_header

Shape = tuple[int, ...]
_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}  # of others, packed ones, a shape tells nothing
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_WEIGHT = ".weight"
PREFIXES = ("model", "transformer")  # that files of a bare model lack


class Shapes:
    """Shapes of the weights of a base by the paths of its modules.

    `ask` builds the model and gives them all, or None where it cannot be built; it is called at most once.
    `prefixes` are what a model of this type may put before the names in its files. `transposed` says that it may have
    linear layers whose weights are kept transposed.
    """

    def __init__(
        self,
        known: Mapping[str, Shape],
        ask: Callable[[], Mapping[str, Shape] | None],
        *,
        prefixes: Iterable[str] = PREFIXES,
        transposed: bool = False,
    ) -> None:
        self._known = known
        self._ask = ask
        self._prefixes = frozenset(prefixes)
        self.transposed = transposed

    @classmethod
    def of_files(
        cls, files: Iterable[Path], ask: Callable[[], Mapping[str, Shape] | None] = lambda: None, **more: Any
    ) -> Shapes:
        known = {
            key.removesuffix(_WEIGHT): info.shape
            for file in files
            for key, info in read_header(file).tensors.items()
            if key.endswith(_WEIGHT) and info.dtype in _FLOATS
        }
        return cls(known, ask, **more)

    def find(self, module: str) -> Shape | None:
        """The shape of a module's weight, or None where the base has no such module."""
        found = self._known.get(module)
        if found is None:
            found = self._prefixed(module)
        if found is not None or self._is_other_layer(module):
            return found
        return self._near(module) if self._model is None else self._model.get(module)

    def siblings(self, modules: Iterable[str]) -> set[str]:
        """All modules of the base that differ from one of these in the numbers of their path only."""
        wanted = {_NUMBER.sub("*", f".{module}.") for module in modules}
        for names in (
            (self._known, self._model or {}) if not wanted <= set(self._families) else (self._known,)
        ):
            found = {name for name in names if _NUMBER.sub("*", f".{name}.") in wanted}
            if found:
                return found
        return set()

    def truly(self, modules: Iterable[str]) -> set[str]:
        """Those of some modules that the built model has, or all where it cannot be built."""
        return set(modules) if self._model is None else {name for name in modules if name in self._model}

    @cached_property
    def widths(self) -> frozenset[int]:
        return frozenset(length for shape in self._known.values() for length in shape)

    @cached_property
    def _model(self) -> Mapping[str, Shape] | None:
        return self._ask()

    @cached_property
    def _tops(self) -> frozenset[str]:
        return frozenset(name.partition(".")[0] for name in self._known)

    @cached_property
    def _families(self) -> frozenset[str]:
        return frozenset(_NUMBER.sub("*", f".{name}.") for name in self._known)

    def _is_other_layer(self, module: str) -> bool:
        """Whether the base has this module in other layers, and so not in this one."""
        return _NUMBER.sub("*", f".{module}.") in self._families

    def _prefixed(self, module: str) -> Shape | None:
        """The shape of a layer that the files call by all of its name but a usual prefix, which none of theirs has."""
        prefix, _, name = module.partition(".")
        if prefix not in self._prefixes or not _NUMBER.search(f".{name}."):
            return None
        return None if prefix in self._tops else self._known.get(name)

    def _near(self, module: str) -> Shape | None:
        """By a name with a prefix less, or with one more that leaves a single answer."""
        parts = module.split(".")
        for skip in range(1, min(4, len(parts))):
            name = ".".join(parts[skip:])
            if name in self._known and _NUMBER.search(f".{name}."):
                return self._known[name]
        found = self._ends.get(module, ())
        return found[0] if len(found) == 1 else None

    @cached_property
    def _ends(self) -> Mapping[str, list[Shape]]:
        ends: dict[str, list[Shape]] = defaultdict(list)
        for name, shape in self._known.items():
            parts = name.split(".")
            for skip in range(1, min(4, len(parts))):
                ends[".".join(parts[skip:])].append(shape)
        return ends
