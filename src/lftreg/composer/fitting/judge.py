"""Whether a mixture is better than the best adapter alone, on rows that nothing was chosen by.

Mixing often loses to one good adapter (arXiv 2602.12323), and a few rows can say anything. So all are
measured on the same held-out rows, differences are taken row by row, and only an interval that leaves 0 out
counts as a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["base", "single", "equal", "fit", "control"]

ENOUGH = 10  # prompts; a bootstrap over fewer says too little
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Compared:
    """One candidate on the held-out rows.

    `loss` is in nats a token (or what `Fitted.unit` names). `ci95` is the 95 % interval of its loss less that of
    the best single adapter, below 0 where it is better, None for that adapter itself; `fit_ci95` that of the
    fit's loss less its own, below 0 where the fit is better, None for the fit.
    """

    name: str
    kind: Kind
    loss: float
    ci95: tuple[float, float] | None
    fit_ci95: tuple[float, float] | None


def compare(
    names: Sequence[tuple[str, Kind]],
    sums: NDArray[np.float64],
    learned: Sequence[int],
    keys: Sequence[str],
    seed: int,
) -> tuple[Compared, ...]:
    """Candidates by their losses `sums` (candidates, rows) in nats, over `learned` (rows,) tokens.

    The best single adapter is the one that is best on these very rows, which makes it hard to beat. Intervals
    are a percentile bootstrap (Efron 1979) of the paired difference over prompts (`keys`): rows of one prompt
    are drawn together, and a draw's loss is its nats over its tokens.
    """
    import numpy as np

    prompts = sorted(set(keys))
    place = {key: number for number, key in enumerate(prompts)}
    of = np.array([place[key] for key in keys])
    nats = np.stack([np.bincount(of, row, len(prompts)) for row in sums])
    tokens = np.bincount(of, learned, len(prompts))
    losses = nats.sum(1) / tokens.sum()
    best = min((n for n, (_, kind) in enumerate(names) if kind == "single"), key=lambda n: float(losses[n]))
    drawn = np.random.default_rng(seed).multinomial(
        len(prompts), np.full(len(prompts), 1 / len(prompts)), DRAWS
    )
    means = drawn @ nats.T / (drawn @ tokens)[:, None]

    def interval(one: int, other: int) -> tuple[float, float] | None:
        low, high = np.percentile(means[:, one] - means[:, other], [2.5, 97.5])
        return None if one == other else (float(low), float(high))

    fit = next(n for n, (_, kind) in enumerate(names) if kind == "fit")
    return tuple(
        Compared(name, kind, float(losses[n]), interval(n, best), interval(fit, n))
        for n, (name, kind) in enumerate(names)
    )


def judge(compared: Sequence[Compared], unit: str, prompts: int) -> tuple[bool, str]:
    """Whether the fit beat the best single adapter, and the sentence that says so.

    A win names what else the fit cannot be told apart from: where adapters only harm, the bare base beats them
    too, and equal weights often do as well as fitted ones.
    """
    single = next(one for one in compared if one.kind == "single" and one.ci95 is None)
    fit = next(one for one in compared if one.kind == "fit")
    assert fit.ci95 is not None
    low, high = fit.ci95
    told = (
        f"the best single adapter, {single.name}: {fit.loss:.3f} against {single.loss:.3f} nats a {unit} on "
    )
    told += f"{prompts} held-out prompts" if prompts != 1 else "one held-out prompt"
    if prompts < ENOUGH:
        return False, f"the fit did not beat {told}, which is too little to tell"
    told += f" (95 % interval of the difference {low:+.3f} to {high:+.3f})"
    if high >= 0:
        return False, f"the fit did not beat {told}"
    alike = [
        f"{one.name} ({one.loss:.3f})"
        for one in compared
        if one.kind in ("base", "equal", "control") and one.fit_ci95 is not None and one.fit_ci95[1] >= 0
    ]
    but = f"; but it was no better, as far as can be told, than {' and '.join(alike)}" if alike else ""
    return True, f"the fit beat {told}{but}"
