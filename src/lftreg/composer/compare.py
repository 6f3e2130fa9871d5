"""How far two adapters of one base are from each other, measured on their factors.

The difference of two updates is a composition with the weights 1 and -1, so it is read and measured as one:
no update of a layer is ever built. torch and PEFT are not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from lftreg.composer.inspection import LayerReport, inspect, triangle
from lftreg.composer.kitchen import Kitchen, ahead, one_blas_thread
from lftreg.composer.layers import Stack
from lftreg.composer.listening import Listener, silent
from lftreg.composer.lowrank import EXACT_UP_TO, Spectrum
from lftreg.composer.methods.cat import METHODS
from lftreg.composer.parents import Parent, read_parent
from lftreg.composer.places import mean, root
from lftreg.composer.plan import Plan, common_layers
from lftreg.errors import Incompatible
from lftreg.registry import Registry, Version

NEAR = 1e-3  # of the larger norm: below it the difference of Gram matrices has too few figures left


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One layer of two adapters. What applies to both is None where only one adapts the layer.

    `ranks` and `norms` are those of a and of b, None and 0 where the layer is left alone; `difference` is
    ||A - B||. `conflict` is the share of sampled entries on which the signs of the two differ. `estimated`
    says that the norms come from random vectors and are good to some 3 %.
    """

    path: str
    shape: tuple[int, int]
    ranks: tuple[int | None, int | None]
    norms: tuple[float, float]
    difference: float
    cosine: float | None
    conflict: float | None
    estimated: bool = False

    @property
    def inner(self) -> float:
        """The inner product of both updates."""
        return (self.cosine or 0.0) * self.norms[0] * self.norms[1]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two adapters of one base. Norms are Frobenius norms over all layers."""

    layers: tuple[LayerChange, ...]

    @property
    def norms(self) -> tuple[float, float]:
        return norms_of(self.layers)

    @property
    def difference(self) -> float:
        return math.sqrt(math.fsum(layer.difference**2 for layer in self.layers))

    @property
    def relative(self) -> float | None:
        """||A - B|| / ||A||; None where A adds nothing."""
        return relative_of(self.layers)

    @property
    def cosine(self) -> float | None:
        return cosine_of(self.layers)

    @property
    def conflict(self) -> float | None:
        """The mean over the layers that both adapt."""
        return mean(layer.conflict for layer in self.layers)

    @property
    def estimated(self) -> bool:
        return any(layer.estimated for layer in self.layers)

    def only_in(self, which: int) -> list[str]:
        """The layers that only a (0) or only b (1) adapts."""
        return [layer.path for layer in self.layers if layer.ranks[1 - which] is None]

    def ranks(self, which: int) -> tuple[int, ...]:
        """The ranks of a (0) or b (1), each once."""
        return tuple(sorted({layer.ranks[which] or 0 for layer in self.layers} - {0}))


def norms_of(layers: Sequence[LayerChange]) -> tuple[float, float]:
    """||A|| and ||B|| over some layers."""
    a, b = (math.sqrt(math.fsum(layer.norms[which] ** 2 for layer in layers)) for which in (0, 1))
    return a, b


def relative_of(layers: Sequence[LayerChange]) -> float | None:
    """||A - B|| / ||A|| over some layers; None where A adds nothing."""
    return root((layer.difference**2 for layer in layers), (layer.norms[0] ** 2 for layer in layers))


def cosine_of(layers: Sequence[LayerChange]) -> float | None:
    """The cosine over some layers; None where either adds nothing."""
    a, b = norms_of(layers)
    if not a * b:
        return None
    return max(-1.0, min(1.0, math.fsum(layer.inner for layer in layers) / (a * b)))


def compare(a: Version, b: Version, registry: Registry, listen: Listener = silent) -> Comparison:
    """Measure B against A, layer by layer. ||A - B|| is good to 1e-8 of ||A||, where it is not `estimated`.

    Raises Incompatible where they stand on different bases or one is no sum of factors (DoRA and others, by
    name), CheckFailed for a file that is not what was registered, InvalidData for one that holds what is no number.
    """
    if a.base.fingerprint != b.base.fingerprint:
        raise Incompatible(
            f"{a.ref} and {b.ref} were made for different bases: {a.base.id} ({a.base.fingerprint[:12]}) "
            f"and {b.base.id} ({b.base.fingerprint[:12]})",
            "weights can be compared only on one base",
            code="different-bases",
        )
    parents = (read_parent(a, 1.0, registry), read_parent(b, -1.0, registry))
    for parent in parents:
        registry.weights(parent.version)
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        kitchen = Kitchen(_plan(parents), stack)
        paths = list(kitchen.plan.layers)
        measured = []
        with closing(ahead(lambda path: _measure(kitchen, path), paths, kitchen.threads)) as layers:
            for layer in layers:
                measured.append(layer)
                listen("comparing", len(measured))
        return Comparison(tuple(measured))


def _plan(parents: tuple[Parent, Parent]) -> Plan:
    """The difference as something that could be composed, which is how its layers are read."""
    return Plan("difference", METHODS[0], {}, parents, common_layers(parents), "float32", "factors")


def _measure(kitchen: Kitchen, path: str) -> LayerChange:
    stack = kitchen.read(path)
    report = inspect(stack, stack.whole, 2, spectrum=_nothing())
    ranks: Mapping[int, int] = {part.key: part.rows.stop - part.rows.start for part in stack.parts}
    a, b = (math.sqrt(max(0.0, float(report.inner[key, key]))) for key in (0, 1))
    return LayerChange(
        path,
        report.shape,
        (ranks.get(0), ranks.get(1)),
        (a, b),
        _difference(stack, report, max(a, b)),
        max(-1.0, min(1.0, float(report.inner[0, 1]) / (a * b))) if a * b else None,
        report.conflict,
        stack.c.size > EXACT_UP_TO,
    )


def _nothing() -> Spectrum:
    """In place of singular values, which nobody asks for here and which take the longest."""
    import numpy as np

    return Spectrum(np.empty(0), 0.0)


def _difference(stack: Stack, report: LayerReport, scale: float) -> float:
    """||A - B||. Where little is left of it, from triangles of sixteen figures: a Gram matrix has half of them."""
    import numpy as np

    if _same(stack):
        return 0.0
    if stack.c.size > EXACT_UP_TO or report.norm > NEAR * scale:
        return report.norm
    left, right = triangle(stack.b), triangle(stack.a.T)
    return float(np.linalg.norm((left * stack.c) @ right.T))


def _same(stack: Stack) -> bool:
    """Whether both have the very same factors, which rounding must not make a difference of."""
    import numpy as np

    if len(stack.parts) < 2:
        return False
    (one, other) = (stack.part(part) for part in stack.parts)
    scales = {part.scale for part in stack.parts}
    return len(scales) == 1 and np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b)
