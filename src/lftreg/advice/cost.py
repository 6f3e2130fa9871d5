"""What training and answering cost: an adapter against full fine-tuning, and against passages in every prompt.

P are the parameters of the base, A those of the adapter, T the tokens that were trained on.

training     T (4 P + 6 A) FLOPs: 2 for each weight forward, 2 backward through the frozen ones, 4 for an adapter's own
             (Kaplan et al. 2020, arXiv 2001.08361, section 2.1; backward twice forward).
full         T 6 P FLOPs, so 6 P / (4 P + 6 A) of the adapter's time on the same machine.
its memory   16 bytes for each parameter, in mixed precision 2 of weights, 2 of gradients, 4 of a float32 copy and 8 of
             Adam's two moments (Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 3.1), in float32 4 + 4 + 8.
             Activations come on top; those of the adapter's step are taken for both.
a query      its prompt is read in one pass, which takes 2 (P + A) FLOPs a token. Each token of its answer is a pass of
             its own, and a pass reads every weight from memory: at least bytes of weights / bandwidth, however few its
             tokens (Pope et al. 2022, arXiv 2211.05102, section 3). Queries that are answered at once share their
             passes, so of n at once each waits for an n-th of that reading. What takes longer, arithmetic or reading,
             counts. That attention grows with the length, and reads the keys and values of a prompt for each token of
             an answer, is left out: it makes passages dearer than they are here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lftreg.budget.time import break_even

FULL_BYTES = 16  # for each parameter, by the formula above
HALF, WHOLE = 2, 4  # bytes of a weight that answers: bfloat16, float32
BUSY = 64  # queries at once on a busy server: about where reading weights no longer counts


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes: `rate` in FLOP/s that are reached, `price` in US dollars an hour, `memory` in bytes.

    `usable` are the bytes of a single one that a run may fill, `bandwidth` the bytes/s that its memory is read at,
    `weight` the bytes that a weight has when it answers. What is not known is None.
    """

    name: str
    rate: float
    price: float | None = None
    seen: str | None = None
    memory: int | None = None
    usable: float | None = None
    bandwidth: float | None = None
    weight: int = HALF


@dataclass(frozen=True, slots=True)
class Training:
    """A run of an adapter, foretold or `measured`: seconds, US dollars, bytes at the worst moment; and on what.

    `activations` are bytes beside weights, gradients and optimizer, where they are known; `machines` is how many
    of them trained it at once.
    """

    seconds: float
    money: float | None
    memory: int | None
    measured: bool
    base: int
    adapter: int
    tokens: int
    activations: int | None = None
    machines: float = 1


@dataclass(frozen=True, slots=True)
class Full:
    """The same run with every weight trained: bytes, whether one machine holds it, how many do, seconds, dollars."""

    memory: int
    fits: bool | None
    gpus: int | None
    seconds: float
    money: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is asked: tokens of a question, of an answer, and of the passages that retrieval puts before a question.

    `concurrency` is how many queries are answered at once, None where nobody told; then it is one at a time.
    """

    prompt: float
    answer: float
    passage: float
    top_k: int
    queries_a_month: float | None = None
    concurrency: int | None = None

    @property
    def context(self) -> float:
        return self.passage * self.top_k

    @property
    def at_once(self) -> int:
        return self.concurrency or 1


@dataclass(frozen=True, slots=True)
class Query:
    """One query: tokens that are read and written, and its share of the machine in seconds and in US dollars.

    `reading` are the seconds until the first token, `writing` those of the answer. None is not known.
    """

    tokens: float
    seconds: float | None
    money: float | None
    reading: float | None = None
    writing: float | None = None


@dataclass(frozen=True, slots=True)
class PaidBack:
    """After how many queries training is paid back with so many answered at once; None where it never is."""

    at_once: int
    queries: int | None


@dataclass(frozen=True, slots=True)
class Costs:
    """All of it for one adapter. `training` is None for one that was not trained here.

    `paid_back` is for the load that was told, else for one query at a time and for a BUSY server; it is empty where
    nothing can be set against each other.
    """

    machine: Machine
    training: Training | None
    full: Full | None
    adapter: Query
    rag: Query
    paid_back: tuple[PaidBack, ...]

    @property
    def break_even(self) -> int | None:
        return self.paid_back[0].queries if self.paid_back else None


def training_flops(base: float, adapter: float, tokens: float) -> float:
    """FLOPs of training an adapter."""
    return tokens * (4 * base + 6 * adapter)


def dollars(seconds: float, price: float | None) -> float | None:
    """What so many seconds cost at a price an hour; None where it is not known."""
    return None if price is None else price * seconds / 3600


def full_fine_tuning(run: Training, machine: Machine) -> Full:
    """Training every weight on the same tokens and the same machine.

    Several GPUs hold a part of the weights and their states each, and are taken to share the work without loss.
    """
    activations = run.activations or 0
    memory = FULL_BYTES * run.base + activations
    gpus = None if machine.usable is None else gpus_for(run.base, activations, machine.usable)
    seconds = run.seconds * 6 * run.base / (4 * run.base + 6 * run.adapter)
    fits = None if machine.usable is None else memory <= machine.usable
    money = None if run.money is None or not run.seconds else run.money * seconds / run.seconds
    return Full(memory, fits, gpus, seconds / (gpus or 1), money)


def gpus_for(parameters: int, activations: float, usable: float) -> int | None:
    """How many hold all states between them, each with activations of its own; None where these alone do not fit."""
    room = usable - activations
    return None if room <= 0 else max(1, math.ceil(FULL_BYTES * parameters / room))


def query(weights: float, read: float, written: float, machine: Machine, at_once: int = 1) -> Query:
    """A query that reads and writes so many tokens through so many weights, beside others `at_once`."""
    tokens = read + written
    if machine.bandwidth is None:
        return Query(tokens, None, None)
    weighing = weights * machine.weight / machine.bandwidth / at_once
    each = 2 * weights / machine.rate
    reading, writing = max(read * each, weighing), written * max(each, weighing)
    seconds = reading + writing
    return Query(tokens, seconds, dollars(seconds, machine.price), reading, writing)


def costs(base: int, adapter: int, run: Training | None, machine: Machine, traffic: Traffic) -> Costs:
    """Everything for one adapter of `adapter` parameters over a base of `base`, all of it on one machine.

    Retrieval asks the bare base. Training is set against its longer prompts in seconds of the machine; in money at
    any one price it is the same.
    """
    full = None if run is None else full_fine_tuning(run, machine)
    tuned, retrieved = _both(base, adapter, machine, traffic, traffic.at_once)
    loads = (1, BUSY) if traffic.concurrency is None else (traffic.concurrency,)
    paid = () if run is None else tuple(_paid_back(run, base, adapter, machine, traffic, n) for n in loads)
    return Costs(machine, run, full, tuned, retrieved, tuple(one for one in paid if one is not None))


def _both(base: int, adapter: int, machine: Machine, traffic: Traffic, at_once: int) -> tuple[Query, Query]:
    """A query with the adapter, and one with passages."""
    return (
        query(base + adapter, traffic.prompt, traffic.answer, machine, at_once),
        query(base, traffic.prompt + traffic.context, traffic.answer, machine, at_once),
    )


def _paid_back(
    run: Training, base: int, adapter: int, machine: Machine, traffic: Traffic, at_once: int
) -> PaidBack | None:
    tuned, retrieved = _both(base, adapter, machine, traffic, at_once)
    if tuned.seconds is None or retrieved.seconds is None:
        return None
    return PaidBack(at_once, break_even(run.seconds * run.machines, tuned.seconds, retrieved.seconds))
