"""Many loops that train over one base, and share each of its passes.

Whatever the loops ask for at a time is laid out together: the rows of all that learn go through the base in one pass,
and the rows of all that validate in another. A loop that ends, well or not, leaves; the others go on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import LftregError
from lftreg.models.compiled import compiled, eagerly, failed, reason
from lftreg.models.line import ATTENTION, Cut, on_one_line, takes_a_line
from lftreg.objectives.causal import hidden_of, logits_of
from lftreg.objectives.fused import fused_loss, is_plain
from lftreg.objectives.layout import Layout, lay_on_a_line, lay_out, on_device
from lftreg.training import memory
from lftreg.training.alone import autocast
from lftreg.training.asks import Asking, Judge, Learn, Read, read
from lftreg.training.lanes import Lane, Lanes, Stretch, stretches
from lftreg.training.stacks import Stacks

if TYPE_CHECKING:
    import torch

Asked = tuple[Lane, Learn | Judge]
# Tokens that keep a CPU busy: more of them in a pass leave its caches. Measured on 2 cores with the starter base
# (benchmarks/together.py): four lanes of 464 tokens each in one pass took 1.2 times as long as one after another, eight
# lanes of 58 tokens 0.6 times.
FULL = 512


@dataclass(frozen=True, slots=True)
class Member:
    """A loop or a validation under way, and the lane that it is about."""

    lane: Lane
    asking: Asking[Any]


class Shared:
    """A base that answers many loops at once. Use it as a context: within, the base has hooks."""

    def __init__(
        self,
        model: Any,
        *,
        plain: bool = False,
        stacked: bool = False,
        compiling: bool = False,
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        """`plain` fills rows up, one a line, as a loop by itself does; `stacked` factors are added to all lanes at
        once; `compiling` compiles the steps of those, and `warn` hears where that cannot be."""
        self.model = model
        self._attention = model.config._attn_implementation
        self._line = not plain and takes_a_line(model)
        self._stacked = stacked
        self._lanes = Stacks(model) if stacked else Lanes(model)
        self.compiling = stacked and compiling
        self._compiler_failed = False
        self._warn = warn
        self._exits = ExitStack()
        self._cut: Cut | None = None
        self._most: int | None = None  # lanes that memory has room for at once

    @property
    def exact(self) -> bool:
        """Whether a lane learns here what it learns alone, mostly to the last byte: in float32 on a CPU, where rows
        share a line."""
        import torch

        return self._line and self.model.device.type == "cpu" and self.model.dtype == torch.float32

    def __enter__(self) -> Shared:
        self._exits.callback(self._lanes.close)
        if self._line:
            self._cut = self._exits.enter_context(on_one_line(self.model))
        if self.compiling:
            self._exits.enter_context(compiled(self.model))
        return self

    def __exit__(self, *error: object) -> None:
        self.model.eval()
        self._exits.close()

    def run(self, members: Sequence[Member]) -> Iterator[tuple[Member, Any | LftregError]]:
        """Take members to their ends, in the order in which these come: what each leaves, or what ended it."""
        waiting: dict[int, Any] = {}
        for member in members:
            self.hook(member.lane)
        answers: dict[int, Any] = dict.fromkeys(range(len(members)))
        while answers:
            for number, answer in answers.items():
                member = members[number]
                try:
                    waiting[number] = member.asking.send(answer)
                except StopIteration as end:
                    yield member, end.value
                except LftregError as error:
                    yield member, error
            reading = {number: ask for number, ask in waiting.items() if isinstance(ask, Read)}
            answers = dict(zip(reading, read(list(reading.values())), strict=True))
            if reading:  # before the next pass, which all are to be ready for
                waiting = {number: ask for number, ask in waiting.items() if number not in reading}
                continue
            asked = [(number, (members[number].lane, ask)) for number, ask in sorted(waiting.items())]
            waiting.clear()
            answers = {}
            for kind in (Learn, Judge):
                some = [(number, one) for number, one in asked if isinstance(one[1], kind)]
                found = self.answer([one for _, one in some])
                answers |= dict(zip([number for number, _ in some], found, strict=True))

    def hook(self, lane: Lane) -> None:
        """Have the base's layers ready for a lane."""
        self._lanes.hook(lane)

    @contextmanager
    def speaking(self, lane: Lane) -> Iterator[None]:
        """Within, the model is the base with this lane's factors for whatever it is given."""
        self.model.eval()
        self.hook(lane)
        if self._cut is not None:
            self.model.set_attn_implementation(self._attention)
        self._lanes.begin([Stretch(lane, (), 0, None)], training=False)
        try:
            with self._eagerly():
                yield
        finally:
            self._lanes.end()
            if self._cut is not None:
                self.model.set_attn_implementation(ATTENTION)

    def answer(self, asked: Sequence[Asked]) -> list[Any]:
        """The answers to asks of one kind; None for one that memory has no room for even by itself."""
        if not asked:
            return []
        most = self._at_once(asked)
        if len(asked) <= most:
            found = self._passed(asked)
            if found is not None or len(asked) == 1:
                return [None] if found is None else found
            memory.release(self.model.device)
            most = self._most = -(-len(asked) // 2)
        return [one for at in range(0, len(asked), most) for one in self.answer(asked[at : at + most])]

    def _at_once(self, asked: Sequence[Asked]) -> int:
        """How many of these asks a pass takes."""
        most = self._lanes.most([lane for lane, _ in asked])
        if self.model.device.type == "cpu":
            tokens = sum(len(row.ids) for _, ask in asked for row in ask.rows)
            most = min(most, max(1, FULL * len(asked) // max(1, tokens)))
        return most if self._most is None else min(most, self._most)

    def _passed(self, asked: Sequence[Asked]) -> list[Any] | None:
        """One pass for all; None where memory ran out, with nothing learned."""
        states = [lane.drawn_so_far() for lane, _ in asked]
        try:
            return self._pass(asked)
        except Exception as error:
            ran_out = memory.ran_out(error)  # also while something is compiled
            if not ran_out and not self._goes_on_without_compiler(error):
                raise
        finally:
            self._lanes.end()
        # The exception, which holds the tensors of the pass, is gone by now.
        for (lane, _), state in zip(asked, states, strict=True):
            lane.draw_from(state)
        return None if ran_out else self._passed(asked)

    def _goes_on_without_compiler(self, error: Exception) -> bool:
        if not self.compiling or self._compiler_failed or not failed(error):
            return False
        self._warn(f"the base's layers could not be compiled: {reason(error)}")
        self._compiler_failed = True
        return True

    def _pass(self, asked: Sequence[Asked]) -> list[Any]:
        import torch

        learning = isinstance(asked[0][1], Learn)
        layout, work = self._lay_out(asked)
        if self.model.training != learning:
            self.model.train(learning)
        self._lanes.begin(work, learning)
        with torch.set_grad_enabled(learning), self._eagerly(not learning):
            with self._precision():
                if not learning:
                    return self._judged(layout, work)
                learned = [ask.learned for _, ask in asked if isinstance(ask, Learn)]
                total, losses = self._losses(layout, work, learned)
            self._lanes.learn(total, [lane for lane, _ in asked])  # which computes some of it again
        return losses

    def _precision(self) -> Any:
        """Stacked factors are copies in the base's precision; others are cast where they are used."""
        return nullcontext() if self._stacked else autocast(self.model)

    def _eagerly(self, wanted: bool = True) -> Any:
        """Within, nothing is compiled: what is asked for once is not worth it."""
        return eagerly() if self.compiling and (wanted or self._compiler_failed) else nullcontext()

    def _judged(self, layout: Layout, work: Sequence[Stretch]) -> list[Any]:
        import torch

        sizes = [sum(row.learned for row in stretch.rows) for stretch in work]
        found = hidden_of(self.model, layout)
        made = logits_of(self.model, layout) if found is None else found[0]
        parts = zip(torch.split(made, sizes), torch.split(layout.labels, sizes), work, strict=True)
        judged = []
        for some, labels, stretch in parts:  # a lane at a time: logits are the widest that there is
            logits = some if found is None else found[1](some)
            judged.append(stretch.lane.objective.judged_by(logits.float(), labels, stretch.rows))
        return judged

    def _losses(
        self, layout: Layout, work: Sequence[Stretch], learned: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What is to be learned by all lanes, and the loss of each, detached."""
        import numpy as np
        import torch
        import torch.nn.functional as F

        weights = [
            [weight / count for weight in stretch.lane.objective.weights(stretch.rows)]
            for stretch, count in zip(work, learned, strict=True)
        ]
        counts = on_device(
            np.array([w for some in weights for w in some], dtype=np.float32), layout.labels.device
        )
        found = hidden_of(self.model, layout)
        if found is not None and is_plain(found[1]):
            total, losses = fused_loss(
                *found, layout.labels, counts, compiling=self.compiling and not self._compiler_failed
            )
        else:
            logits = logits_of(self.model, layout) if found is None else found[1](found[0])
            losses = F.cross_entropy(logits.float(), layout.labels, reduction="none")
            total = (losses * counts).sum()
        parts = torch.split(losses.detach() * counts, [len(some) for some in weights])
        return total, [part.sum() for part in parts]

    def _lay_out(self, asked: Sequence[Asked]) -> tuple[Layout, list[Stretch]]:
        """The rows of all lanes, one lane after another: on one line, or filled up to the longest, one a line."""
        device = self.model.device
        rows = [row for _, ask in asked for row in ask.rows]
        room = None if self._line else max(len(row.ids) for row in rows)
        work = list(stretches([(lane, ask.rows) for lane, ask in asked], room))
        if self._cut is not None:
            self._cut.lay([len(row.ids) for row in rows], device)
        return (lay_on_a_line(rows, device) if self._line else lay_out(rows, device)), work
