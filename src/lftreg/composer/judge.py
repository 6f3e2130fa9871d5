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

    `loss` is in nats a token (or what `Fitted.unit` names); `ci95` the 95 % interval of its loss less that of
    the best single adapter, below 0 where it is better, None for that adapter itself.
    """

    name: str
    kind: Kind
    loss: float
    ci95: tuple[float, float] | None


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
    apart = drawn @ (nats - nats[best]).T / (drawn @ tokens)[:, None]
    low, high = np.percentile(apart, [2.5, 97.5], axis=0)
    return tuple(
        Compared(name, kind, float(losses[n]), None if n == best else (float(low[n]), float(high[n])))
        for n, (name, kind) in enumerate(names)
    )


def judge(compared: Sequence[Compared], unit: str, prompts: int) -> tuple[bool, str]:
    """Whether the fit beat the best single adapter, and the sentence that says so."""
    single = next(one for one in compared if one.kind == "single" and one.ci95 is None)
    fit, control = (next(one for one in compared if one.kind == kind) for kind in ("fit", "control"))
    assert fit.ci95 is not None
    low, high = fit.ci95
    figures = f"{fit.loss:.3f} against {single.loss:.3f} nats a {unit}"
    where = f"on {prompts} held-out prompts" if prompts != 1 else "on one held-out prompt"
    between = f"95 % interval of the difference {low:+.3f} to {high:+.3f}"
    if prompts < ENOUGH:
        said = (
            f"the fit did not beat the best single adapter, {single.name}, as far as can be told: {figures}"
        )
        return False, f"{said} {where}, which are too few to tell"
    if high < 0:
        said = f"the fit beat the best single adapter, {single.name}: {figures} {where} ({between})"
        if control.loss <= fit.loss:
            said += f"; but random adapters, fitted alike, came to {control.loss:.3f}"
        return True, said
    return (
        False,
        f"the fit did not beat the best single adapter, {single.name}: {figures} {where} ({between})",
    )
