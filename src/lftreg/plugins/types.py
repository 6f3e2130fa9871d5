"""What a plugin hands over: frozen dataclasses, no base classes to inherit from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Need = Literal["several-parents", "equal-ranks"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that an assistant wants run; `arguments` is a JSON object, as text."""

    name: str
    arguments: str = "{}"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    An assistant's turn may hold `calls`, and then no content; a tool's turn may say by `name` which
    function it is from, and by `call` which call it answers.
    """

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    name: str = ""
    call: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn from: a conversation, or a text with or without a label.

    Of a conversation the assistant's turns are learned; of a text with a label the label; of a bare
    text all of it. `fact` groups the rows that ask for the same thing; `seen` is False on test rows
    whose fact is in no training row. `tools` are the functions that the assistant may call, as a JSON
    list of their schemas; `origin` is where a row was read, for messages, and is no part of it.
    """

    messages: tuple[Message, ...] = ()
    fact: str | None = None
    seen: bool = True
    text: str = ""
    label: str | None = None
    tools: str = ""
    origin: str = field(default="", compare=False, repr=False)

    @classmethod
    def pair(cls, prompt: str, response: str, *, fact: str | None = None, seen: bool = True) -> Example:
        """The usual single turn: a prompt and its response."""
        return cls((Message("user", prompt), Message("assistant", response)), fact, seen)

    @classmethod
    def passage(cls, text: str, label: str | None = None) -> Example:
        """A text that is learned itself, or that stands under a label which is learned."""
        return cls(text=text, label=label)

    @property
    def prompt(self) -> str:
        """The last user turn, or the text."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), self.text)

    @property
    def response(self) -> str:
        """The last assistant turn, or the label; empty for a bare text."""
        return next((m.content for m in reversed(self.messages) if m.role == "assistant"), self.label or "")


@dataclass(frozen=True, slots=True)
class Domain:
    """A source of training examples.

    `build(split, seed)` yields the examples of a split. The same split and seed must give the
    same examples in the same order; the splits must not share a prompt. `prompts` are a few
    questions that show the domain off, `defaults` are training settings the author found to
    work (names as in the options of `lftreg train`, with underscores).
    """

    name: str
    summary: str
    build: Callable[[Split, int], Iterable[Example]]
    prompts: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    attachments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Targets:
    """Which linear modules of a model family take an adapter, by preset.

    `model_types` are values of `config.model_type`; `presets` maps a preset (`attention`,
    `mlp`, `all-linear`, `classic`) to module names, matched by dotted suffix as PEFT does. A `*` stands
    for one part of a path: `layer.*.output.dense`. `optional` are names that only some models of the
    family have.
    """

    family: str
    model_types: tuple[str, ...]
    presets: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """A way to compose adapters, by PEFT, by factors, or by either.

    `merge(model, adapters, weights, name, **options)` adds the adapter `name` to a PEFT model
    that holds `adapters`. `mix(stack, **options)` is given one layer at a time, a
    `lftreg.composer.layers.Stack` of numpy arrays, and gives a `Pair` back. The keyword-only
    parameters of either signature are the method's options. With `truncates` the engine cuts what
    `mix` gives to the options `rank` and `max_error`, which `mix` does not see.

    `exact` says whether the result equals the weighted sum of the parents. `needs` are what the
    parents must be like: two or more of them, the same rank in every module they share. `error` and
    `cost` say in a few words how far the result is from the sum, and what it takes.
    """

    name: str
    summary: str
    merge: Callable[..., None] | None = None
    exact: bool = False
    needs: tuple[Need, ...] = ()
    mix: Callable[..., Any] | None = None
    truncates: bool = False
    error: str = ""
    cost: str = ""

    @property
    def engines(self) -> tuple[str, ...]:
        """Which engines can run it."""
        return tuple(
            name for name, route in (("peft", self.merge), ("factors", self.mix)) if route is not None
        )

    @property
    def streams(self) -> bool:
        """Whether its result is the parents side by side, which needs no layer in memory as a whole."""
        return self.exact and self.mix is not None and not self.truncates
