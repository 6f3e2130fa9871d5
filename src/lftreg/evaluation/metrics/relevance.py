"""Domain relevance: is an answer about what the domain is about?

An answer is placed among texts of the domain and as many generic sentences, which come with the package, by the hidden
states of the bare base: those cluster by domain without any training (Aharoni and Goldberg 2020, arXiv 2004.02105),
and no adapter can move them. The value is the share of the domain's texts among its nearest neighbours by cosine.

Hidden states of language models lie in a narrow cone, and a few of their dimensions outweigh all others, so each
dimension is standardised first (Timkey and van Schijndel 2021, arXiv 2109.04404). On the starter base that tells each
built-in domain from generic text as well as raw or only centred states do, or better.

It tells a domain from everyday language. It is no judge between two domains that are alike, nor of whether an answer is
right, and the prompt may lead even a bare base onto the topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lftreg.evaluation.separation import ENOUGH, FEWEST, auc, refused, spaced
from lftreg.plugins.types import Measured, Metric, Outputs

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 10


def measure(outputs: Outputs) -> Measured:
    """The share of in-domain neighbours of each answer, 0 to 1.

    An answer without a letter or a digit is about nothing, and gets 0: left out, silence would cost a speaker nothing.
    """
    domain = domain_texts(outputs)
    if outputs.embed is None or len(domain) < FEWEST:
        found = "no embeddings" if outputs.embed is None else f"{len(domain)}"
        why = f"relevance needs {FEWEST} different texts of the domain, and here are {found}"
        return Measured((None,) * len(outputs), note=refused(why), measurable=False)
    generic = spaced(generic_texts(), len(domain))
    domain = spaced(domain, len(generic))
    vectors = outputs.embed([*domain, *generic, *outputs.answers])
    space = _space(vectors[: 2 * len(domain)])
    area = auc(*space.held_out())
    stated = f"leave-one-out AUC {area:.2f} of {len(domain)} texts of the domain against {len(generic)} generic ones"
    if area < ENOUGH:
        why = f"the base does not tell the domain from generic text, {stated}"
        return Measured((None,) * len(outputs), note=refused(why), measurable=False)
    shares = space.shares(vectors[2 * len(domain) :], _own(domain, outputs.references))
    values = tuple(
        float(share) if any(map(str.isalnum, answer)) else 0.0
        for answer, share in zip(outputs.answers, shares, strict=True)
    )
    return Measured(values, note=stated, signature=f"k={NEIGHBOURS} n={len(domain)}")


METRICS: tuple[Metric, ...] = (
    Metric(
        "relevance",
        "How far an answer is among the domain's texts, not generic ones.",
        measure,
        ("references", "embeddings"),
    ),
)


def generic_texts() -> list[str]:
    """Two hundred plain texts of all sorts, none of them of a built-in domain."""
    from importlib.resources import files

    return files(__package__).joinpath("generic.txt").read_text(encoding="utf-8").splitlines()


def domain_texts(outputs: Outputs) -> list[str]:
    """The references of the suite, each text once: so the ruler is the same for whoever is measured by it."""
    return _distinct(outputs.references)


@dataclass(frozen=True)
class _Space:
    """Domain and generic texts as points, the domain's first: float (2n, width), of length 1."""

    points: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def shares(self, vectors: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        """The share of the domain among the nearest of each vector, (m,). `left_out` is bool, (m, 2n)."""
        return self._among(_unit((vectors - self.mean) / self.spread), left_out)

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The shares of the domain's own texts and of the generic ones, each without itself."""
        import numpy as np

        shares = self._among(self.points, np.eye(len(self.points), dtype=bool))
        half = len(shares) // 2
        return shares[:half], shares[half:]

    def _among(self, points: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        import numpy as np

        near = np.where(left_out, -np.inf, points @ self.points.T)
        nearest = np.argsort(-near, axis=1, kind="stable")[:, :NEIGHBOURS]
        shares: np.ndarray = (nearest < len(self.points) // 2).mean(1)
        return shares


def _space(vectors: np.ndarray) -> _Space:
    import numpy as np

    mean, spread = vectors.mean(0), vectors.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    return _Space(_unit((vectors - mean) / spread), mean, spread)


def _unit(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def _own(domain: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Which of the texts is the reference of an item: bool, (items, texts of both kinds)."""
    import numpy as np

    own = np.zeros((len(references), 2 * len(domain)), dtype=bool)
    places = {text: at for at, text in enumerate(domain)}
    for item, reference in enumerate(references):
        if reference.strip() in places:
            own[item, places[reference.strip()]] = True
    return own


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts if any(map(str.isalnum, text))))
