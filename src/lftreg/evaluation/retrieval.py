"""A user's documents as passages, and the search for those that may answer a question.

Passages are ranked by BM25 (Robertson et al. 1994; the variant of Lucene, k1 1.5, b 0.75, as in Lù 2024,
arXiv 2407.03618): the baseline that needs no model, no index server and no language of its own. Words are
neither stemmed nor left out, so any language that writes spaces is searched alike.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, NotFound, StorageError
from lftreg.evaluation.extras import extra
from lftreg.evaluation.metrics.texts import words

TEXTS = (".txt", ".md", ".rst", ".html", ".htm")
LONGEST = (
    160  # words of a passage; a document is cut between paragraphs, or sentences, before it grows longer
)
OVERLAP = 30  # words at most that a passage repeats of the one before it
HOLDS = 0.5  # the share of a reference's words, by their rarity, that a passage must have to be its source
_PARAGRAPHS = re.compile(r"\n\s*\n")
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: its file, relative to the folder, and its place among the file's passages, from 0."""

    text: str
    source: str
    place: int

    @property
    def name(self) -> str:
        return f"{self.source}#{self.place}"


@dataclass(frozen=True, slots=True)
class Documents:
    """A folder as passages. `files` were read; `left_out` were not, by the reason."""

    folder: Path
    passages: tuple[Passage, ...]
    files: int
    left_out: Mapping[str, int]


def read_documents(folder: Path) -> Documents:
    """Every text below a folder, cut into passages. Hidden files are not looked at.

    Raises NotFound for a folder that is not there, InvalidData where it holds no text or a text that is none,
    StorageError for what may not be read.
    """
    paths, others = _texts_in(folder)
    left_out = {"of another kind": others, "empty": 0}
    passages: list[Passage] = []
    for path in paths:
        found = cut(_read(path), path.relative_to(folder).as_posix())
        left_out["empty"] += not found
        passages += found
    if not passages:
        held = "only empty texts" if paths else "no text" if others else "no file"
        raise InvalidData(
            f"the folder {folder} holds {held}: there is nothing to search",
            f"put documents there as text: {', '.join(TEXTS)}",
            code="no-documents",
        )
    told = {reason: count for reason, count in left_out.items() if count}
    return Documents(folder, tuple(passages), len(paths) - left_out["empty"], told)


def cut(text: str, source: str) -> list[Passage]:
    """A document as passages of at most LONGEST words, each but the first beginning with the end of the one before.

    Paragraphs stay whole where they fit, then sentences; a longer sentence is cut between words.
    """
    chunks: list[list[str]] = []
    fresh = False  # whether the last chunk holds more than what it repeats
    for piece in _pieces(text):
        size = len(piece.split())
        if not chunks or (fresh and _words(chunks[-1]) + size > LONGEST):
            chunks.append(_tail(chunks[-1], LONGEST - size) if chunks else [])
        chunks[-1].append(piece)
        fresh = True
    return [Passage("\n".join(chunk), source, place) for place, chunk in enumerate(chunks)]


class Index:
    """Texts that can be searched by a question. Raises Unavailable where bm25s is not installed."""

    def __init__(self, texts: Sequence[str]) -> None:
        bm25s = extra("bm25s")
        self._words = frozenset(word for text in texts for word in words(text))
        self._ranker: Any = None
        if self._words:  # bm25s has no index of nothing
            self._ranker = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
            self._ranker.index([words(text) for text in texts], show_progress=False)

    def search(self, question: str, k: int) -> list[int]:
        """The places of the texts that fit best, at most k, the best first; those that share no word are left out.

        Texts of one score stand in their own order.
        """
        asked = [word for word in words(question) if word in self._words]
        if not asked or k < 1:
            return []
        scores = self._ranker.get_scores(asked)
        ranked = (-scores).argsort(kind="stable")[:k].tolist()
        return [place for place in ranked if scores[place] > 0]


def find_gold(passages: Sequence[Passage], references: Sequence[str]) -> list[tuple[int, ...]]:
    """For each reference the places of the passages that hold most of its words, all of one share, at least HOLDS.

    A word counts as much as it is rare among the passages (BM25's inverse document frequency), or else answers
    of one pattern would all be held by each other's passages. Empty where no passage holds enough. What is
    found is the likeliest source, and no proof.
    """
    held = [Counter(words(passage.text)) for passage in passages]
    spread = Counter(word for words in held for word in words)
    size = len(passages)

    def rarity(word: str) -> float:
        return math.log(1 + (size - spread[word] + 0.5) / (spread[word] + 0.5))

    return [_best(held, Counter(words(reference)), rarity) for reference in references]


def _best(
    held: Sequence[Counter[str]], wanted: Counter[str], rarity: Callable[[str], float]
) -> tuple[int, ...]:
    weighed = [(word, count, rarity(word)) for word, count in wanted.items()]
    shared = [sum(weight * min(count, words[word]) for word, count, weight in weighed) for words in held]
    most = max(shared, default=0.0)
    if not most or most < HOLDS * sum(weight * count for _, count, weight in weighed):
        return ()
    return tuple(place for place, weight in enumerate(shared) if weight == most)


def recall_at(ranked: Sequence[Sequence[int]], gold: Sequence[Sequence[int]], k: int) -> float | None:
    """The share of questions for which one of the first k found is gold; None where no question has any gold.

    Questions without gold are left out: nothing could have been found for them.
    """
    hits = [
        any(place in right for place in found[:k]) for found, right in zip(ranked, gold, strict=True) if right
    ]
    return sum(hits) / len(hits) if hits else None


def _texts_in(folder: Path) -> tuple[list[Path], int]:
    """The texts below a folder, in order, and how many other files there are."""
    if not folder.exists():
        raise NotFound(
            f"there is no folder {folder}", "--docs takes the folder of your documents", code="unknown-folder"
        )
    if not folder.is_dir():
        raise InvalidData(f"{folder} is a file", "--docs takes the folder that it is in", code="no-folder")
    found: list[Path] = []
    others = 0
    for top, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [Path(top) / name for name in sorted(names) if not name.startswith(".")]
        texts = [path for path in shown if path.suffix.lower() in TEXTS]
        found += texts
        others += len(shown) - len(texts)
    return found, others


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        _unreadable(error)
    hint = "save it as UTF-8, or take it out of the folder"
    if b"\0" in content:
        raise InvalidData(f"{path} is a binary file under the name of a text", hint, code="no-text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidData(f"{path} is not UTF-8: byte {error.start}", hint, code="no-text") from error
    return _visible(text) if path.suffix.lower() in (".html", ".htm") else text


def _unreadable(error: OSError) -> None:
    raise StorageError(
        f"{error.filename} cannot be read: {error.strerror}", "check its permissions"
    ) from error


class _Page(HTMLParser):
    """The text of a page: what stands between tags, a paragraph for every block."""

    UNSEEN = frozenset({"script", "style", "template", "noscript"})
    INLINE = frozenset({"a", "abbr", "b", "code", "em", "i", "small", "span", "strong", "sub", "sup", "u"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unseen += tag in self.UNSEEN
        self._block(tag)

    def handle_endtag(self, tag: str) -> None:
        self.unseen -= tag in self.UNSEEN and self.unseen > 0
        self._block(tag)

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.parts.append(re.sub(r"\s+", " ", data))

    def _block(self, tag: str) -> None:
        if tag not in self.INLINE:
            self.parts.append("\n\n")


def _visible(html: str) -> str:
    page = _Page()
    page.feed(html)
    page.close()
    return "".join(page.parts)


def _pieces(text: str) -> list[str]:
    """Paragraphs, or where one is longer than a passage its sentences, or pieces of those."""
    pieces: list[str] = []
    for paragraph in _PARAGRAPHS.split(text):
        sentences = [paragraph] if len(paragraph.split()) <= LONGEST else _SENTENCES.split(paragraph)
        for sentence in sentences:
            parts = sentence.split()
            if len(parts) <= LONGEST:
                pieces.append(sentence.strip())
                continue
            pieces += [" ".join(parts[at : at + LONGEST]) for at in range(0, len(parts), LONGEST)]
    return [piece for piece in pieces if words(piece)]


def _words(pieces: Sequence[str]) -> int:
    return sum(len(piece.split()) for piece in pieces)


def _tail(pieces: Sequence[str], room: int) -> list[str]:
    """The last words of a passage, from the beginning of a sentence where one begins there; none without room."""
    words = " ".join(pieces).split()[-OVERLAP:]
    if len(words) > room:
        return []
    starts = [at for at, word in enumerate(words[:-1], start=1) if word.endswith((".", "!", "?"))]
    begin = starts[0] if starts else 0
    return [" ".join(words[begin:])] if words[begin:] else []
