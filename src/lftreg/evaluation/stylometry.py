"""How a text is written, with what it is about taken out as far as that goes.

Words that carry content are replaced by their shape before anything is counted: "Returns take ten days" is read as
"Xxxxxxx xxxx xxx xxxx". This is the text distortion of Stamatatos (2017, EACL, aclanthology E17-1107): what stays is
function words, case, punctuation, spacing, and where numbers and words of which length stand. That a measure of style
has to hold content fixed is the point of STEL (Wegmann and Nguyen 2021, arXiv 2109.04817).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LONGEST = 4000  # characters of a text that are read
ENGLISH = frozenset(
    """
    a an the this that these those each every either neither some any no all both few many much more most other
    another such what which who whom whose i me my mine myself we us our ours ourselves you your yours yourself he
    him his himself she her hers herself it its itself they them their theirs themselves one ones someone anyone
    everyone nobody nothing something anything everything be am is are was were been being have has had having do
    does did done doing will would shall should can could may might must ought need and or but nor so yet if unless
    until while because although though since as than whether when whenever where wherever why how of in on at by
    for with about against between into through during before after above below to from up down out off over under
    again further then once here there not never only just also too very quite rather still already ever always
    often almost even yes please i'm you're we're they're it's that's there's he's she's what's let's i've we've
    you've i'll we'll you'll don't doesn't didn't isn't aren't wasn't can't cannot won't couldn't wouldn't
    """.split()  # noqa: SIM905 a list of 230 strings is no easier to read
)
IS_ENGLISH = 0.25  # share of function words; English prose has about half, other languages next to none
SHORT, COMMON = 4, 0.1  # elsewhere: words of at most so many letters that so large a share of the texts have
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|\n|[^\w\s]|_")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|[。！？।]+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return [_plain(word) for word in _WORD.findall(text)]


def kept_words(texts: Sequence[str]) -> frozenset[str]:
    """The words that are style: English function words, or the short words that many of the texts share.

    The second is a stand-in where the texts are not English, or are code: the most frequent words of any language
    are its function words, and they are short (Zipf 1949).
    """
    found = [words_of(text) for text in texts]
    total = sum(map(len, found))
    english = sum(word in ENGLISH for words in found for word in words)
    if total and english / total >= IS_ENGLISH:
        return ENGLISH
    shared = Counter(word for words in found for word in set(words) if len(word) <= SHORT)
    return frozenset(word for word, count in shared.items() if count >= max(2, COMMON * len(texts)))


def masked(text: str, kept: frozenset[str]) -> str:
    """A text with each word outside `kept` as its shape (X for a capital, x for any other letter), digits as 0."""

    def shape(found: re.Match[str]) -> str:
        word = found[0]
        return word if _plain(word) in kept else "".join("X" if c.isupper() else "x" for c in word)

    return re.sub(r"\d", "0", _WORD.sub(shape, text))


@dataclass(frozen=True, slots=True)
class Writing:
    """What is counted of one text: shares of character 3-grams, function words and punctuation, and eight figures.

    `characters` and `tokens` are the masked text as sequences, with marks where it begins and ends.
    """

    trigrams: Mapping[str, float]
    words: Mapping[str, float]
    marks: Mapping[str, float]
    figures: tuple[float, ...]
    characters: tuple[str, ...]
    tokens: tuple[str, ...]


def read(text: str, kept: frozenset[str]) -> Writing:
    """Count a text. Marks that only combine with a letter are left out: they are no punctuation."""
    whole = unicodedata.normalize("NFC", text.strip()[:LONGEST])
    whole = "".join(c for c in whole if unicodedata.category(c)[0] != "M")
    shown, words = masked(whole, kept), words_of(whole)
    return Writing(
        _shares(shown[at : at + 3] for at in range(len(shown) - 2)),
        _shares((word for word in words if word in kept), len(words)),
        _shares((c for c in whole if c == "\n" or unicodedata.category(c)[0] in "PS"), len(whole)),
        _figures(whole, words),
        ("^", "^", *shown, "$"),
        ("^", "^", *_tokens(shown, kept), "$"),
    )


def _figures(text: str, words: Sequence[str]) -> tuple[float, ...]:
    """Length in characters and words, of words and of sentences; shares of capitals, digits, lines, new words."""
    from math import log, log1p

    count, size = max(1, len(words)), max(1, len(text))
    sentences = max(1, len(_SENTENCE_END.findall(text)))
    return (
        log1p(len(text)),
        log1p(len(words)),
        sum(map(len, words)) / count,
        log(count / sentences),
        sum(map(str.isupper, text)) / size,
        sum(map(str.isdigit, text)) / size,
        log1p(text.count("\n")),
        len(set(words)) / count,
    )


def _tokens(shown: str, kept: frozenset[str]) -> list[str]:
    """Kept words and punctuation as they are, any other word as x or X: the order of things, not what they are."""
    return [
        token if not token[0].isalnum() or _plain(token) in kept else token[0]
        for token in _TOKEN.findall(shown)
    ]


def _plain(word: str) -> str:
    return word.lower().replace("’", "'")


def _shares(found: Iterable[str], total: int | None = None) -> dict[str, float]:
    counts = Counter(found)
    whole = max(1, counts.total() if total is None else total)
    return {key: count / whole for key, count in counts.items()}


class Encoder:
    """Texts as standardised rows: the difference of each count from its mean over the texts that it was made of.

    The z-scores of Burrows's Delta (2002, doi 10.1093/llc/17.3.267), of square roots of shares, cut at 4. Each kind
    of count has the same weight, whatever the number of its columns.
    """

    COUNTS = (("trigrams", 300), ("words", 150), ("marks", 40))  # with the most columns of each
    KINDS = (*(kind for kind, _ in COUNTS), "figures")
    CUT = 4.0

    def __init__(self, writings: Sequence[Writing]) -> None:
        self._columns = {kind: _frequent([getattr(w, kind) for w in writings], n) for kind, n in self.COUNTS}
        counts = {kind: self._count(kind, writings) for kind in self.KINDS}
        self._mean = {kind: columns.mean(0) for kind, columns in counts.items()}
        self._spread = {kind: _spread(columns) for kind, columns in counts.items()}

    def rows(self, writings: Sequence[Writing]) -> np.ndarray:
        """All kinds side by side, float64 (texts, columns)."""
        import numpy as np

        kinds = [self.scores(kind, writings) for kind in self.KINDS]
        return np.hstack([scores / max(1, scores.shape[1]) ** 0.5 for scores in kinds])

    def scores(self, kind: str, writings: Sequence[Writing]) -> np.ndarray:
        """The z-scores of one kind of count, float64 (texts, its columns)."""
        import numpy as np

        scores = (self._count(kind, writings) - self._mean[kind]) / self._spread[kind]
        cut: np.ndarray = np.clip(scores, -self.CUT, self.CUT)
        return cut

    def _count(self, kind: str, writings: Sequence[Writing]) -> np.ndarray:
        import numpy as np

        if kind == "figures":
            return np.array([w.figures for w in writings], float)
        columns = self._columns[kind]
        rows = [[getattr(w, kind).get(column, 0.0) for column in columns] for w in writings]
        roots: np.ndarray = np.sqrt(np.array(rows, float).reshape(len(writings), len(columns)))
        return roots


def _frequent(counted: Sequence[Mapping[str, float]], most: int) -> list[str]:
    """The keys that most texts have, at least three; equally frequent ones by name."""
    texts = Counter(key for counts in counted for key in counts)
    return [key for key, n in sorted(texts.items(), key=lambda told: (-told[1], told[0]))[:most] if n >= 3]


def _spread(columns: np.ndarray) -> np.ndarray:
    """Standard deviations; where all texts are equal, 1, so that what differs is told in its own unit."""
    import numpy as np

    spread = columns.std(0)
    return np.where(spread < 1e-9, 1.0, spread)


class Surprise:
    """An n-gram model of sequences, smoothed as Witten and Bell do (1991, doi 10.1109/18.87000)."""

    ORDER = 3

    def __init__(self, sequences: Sequence[Sequence[str]]) -> None:
        self._seen = [_grams(sequences, n) for n in range(1, self.ORDER + 1)]
        self._before = [_contexts(seen, seen) for seen in self._seen]
        self._kinds = [_contexts(seen, dict.fromkeys(seen, 1)) for seen in self._seen]

    def bits(self, sequence: Sequence[str], context: int = ORDER - 1) -> float:
        """The mean surprise at each mark after the first two, in bits, knowing so many marks before it."""
        from math import log2

        start = self.ORDER - 1
        grams = [tuple(sequence[at - context : at + 1]) for at in range(start, len(sequence))]
        return -sum(log2(self._chance(gram)) for gram in grams) / max(1, len(grams))

    def disorder(self, sequence: Sequence[str]) -> float:
        """The surprise less what it is without any context, in bits: high where familiar marks stand oddly.

        How frequent the marks of a text are differs from text to text. Taken out, what is left is their order.
        """
        return self.bits(sequence) - self.bits(sequence, 0)

    def _chance(self, gram: tuple[str, ...]) -> float:
        """Of the last mark after those before it: longer contexts weigh in as far as they were seen."""
        chance = 1.0 / (len(self._seen[0]) + 1)
        for at in range(len(gram)):
            tail = gram[len(gram) - 1 - at :]
            count, kinds = self._before[at].get(tail[:-1], 0), self._kinds[at].get(tail[:-1], 0)
            if count:
                chance = (self._seen[at][tail] + kinds * chance) / (count + kinds)
        return chance


def _grams(sequences: Sequence[Sequence[str]], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(s[at : at + n]) for s in sequences for at in range(len(s) - n + 1))


def _contexts(
    grams: Iterable[tuple[str, ...]], counts: Mapping[tuple[str, ...], int]
) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for gram in grams:
        found[gram[:-1]] = found.get(gram[:-1], 0) + counts[gram]
    return found
