"""What a plugin hands over: frozen dataclasses, no base classes to inherit from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    list of their schemas; `origin` is where a row was read, for messages, and is no part of it. `tests` is
    Python that raises where a response that is code is wrong, `paraphrases` are other wordings of the prompt;
    both serve evaluation only.
    """

    messages: tuple[Message, ...] = ()
    fact: str | None = None
    seen: bool = True
    text: str = ""
    label: str | None = None
    tools: str = ""
    tests: str = ""
    paraphrases: tuple[str, ...] = ()
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


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one speaker, an adapter or a bare base, made of a suite of n items: all that a metric sees.

    The first four hold n texts in the order of the items; a reference is "" where an item has none. `base` are
    the bare base's answers to the same prompts. `paraphrased` holds the answers to other wordings of each
    prompt, `samples` answers drawn at a temperature, `tests` the Python that proves each answer. Of each
    reference `nats` is the loss summed over its tokens, the stop token included, None where the base cannot
    read it, `tokens` their number and
    `bytes` its size in UTF-8.
    `embed(texts)` gives float32 (texts, width): the bare base's mean-pooled hidden states, whoever speaks.
    What was not asked for is empty, or None.
    """

    prompts: tuple[str, ...]
    references: tuple[str, ...]
    answers: tuple[str, ...]
    base: tuple[str, ...]
    paraphrased: tuple[tuple[str, ...], ...] = ()
    samples: tuple[tuple[str, ...], ...] = ()
    tests: tuple[str, ...] = ()
    nats: tuple[float | None, ...] = ()
    tokens: tuple[int, ...] = ()
    bytes: tuple[int, ...] = ()
    embed: Callable[[Sequence[str]], Any] | None = None
    allow_code_execution: bool = False

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a metric found: a value for each item, None where it means nothing.

    `total(places)` is the score of the items at these places (a numpy array of indices) together, where that
    is not the mean of their values: corpus BLEU, perplexity. `measurable` is False where the metric cannot be
    trusted on this data, and `note` then says why; else it may state a self-validation. `signature` tells the
    settings that a figure must be compared under.
    """

    values: tuple[float | None, ...]
    total: Callable[[Any], float] | None = None
    note: str = ""
    measurable: bool = True
    signature: str = ""


Input = Literal["references", "base", "paraphrases", "samples", "tests", "losses", "embeddings"]

ENOUGH = 50  # items below which nobody is called the winner


@dataclass(frozen=True, slots=True)
class Metric:
    """A way to score answers. `measure(outputs)` is called once for the base and once for each adapter.

    `needs` are the inputs without which it means nothing; it is left out where a suite lacks them. `better`
    says which way is good, None where neither is. `unit` is how a figure is shown: a `share` as a percentage,
    `points` of 0 to 100, `number` as it is. `test(one, other)` is the p-value of the difference between two
    speakers' outputs, where a paired t of the items is not right.
    """

    name: str
    summary: str
    measure: Callable[[Outputs], Measured]
    needs: tuple[Input, ...] = ("references",)
    better: Literal["higher", "lower"] | None = "higher"
    unit: Literal["share", "points", "number"] = "share"
    test: Callable[[Outputs, Outputs], float] | None = None


Told = Callable[[str, int, int], None]  # what is moved, how many bytes of it, of how many


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a remote may take, in seconds: to be reached, to be silent, and for all of it; and how often to ask.

    Between one try and the next `pause` is waited, doubled each time, up to `longest`.
    """

    connect: float = 10.0
    silence: float = 30.0
    whole: float = 3600.0
    tries: int = 5
    pause: float = 1.0
    longest: float = 30.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent to a remote: files by their names there, to a place as the user named it.

    `known` is the commit that was last sent to or taken from there: what others changed since then is not
    overwritten, unless with `force`. What a remote cannot do of `private`, `tag` and `create_pr` it refuses.
    """

    place: str
    files: Mapping[str, Path]
    message: str
    known: str | None = None
    private: bool = False
    tag: str | None = None
    create_pr: bool = False
    force: bool = False
    patience: Patience = Patience()
    told: Told = lambda title, done, total: None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a parcel: the commit that holds its content, and where people look at it.

    `unchanged` says that it was there already. `transferred` counts the bytes of files that were sent.
    """

    commit: str
    url: str
    unchanged: bool
    transferred: int
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class Errand:
    """What is asked of a remote: the files that `wants` names, of a place at a revision, into an empty folder.

    `have(commit)` says that this commit is here already; nothing is fetched then.
    """

    place: str
    revision: str | None
    wants: Mapping[str, int | None]  # a file's name, and its largest size in bytes
    into: Path
    have: Callable[[str], bool] = lambda commit: False
    patience: Patience = Patience()
    told: Told = lambda title, done, total: None


@dataclass(frozen=True, slots=True)
class Taken:
    """What an errand brought: files by name with their sha256, all of one commit, each proven to be what it says."""

    commit: str
    url: str
    files: Mapping[str, str]
    host: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """An adapter that a remote has, as its search tells of it."""

    ref: str
    base: str | None = None
    downloads: int | None = None
    likes: int | None = None
    updated: str | None = None
    private: bool = False
    gated: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remote:
    """A place that adapters are sent to and taken from: `lftreg push REF NAME:PLACE`, `lftreg pull NAME:PLACE`.

    `push(parcel)` gives a Sent, `pull(errand)` a Taken, `search(text, limit, patience)` Hits; the last may be
    None. What is pulled goes through the gate whatever the remote says.
    """

    name: str
    push: Callable[[Parcel], Sent]
    pull: Callable[[Errand], Taken]
    search: Callable[[str, int, Patience], Iterable[Hit]] | None = None
    help: str = ""
