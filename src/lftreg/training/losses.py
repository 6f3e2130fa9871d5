"""Every loss of a run as a small file beside its version, so that its curve can be drawn again by anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lftreg.errors import InvalidData
from lftreg.training.events import Stepped, Validated

LOSSES = "losses.json"
MEAN_OF = 10  # steps that a running mean is made of, in a run that is long enough


@dataclass(frozen=True, slots=True)
class Losses:
    """The steps and the validations of a run; `unit` is what a loss is counted by."""

    steps: Sequence[Stepped]
    validations: Sequence[Validated]
    unit: str = "token"

    def to_bytes(self) -> bytes:
        """As JSON: columns for the steps, of which there are many, and a row for each validation."""
        columns = {
            name: [getattr(step, name) for step in self.steps] for name in Stepped.__dataclass_fields__
        }
        rows = [asdict(validation) for validation in self.validations]
        return (json.dumps({"unit": self.unit, "steps": columns, "validations": rows}) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Losses:
        """Raises InvalidData where a file is none that `to_bytes` wrote."""
        try:
            found = json.loads(content)
            names = Stepped.__dataclass_fields__
            columns = [found["steps"][name] for name in names]
            steps = [Stepped(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
            validations = [Validated(**row) for row in found["validations"]]
            return cls(tuple(steps), tuple(validations), str(found["unit"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidData(f"{LOSSES} cannot be read: {error}", "lftreg verify says more") from error


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
