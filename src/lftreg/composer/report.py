"""What a composition did, in figures that are kept beside it: the attachment `composition.json`.

Of every layer: how large the weighted sum is, what of it was lost, how the parents' updates lie to
each other, and how few ranks would hold how much of it. Of all layers together the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lftreg.composer.inspection import LayerReport
from lftreg.composer.lowrank import Spectrum
from lftreg.errors import InvalidData
from lftreg.tensors.vllm import vllm_rank

if TYPE_CHECKING:
    from lftreg.composer.layers import Doubles

ATTACHMENT = "composition.json"
FORMAT = 1
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # at which energy is told
PAIRS_OF = 6  # parents up to which every layer tells of every pair


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a report.

    `norm` is that of the weighted sum; `error` is relative to it, None where it is zero. `cosine` is the
    mean over all pairs of parents that both adapt the layer, `cosines` every pair (i, j, cosine) of few
    parents, by their places. `conflict` is the share of entries on which signs differ. `energy` maps a rank
    to the share of the squared norm that it can hold.
    """

    path: str
    shape: tuple[int, int]
    norm: float
    error: float | None
    cosine: float | None
    conflict: float | None
    energy: Mapping[str, float]
    cosines: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A composition, measured. `cosines` is (parents, parents) over all layers, as is `energy`."""

    parents: tuple[str, ...]
    method: str
    rank: int
    relative_error: float | None
    cosines: tuple[tuple[float, ...], ...]
    energy: Mapping[str, float]
    layers: tuple[Layer, ...]

    def to_bytes(self) -> bytes:
        # Not `asdict`, which copies every number of every layer.
        written = {f.name: getattr(self, f.name) for f in fields(self)}
        written["layers"] = [{f.name: getattr(one, f.name) for f in fields(one)} for one in self.layers]
        return json.dumps({"format": FORMAT, **written}, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Report:
        """Raises InvalidData for what another version of lftreg wrote."""
        try:
            document = json.loads(content)
            if document.pop("format") != FORMAT:
                raise ValueError("it has another format")
            layers = tuple(
                Layer(
                    **{
                        **layer,
                        "shape": tuple(layer["shape"]),
                        "cosines": tuple(map(tuple, layer["cosines"])),
                    }
                )
                for layer in document.pop("layers")
            )
            return cls(
                **{
                    **document,
                    "parents": tuple(document["parents"]),
                    "cosines": tuple(map(tuple, document["cosines"])),
                },
                layers=layers,
            )
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidData(
                f"its {ATTACHMENT} cannot be read ({error})", "compose it again, or use a newer lftreg"
            ) from error


class Totals:
    """What was measured, layer by layer, kept as small as a report needs it: a hundred parents have
    ten thousand inner products in every layer.
    """

    def __init__(self) -> None:
        self._layers: list[Layer] = []
        self._spectra: list[Spectrum | None] = []
        self._squares: list[tuple[float, float]] = []
        self._inner: Any = 0.0

    def add(self, layer: LayerReport) -> None:
        self._layers.append(_layer(layer))
        self._spectra.append(layer.spectrum)
        self._squares.append((layer.error**2, layer.norm**2))
        self._inner = self._inner + layer.inner

    def relative_error(self) -> float | None:
        """||result - sum|| / ||sum|| over all layers. None where the sum is zero, of which nothing is a part."""
        error = math.fsum(error for error, _ in self._squares)
        whole = math.fsum(norm for _, norm in self._squares)
        return math.sqrt(error / whole) if whole else (0.0 if not error else None)

    def report(self, *, parents: Sequence[str], method: str, rank: int) -> Report:
        return Report(
            tuple(parents),
            method,
            rank,
            self.relative_error(),
            tuple(tuple(round(float(x), 6) for x in row) for row in _cosines(self._inner)),
            _energy(self._spectra),
            tuple(self._layers),
        )


def _layer(layer: LayerReport) -> Layer:
    cosines = _cosines(layer.inner)
    parents = len(cosines)
    pairs = [
        (i, j, round(float(cosines[i, j]), 6))
        for i in range(parents)
        for j in range(i + 1, parents)
        if layer.inner[i, i] > 0 and layer.inner[j, j] > 0
    ]
    return Layer(
        layer.path,
        layer.shape,
        layer.norm,
        layer.error / layer.norm if layer.norm else (0.0 if not layer.error else None),
        round(math.fsum(c for _, _, c in pairs) / len(pairs), 6) if pairs else None,
        layer.conflict,
        _energy([layer.spectrum]),
        tuple(pairs) if parents <= PAIRS_OF else (),
    )


def _cosines(inner: Doubles) -> Doubles:
    """Cosines from inner products; 0 beside a parent that is nowhere."""
    import numpy as np

    norms = np.sqrt(np.clip(np.diag(inner), 0, None))
    scale = np.outer(norms, norms)
    made: Doubles = np.divide(inner, scale, out=np.zeros_like(inner), where=scale > 0)
    return np.clip(made, -1, 1)


def _energy(spectra: Iterable[Spectrum | None]) -> dict[str, float]:
    """The share of the squared norm that a rank can hold, up to the first that holds it all."""
    known = [one for one in spectra if one is not None]
    whole = math.fsum(one.energy for one in known)
    if not whole:
        return {}
    shares: dict[str, float] = {}
    longest = max(len(one.values) for one in known)
    for rank in RANKS:
        shares[str(rank)] = round(1 - math.fsum(one.lost(rank) for one in known) / whole, 6)
        if rank >= longest:
            break
    return shares


def summary(report: Report) -> dict[str, Any]:
    """The few figures that are said when a composition is made."""
    conflicts = [layer.conflict for layer in report.layers if layer.conflict is not None]
    pairs = [c for i, row in enumerate(report.cosines) for c in row[i + 1 :]]
    return {
        "cosine": math.fsum(pairs) / len(pairs) if pairs else None,
        "conflict": math.fsum(conflicts) / len(conflicts) if conflicts else None,
        "vllm_rank": vllm_rank(report.rank),
    }
