"""The language of `--where`: comparisons, joined by `and`, `or`, `not` and parentheses.

    bleu > 30 and base = starter            tag.team in (care, desk) or not alias
    (rank >= 8 or parameters > 1M) and created > 7d and name ~ "support"

A field alone asks whether there is a value. Which fields there are is told by `fields`; what comes of a comparison
by `where_sql`. Nothing here knows of a database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lftreg.errors import UsageError

LONGEST = 4000  # characters
DEEPEST = 32  # parentheses within each other
MOST = 100  # comparisons, and values of one `in`
WINDOW = 30  # characters that an error shows before and behind its place
HAS = "has"  # the operator of a field alone

_TOKEN = re.compile(
    r"(?P<operator><=|>=|!=|==|=|<|>|~)|(?P<mark>[(),])"
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<word>[^\s()<>=!~,"']+)""",
    re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNREADABLE = re.compile("[\0\ud800-\udfff]")
_KEYWORDS = ("and", "or", "not", "in")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is word, quoted, operator, mark or end; `at` is its place in the text, from 0."""

    kind: str
    text: str
    at: int

    def is_(self, keyword: str) -> bool:
        return self.kind in ("word", "mark") and self.text.lower() == keyword

    @property
    def is_value(self) -> bool:
        return self.kind == "quoted" or (self.kind == "word" and self.text.lower() not in _KEYWORDS)


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison: `operator` is = < <= > >= ~ in, or HAS."""

    field: Token
    operator: str
    values: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    inner: Node


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Node, ...]


Node = Test | Not | Every | Some


def parse(text: str) -> Node:
    """Read an expression. Raises UsageError with the place of what cannot be read."""
    if len(text) > LONGEST:
        raise UsageError(
            f"the condition has {len(text)} characters; {LONGEST} are allowed", code="invalid-where"
        )
    return _Parser(text).all()


def tests(node: Node) -> Iterator[Test]:
    """The comparisons of an expression, in the order in which they were written."""
    if isinstance(node, Test):
        yield node
    elif isinstance(node, Not):
        yield from tests(node.inner)
    else:
        for part in node.parts:
            yield from tests(part)


def wrong(
    text: str, at: int, message: str, hint: str | None = None, code: str = "invalid-where"
) -> UsageError:
    """The error for a place in a text, with a caret below it."""
    start = max(0, at - WINDOW)
    shown = "".join(c if c.isprintable() else "?" for c in text[start : at + WINDOW])
    before, after = "..." if start else "", "..." if at + WINDOW < len(text) else ""
    caret = " " * (len(before) + at - start) + "^"
    return UsageError(f"{message}\n  {before}{shown}{after}\n  {caret}", hint, code=code)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split())
        self.place = 0
        self.compared = 0

    def all(self) -> Node:
        if self.look().kind == "end":
            raise UsageError(
                "the condition is empty", "such as: bleu > 30 and base = starter", code="invalid-where"
            )
        node = self.some(0)
        if self.look().kind != "end":
            closes = self.look().is_(")")
            raise self.error(
                "this parenthesis closes none" if closes else "`and`, `or` or the end is expected here"
            )
        return node

    def some(self, depth: int) -> Node:
        parts = [self.every(depth)]
        while self.look().is_("or"):
            self.take()
            parts.append(self.every(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def every(self, depth: int) -> Node:
        parts = [self.one(depth)]
        while self.look().is_("and"):
            self.take()
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def one(self, depth: int) -> Node:
        turned = False
        while self.look().is_("not"):
            self.take()
            turned = not turned
        if self.look().is_("("):
            if depth == DEEPEST:
                raise self.error(f"parentheses are more than {DEEPEST} deep here")
            self.take()
            node = self.some(depth + 1)
            if not self.look().is_(")"):
                raise self.error("`and`, `or` or `)` is expected here")
            self.take()
        else:
            node = self.test()
        return Not(node) if turned else node

    def test(self) -> Node:
        if not self.look().is_value:
            raise self.error("a field is expected here", "such as: bleu > 30 and base = starter")
        self.compared += 1
        if self.compared > MOST:
            raise self.error(f"more than {MOST} comparisons")
        field = self.take()
        if self.look().kind == "operator":
            operator = self.take().text
            if not self.look().is_value:
                quoted = "a value that is such a word is quoted" if self.look().kind == "word" else None
                raise self.error("a value is expected here", quoted)
            test = Test(field, {"!=": "=", "==": "="}.get(operator, operator), (self.take(),))
            return Not(test) if operator == "!=" else test
        turned = self.look().is_("not") and self.tokens[self.place + 1].is_("in")
        if turned:
            self.take()
        if self.look().is_("in"):
            self.take()
            test = Test(field, "in", self.values())
            return Not(test) if turned else test
        if self.look().is_value or self.look().is_("not"):
            raise self.error("an operator is expected here", "one of = != < <= > >= ~ in")
        return Test(field, HAS)

    def values(self) -> tuple[Token, ...]:
        if not self.look().is_("("):
            raise self.error("`(` is expected here", "such as: domain in (support, faq)")
        found: list[Token] = []
        while not found or self.look().is_(","):
            self.take()  # the parenthesis, then commas
            if not self.look().is_value:
                raise self.error("a value is expected here")
            if len(found) == MOST:
                raise self.error(f"more than {MOST} values")
            found.append(self.take())
        if not self.look().is_(")"):
            raise self.error("`,` or `)` is expected here")
        self.take()
        return tuple(found)

    def look(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def error(self, message: str, hint: str | None = None) -> UsageError:
        return wrong(self.text, self.look().at, message, hint)

    def _split(self) -> Iterator[Token]:
        unreadable = _UNREADABLE.search(self.text)
        if unreadable:
            raise wrong(self.text, unreadable.start(), "this character cannot be read")
        at = _SPACE.match(self.text).end()  # type: ignore[union-attr]  # it matches everywhere
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                quote = self.text[at] in "\"'"
                raise wrong(
                    self.text, at, "this quote is not closed" if quote else "`!=` or `not` is expected here"
                )
            kind, told = str(found.lastgroup), found.group()
            yield Token(kind, _ESCAPED.sub(r"\1", told[1:-1]) if kind == "quoted" else told, at)
            at = _SPACE.match(self.text, found.end()).end()  # type: ignore[union-attr]
        yield Token("end", "", len(self.text))
