"""The text of an answer as its tokens come: whole characters only, and nothing of a text that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\ufffd"  # what a decoder writes for the first bytes of a character


class Writing:
    """Turns ids into text, piece by piece. All pieces together are what the ids say up to a stop text."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, [text for text in stop if text]
        self._ids: list[int] = []
        self._from = self._upto = 0  # ids of the last piece, whose text is known: decoders look at neighbours
        self._held = ""  # text that may be the beginning of a stop text
        self.stopped = False

    def add(self, id_: int) -> str:
        """The text that is certain once this token has come."""
        self._ids.append(id_)
        before = self._decode(self._ids[self._from : self._upto])
        after = self._decode(self._ids[self._from :])
        if after.endswith(UNFINISHED) or len(after) <= len(before):
            return ""
        self._from, self._upto = self._upto, len(self._ids)
        return self._pass(after[len(before) :])

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        if self.stopped:
            return ""
        before = self._decode(self._ids[self._from : self._upto])
        rest = self._pass(self._decode(self._ids[self._from :])[len(before) :])
        held, self._held = self._held, ""
        return rest if self.stopped else rest + held

    def _pass(self, text: str) -> str:
        if not self._stop:
            return text
        text = self._held + text
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text a stop text may begin with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
