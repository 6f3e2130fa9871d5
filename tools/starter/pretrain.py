"""The training loop: tokens on the device, one compiled step, a schedule that follows steps or the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from corpus import BOS, END
from evaluate import Measure, measure_all
from model import Llama, Shape
from muon import Muon
from tokenizers import Tokenizer
from torch import Tensor

# What share of the tokens comes from each part. The parts differ in size, so they are read between
# about five and twenty times; a part read much more often than that is learnt by heart.
SHARES = {
    "support": 0.31, "finance": 0.10, "general": 0.10, "literature": 0.19, "code": 0.135,
    "qa": 0.05, "chat": 0.09, "wordings": 0.025,
}  # fmt: skip
CONVERSATIONS = {"qa", "chat", "wordings"}


@dataclass(frozen=True)
class Recipe:
    """Every number of a run. Either `steps` or `seconds` says when it ends."""

    steps: int = 0
    seconds: float = 0.0
    rows: int = 64
    matrix_rate: float = 3e-3
    matrix_decay: float = 0.3
    embedding_rate: float = 6e-3
    embedding_decay: float = 0.05
    momentum: float = 0.95
    warmup: int = 100
    constant_until: float = 0.3
    dropout: float = 0.1
    seed: int = 7
    shares: dict[str, float] = field(default_factory=lambda: dict(SHARES))


@dataclass
class Stream:
    """One part as a single run of tokens and the places where its documents begin."""

    tokens: Tensor
    starts: np.ndarray
    bytes: int


def encode(tokenizer: Tokenizer, documents: list[str]) -> Stream:
    """Every document between an opening and an end token, in a fixed shuffled order.

    Conversations bring the end token of their last turn along and get no second one.
    """
    order = np.random.default_rng(0).permutation(len(documents))
    documents = [documents[i] for i in order]
    framed = [f"{BOS}{document}" + ("" if document.endswith(END) else END) for document in documents]
    pieces = [np.asarray(e.ids, dtype=np.int32) for e in tokenizer.encode_batch_fast(framed)]
    starts = np.cumsum([0, *(len(piece) for piece in pieces[:-1])])
    size = sum(len(document.encode()) for document in documents)
    return Stream(torch.from_numpy(np.concatenate(pieces)), starts, size)


def passes(stream: Stream, context: int, aligned: bool, dice: np.random.Generator) -> Iterator[int]:
    """Where rows begin, pass after pass: each pass reads the whole stream once, cut at other places.

    Aligned rows begin with a document, as a conversation does when the model is used.
    """
    last = len(stream.tokens) - context - 1
    while True:
        offsets = np.arange(dice.integers(context), last, context)
        if aligned:
            places = np.searchsorted(stream.starts, offsets)
            offsets = np.minimum(stream.starts[np.minimum(places, len(stream.starts) - 1)], last)
        yield from dice.permutation(offsets).tolist()


class Mixer:
    """Draws batches in the shares of the recipe from all parts, laid end to end on the device."""

    def __init__(
        self, streams: dict[str, Stream], recipe: Recipe, context: int, device: torch.device
    ) -> None:
        self.recipe, self.device, self.context = recipe, device, context
        self.dice = np.random.default_rng(recipe.seed)
        self.names = list(recipe.shares)
        self.tokens = torch.cat([streams[name].tokens for name in self.names]).to(device)
        lengths = [len(streams[name].tokens) for name in self.names]
        self.bases = dict(zip(self.names, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))
        self.lengths = dict(zip(self.names, lengths, strict=True))
        self.rows = {n: passes(streams[n], context, n in CONVERSATIONS, self.dice) for n in self.names}
        self.read = dict.fromkeys(self.names, 0)
        self.window = torch.arange(context + 1, device=device)

    def batch(self) -> Tensor:
        """Rows of one token more than the context: the targets are the same row, one later."""
        shares = np.array([self.recipe.shares[name] for name in self.names])
        counts = self.dice.multinomial(self.recipe.rows, shares / shares.sum())
        begins = []
        for name, count in zip(self.names, counts, strict=True):
            begins += [self.bases[name] + next(self.rows[name]) for _ in range(count)]
            self.read[name] += int(count) * self.context
        offsets = torch.tensor(begins).pin_memory() if self.device.type == "cuda" else torch.tensor(begins)
        offsets = offsets.to(self.device, non_blocking=True)
        return self.tokens[offsets[:, None] + self.window].long()


def optimisers(model: Llama, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim == 1]
    adam = torch.optim.AdamW(
        [
            {"params": [model.model.embed_tokens.weight], "weight_decay": recipe.embedding_decay},
            {"params": gains, "weight_decay": 0.0},
        ],
        lr=recipe.embedding_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    return [Muon(matrices, recipe.matrix_rate, recipe.momentum, recipe.matrix_decay), adam]


def rate(progress: float, step: int, recipe: Recipe) -> float:
    """Short warm-up, constant, then linear to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    return warm * min(1.0, max(0.0, (1.0 - progress) / (1.0 - recipe.constant_until)))


@dataclass
class Outcome:
    """What a run has to tell: the model apart, all of it goes into the model card."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    passes: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, object]] = field(default_factory=list)
    recipe: dict[str, object] = field(default_factory=dict)


def pretrain(
    streams: dict[str, Stream],
    measures: dict[str, Measure],
    recipe: Recipe,
    shape: Shape,
    device: torch.device,
) -> tuple[Llama, Outcome]:
    """Train one model from nothing."""
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    model = Llama(shape, recipe.dropout).to(device)
    step_loss = torch.compile(model) if device.type == "cuda" else model
    mixer = Mixer(streams, recipe, shape.context, device)
    optimizers = optimisers(model, recipe)
    base_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    outcome, step, progress, marks, began = Outcome(recipe=asdict(recipe)), 0, 0.0, 0, time.perf_counter()
    while progress < 1.0:
        batch = mixer.batch()
        with torch.autocast(device.type, torch.bfloat16):
            loss = step_loss(batch[:, :-1], batch[:, 1:])
        loss.backward()
        for optimizer, rates in zip(optimizers, base_rates, strict=True):
            for group, base in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = base * rate(progress, step, recipe)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 20 == 0 or device.type == "cpu":
            train_loss = loss.item()  # waits for the device, so that the clock tells the truth
        if step == 20:
            began = time.perf_counter()  # what came before was compilation
        elapsed = time.perf_counter() - began
        progress = step / recipe.steps if recipe.steps else elapsed / recipe.seconds
        if progress * 10 >= marks + 1 and progress < 1.0 and step % 20 == 0:
            marks = int(progress * 10)
            figures = measure_all(model, measures, 512, device)
            outcome.curve.append({"step": step, "seconds": round(elapsed, 1), "loss": train_loss, **figures})
            print(step, f"{elapsed:.0f}s loss {train_loss:.3f}", figures, flush=True)
    outcome.steps, outcome.tokens = step, step * recipe.rows * shape.context
    outcome.seconds = round(time.perf_counter() - began, 1)
    outcome.passes = {name: round(read / mixer.lengths[name], 1) for name, read in mixer.read.items()}
    return model, outcome
