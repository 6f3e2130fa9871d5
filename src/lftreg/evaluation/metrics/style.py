"""Style consistency: is an answer written as the references are?

Two questions, and the value is the product of their answers.

1. Reference or base? A regularised logistic regression on how texts are written (`lftreg.evaluation.stylometry`),
   references against the bare base's answers to the same prompts, so that both are about the same things.
2. Stranger than a reference? Telling two writers apart says nothing of a third (Koppel and Winter 2014, doi
   10.1002/asi.22954): a reference with its words shuffled is no answer of the base either. So an answer's distance
   from the references is ranked among distances of references that were held out, as in a conformal p-value (Vovk,
   Gammerman and Shafer 2005). To be among the nearest nine tenths costs nothing; beyond, the value falls to 0.

All of it is cross-fitted: what judges an item has seen neither its reference nor its base's answer, nor any equal
text. An answer that repeats the reference of another item may have been seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from lftreg.evaluation.separation import ENOUGH, FEWEST, auc, refused, spaced
from lftreg.evaluation.stylometry import Encoder, Surprise, Writing, kept_words, read
from lftreg.plugins.types import Measured, Metric, Outputs

if TYPE_CHECKING:
    import numpy as np

FOLDS = 5
MOST = 400  # pairs that a judge learns from; more tell it little and cost time
PENALTY = 0.0005  # of the squared weights, beside the mean log loss
STRANGE = 0.1  # the share of references that count as strange


def measure(outputs: Outputs) -> Measured:
    """The style score of each answer, 0 to 1. One without a letter or a digit is in no style, and gets 0."""
    ruler = _ruler(outputs.references, outputs.base)
    if not ruler.measurable:
        return Measured((None,) * len(outputs), note=ruler.note, measurable=False)
    values = tuple(ruler.score(at, text) for at, text in enumerate(outputs.answers))
    return Measured(values, note=ruler.note, signature=f"folds={FOLDS}")


METRICS: tuple[Metric, ...] = (
    Metric(
        "style",
        "How likely an answer is written as the references are, whatever it says.",
        measure,
        ("references", "base"),
    ),
)


class _Strangeness:
    """How far a text is from some references, in four ways that say nothing of its content.

    The disorder of its characters and of its words, and the mean distance of its punctuation and of its lengths
    (Burrows's Delta). Each is standardised on references that were not learned from; only what is above
    their mean counts, since no text is too typical.
    """

    def __init__(self, learned: Sequence[Writing]) -> None:
        self._characters = Surprise([writing.characters for writing in learned])
        self._tokens = Surprise([writing.tokens for writing in learned])
        self._encoder = Encoder(learned)

    def ways(self, writings: Sequence[Writing]) -> np.ndarray:
        """The four distances, float64 (texts, 4)."""
        import numpy as np

        found = np.zeros((len(writings), 4))
        found[:, 0] = [self._characters.disorder(writing.characters) for writing in writings]
        found[:, 1] = [self._tokens.disorder(writing.tokens) for writing in writings]
        for at, kind in ((2, "marks"), (3, "figures")):
            scores = np.abs(self._encoder.scores(kind, writings))
            if scores.shape[1]:  # references without any punctuation leave no column to be far in
                found[:, at] = scores.mean(1)
        return found


@dataclass(frozen=True)
class _Judge:
    """What was learned from the other folds. `usual` are the `ways` of references that were held out, (n, 4)."""

    kept: frozenset[str]
    encoder: Encoder
    weights: np.ndarray
    strangeness: _Strangeness
    usual: np.ndarray

    def score(self, text: str) -> float:
        writing = read(text, self.kept)
        margins = _with_one(self.encoder.rows([writing])) @ self.weights
        return float(_logistic(margins)[0]) * self._typical(writing)

    def _typical(self, writing: Writing) -> float:
        """1 for what is nearer than the strange tenth of references, falling to 0 for what is beyond all of them."""
        import numpy as np

        center, spread = self.usual.mean(0), np.maximum(self.usual.std(0), 1e-3)

        def distance(ways: np.ndarray) -> np.ndarray:
            above: np.ndarray = np.hypot.reduce(np.maximum((ways - center) / spread, 0.0), axis=1)
            return above

        as_far = np.mean(distance(self.usual) >= distance(self.strangeness.ways([writing])))
        return min(1.0, float(as_far) / STRANGE)


@dataclass(frozen=True)
class _Ruler:
    """A judge for each fold, the fold of each item, and what is known of how well they judge."""

    judges: tuple[_Judge, ...] = ()
    folds: tuple[int, ...] = ()
    note: str = ""
    measurable: bool = False

    def score(self, item: int, text: str) -> float:
        return self.judges[self.folds[item]].score(text) if _is_written(text) else 0.0


@lru_cache(maxsize=4)
def _ruler(references: tuple[str, ...], base: tuple[str, ...]) -> _Ruler:
    """Made once for all speakers of a suite, which share references and base."""
    import numpy as np

    told = [at for at, text in enumerate(references) if _is_written(text)]
    distinct = len({references[at].strip() for at in told})
    if distinct < FEWEST:
        return _Ruler(note=refused(f"style needs {FEWEST} different references, and here are {distinct}"))
    folds = _folds(references)
    judges = [_judge(fold, folds, told, references, base) for fold in range(FOLDS)]
    whole = tuple(judge for judge in judges if judge is not None)
    if len(whole) < FOLDS:
        return _Ruler(note=refused("too many of the base's answers are equal, or equal to a reference"))
    known = _Ruler(whole, folds)
    high = np.array([known.score(at, references[at]) for at in told])
    low = np.array([known.score(at, base[at]) for at in told])
    area = auc(high, low)
    stated = f"held-out AUC {area:.2f} over {len(told)} references"
    if area < ENOUGH:
        return _Ruler(note=refused(f"references and the base's answers are written alike, {stated}"))
    return _Ruler(whole, folds, stated, True)


def _is_written(text: str) -> bool:
    return any(map(str.isalnum, text))


def _folds(references: Sequence[str]) -> tuple[int, ...]:
    """The fold of each item; equal references share one."""
    groups: dict[str, int] = {}
    return tuple(groups.setdefault(text.strip(), len(groups)) % FOLDS for text in references)


def _judge(
    fold: int, folds: Sequence[int], told: Sequence[int], references: Sequence[str], base: Sequence[str]
) -> _Judge | None:
    """What is learned from the other folds; None where too little is left once equal texts are out."""
    held = [at for at in told if folds[at] == fold]
    hidden = {texts[at].strip() for at in held for texts in (references, base)}
    rest = spaced([at for at in told if folds[at] != fold], MOST)
    golds = [at for at in rest if references[at].strip() not in hidden]
    bases = [at for at in rest if base[at].strip() not in hidden]
    if min(len(golds), len(bases)) < FEWEST // 2:
        return None
    kept = kept_words([references[at] for at in golds])
    count = cache(lambda text: read(text, kept))
    positive = [count(references[at]) for at in golds]
    negative = [count(base[at]) for at in bases]
    encoder = Encoder([*positive, *negative])
    weights = _fit(encoder.rows(positive), encoder.rows(negative))
    usual = _held_out_ways(positive, [folds[at] for at in golds])
    return _Judge(kept, encoder, weights, _Strangeness(positive), usual)


def _held_out_ways(writings: Sequence[Writing], folds: Sequence[int]) -> np.ndarray:
    """The distances of each text from those of the other folds, float64 (texts, 4)."""
    import numpy as np

    found = np.zeros((len(writings), 4))
    for fold in sorted(set(folds)):
        inside = [at for at, of in enumerate(folds) if of == fold]
        outside = [writing for writing, of in zip(writings, folds, strict=True) if of != fold]
        found[inside] = _Strangeness(outside).ways([writings[at] for at in inside])
    return found


def _fit(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression with an L2 penalty, the constant last: float64 (columns + 1,).

    By Newton's method. Both kinds weigh the same, whatever their numbers, so that a margin of 0 is an even chance.
    """
    import numpy as np

    rows = _with_one(np.vstack([positive, negative]))
    kind = np.repeat([1.0, 0.0], [len(positive), len(negative)])
    share = np.repeat([0.5 / len(positive), 0.5 / len(negative)], [len(positive), len(negative)])
    penalty = np.full(rows.shape[1], PENALTY)
    penalty[-1] = 1e-9
    weights = np.zeros(rows.shape[1])
    for _ in range(50):
        chance = _logistic(rows @ weights)
        slope = rows.T @ (share * (chance - kind)) + penalty * weights
        bend = (rows * (share * chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _with_one(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.hstack([rows, np.ones((len(rows), 1))])


def _logistic(margins: np.ndarray) -> np.ndarray:
    import numpy as np

    chances: np.ndarray = 1.0 / (1.0 + np.exp(-np.clip(margins, -50, 50)))
    return chances
