"""Every loss of a run as a small file beside its version, so that its curve can be drawn again by anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field
from typing import Any

from lftreg.errors import InvalidData
from lftreg.training.events import Stepped, Validated

LOSSES = "losses.json"
MEAN_OF = 10  # steps that a running mean is made of, in a run that is long enough


@dataclass(frozen=True, slots=True)
class Losses:
    """The steps and the validations of a run; `unit` is what a loss is counted by.

    `facts` is what was known of rows and base before the first step (`lftreg.training.facts`), empty in what an
    older lftreg wrote.
    """

    steps: Sequence[Stepped]
    validations: Sequence[Validated]
    unit: str = "token"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As JSON: columns for the steps, of which there are many, and a row for each validation."""
        columns = {
            name: [getattr(step, name) for step in self.steps] for name in Stepped.__dataclass_fields__
        }
        rows = [asdict(validation) for validation in self.validations]
        told = {"unit": self.unit, "steps": columns, "validations": rows, "facts": dict(self.facts)}
        return (json.dumps(told) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Losses:
        """Raises InvalidData where a file is none that `to_bytes` wrote."""
        try:
            found = json.loads(content)
            names = [name for name in Stepped.__dataclass_fields__ if name in found["steps"] or _needed(name)]
            columns = [found["steps"][name] for name in names]
            steps = [Stepped(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
            validations = [Validated(**row) for row in found["validations"]]
            return cls(tuple(steps), tuple(validations), str(found["unit"]), found.get("facts") or {})
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidData(f"{LOSSES} cannot be read: {error}", "lftreg verify says more") from error


def _needed(name: str) -> bool:
    """Whether a column has to be there: those that came later are optional."""
    return Stepped.__dataclass_fields__[name].default is MISSING


class RunningMean:
    """An exponential mean of what came so far, without the bias towards its start.

    Of a short run of so many `steps` it covers fewer: it would lag behind.
    """

    def __init__(self, steps: int) -> None:
        self._keep = 1 - 1 / min(MEAN_OF, max(3, steps // 20))
        self._total = self._weight = 0.0

    def add(self, value: float) -> float:
        """The mean with one more value."""
        self._total = self._keep * self._total + (1 - self._keep) * value
        self._weight = self._keep * self._weight + (1 - self._keep)
        return self._total / self._weight


def running_mean(values: Sequence[float]) -> list[float]:
    mean = RunningMean(len(values))
    return [mean.add(value) for value in values]
