"""Training settings: what a user may set, and the defaults that hold up where nothing is set.

The defaults follow what careful comparisons agree on: adapters on every linear layer, plain LoRA
with alpha twice the rank, no dropout, a warm-up and a cosine (LoRA Without Regret, 2025; Biderman
et al. 2024, arXiv 2405.09673). The learning rate falls with the base's size: small bases
need far larger steps than the customary 2e-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lftreg.errors import UsageError
from lftreg.models.quantize import check_kind

# (up to this many base parameters, learning rate)
LEARNING_RATES = (
    (50e6, 3e-3),
    (300e6, 1e-3),
    (2e9, 4e-4),
    (15e9, 2e-4),
    (float("inf"), 1e-4),
)
# (up to this many training rows, epochs)
EPOCHS = ((200, 5), (2000, 3), (float("inf"), 1))
SMALL_BASE = 50e6  # below this a base knows so little that it needs more passes
SMALL_BASE_EPOCHS = 5
LARGEST_RANK = 8192  # the widest layers of the largest open models are about so wide
FEWEST_STEPS = 60  # fewer optimizer steps than this teach nothing, however few the rows


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is made with. `None` means: decide from the base and the data.

    lr is the peak; warmup is the share of steps before it; patience counts validations without
    an improvement before the run stops; clip is the largest gradient norm; prompt_dropout is the share
    of a prompt's words that each pass leaves out anew, neftune the alpha of NEFTune's noise, opening_weight
    how much more the first tokens of an answer count than the others. `packing` puts several rows into a line;
    `plain` trains by PEFT's own model, by itself, instead of beside others over one base.
    """

    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    prompt_dropout: float = 0.0
    neftune: float = 0.0
    opening_weight: float = 1.0
    targets: str = "all-linear"
    lr: float | None = None
    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int = 8
    accumulate: int = 1
    max_length: int | None = None
    warmup: float = 0.06
    weight_decay: float = 0.0
    clip: float = 1.0
    patience: int = 2
    dtype: str = "auto"
    quantize: str | None = None
    gradient_checkpointing: bool = False
    packing: bool = False
    plain: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.rank <= LARGEST_RANK, "rank", self.rank, f"at most {LARGEST_RANK}")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "from 0 to 2^63 - 1")
        for name in ("rank", "batch_size", "accumulate", "patience"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("epochs", "max_steps", "max_length"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "1 or more")
        _require(self.lr is None or 0 < self.lr < 1, "lr", self.lr, "between 0 and 1, such as 2e-4")
        _require(self.alpha is None or 0 < self.alpha < math.inf, "alpha", self.alpha, "more than 0")
        check_kind(self.quantize)
        _require(0 <= self.neftune < math.inf, "neftune", self.neftune, "0 or more; 5 is usual")
        _require(1 <= self.opening_weight <= 100, "opening_weight", self.opening_weight, "from 1 to 100")
        for name in ("dropout", "prompt_dropout"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")

    def resolved(self, base_parameters: int, rows: int) -> Settings:
        """The same settings with nothing left to decide, for a base of so many parameters."""
        epochs = self.epochs or _first(EPOCHS, rows)
        if self.epochs is None and base_parameters <= SMALL_BASE:
            epochs = max(epochs, SMALL_BASE_EPOCHS)
        steps_an_epoch = max(1, self.steps_a_pass(rows))
        if self.epochs is None:
            epochs = max(epochs, -(-FEWEST_STEPS // steps_an_epoch))
        return replace(
            self,
            alpha=self.alpha or 2.0 * self.rank,
            lr=self.lr or _first(LEARNING_RATES, base_parameters),
            epochs=int(epochs),
            max_steps=self.max_steps or int(epochs) * steps_an_epoch,
        )

    def steps_a_pass(self, rows: int) -> int:
        """Optimizer steps of one pass over so many rows; the last may be a smaller one."""
        return -(-rows // (self.batch_size * self.accumulate))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def settings_from(given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Settings:
    """Settings from options: what is given wins over a domain's `defaults`, which win over ours.

    Raises UsageError for a name that is no setting.
    """
    known = {field.name for field in fields(Settings)}
    chosen = dict(defaults or {}) | {name: value for name, value in given.items() if value is not None}
    for name in chosen:
        if name not in known:
            raise UsageError(f"{name!r} is no training setting", f"one of {', '.join(sorted(known))}")
    return Settings(**chosen)


def _first(table: tuple[tuple[float, Any], ...], size: float) -> Any:
    return next(value for limit, value in table if size <= limit)


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} {value} makes no sense", f"give {wanted}")
