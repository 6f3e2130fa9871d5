"""The engine: one thread that owns the model and lets every row go on by a token at a time.

Requests come and leave between two steps. A request waits in the queue until there is a place for it and its adapters
are on their way; it reads its prompt in pieces, so that rows which are being answered wait for one piece at most; then
it takes part in every step until it ends. Rows that go on stand in the first places of the cache. What a place has
read stays there after its row has ended: the next prompt of the same adapter that begins alike goes on from it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lftreg.errors import InvalidData, LftregError, Unavailable
from lftreg.models.layers import seats_of, sharing_input
from lftreg.models.load import Loaded
from lftreg.models.tasks import SEQ2SEQ
from lftreg.registry import Registry
from lftreg.serving.passes import Apart, Together, probe, same_weights, share_passes
from lftreg.serving.pool import Pool
from lftreg.serving.rows import Place, Row, common
from lftreg.serving.sampling import Chosen, choose, dice_of
from lftreg.serving.shelf import Lease, Shelf
from lftreg.serving.tickets import Asked, Ended, Event, Failed, Reason, Said, Ticket, is_lost, told
from lftreg.serving.writing import Writing

if TYPE_CHECKING:
    import torch

PIECE = 256  # tokens of prompts that are read between two steps
WORTH = 16  # tokens of a common beginning below which reading is as fast as copying
OVERFLOW = "what the model computes with this adapter has left the range of its numbers"

log = logging.getLogger("lftreg.serving")


class Engine:
    """Answers of many adapters over one base. Any thread may `submit`; `close` ends it."""

    def __init__(
        self,
        loaded: Loaded,
        registry: Registry,
        *,
        rows: int = 16,
        slots: int = 32,
        rank: int = 16,
        longest: int | None = None,
        queue: int = 256,
    ) -> None:
        """`rows` go on together, `slots` hold adapters of up to `rank` each, `queue` requests may wait.

        `rank` is rounded up to a power of two, as the kernels of a GPU want it.

        `longest` is how many tokens a prompt and its answer may have, at most what the base has positions for.
        """
        self.loaded, self.registry, self.queue = loaded, registry, queue
        limit = getattr(loaded.model.config, "max_position_embeddings", None)
        self.longest = min(longest or limit or 4096, limit or 2**20)
        second = same_weights(loaded.model)
        seats = seats_of(loaded.model)
        groups = sharing_input(seats, lambda: probe(loaded))
        like = next(loaded.model.parameters()).new_zeros(0, dtype=loaded.model.dtype)
        self.pool = Pool(groups, slots, 1 << (rank - 1).bit_length(), rows, like)
        self.together = Together(loaded, self.pool, rows, self.longest)
        self.apart = Apart(loaded, self.pool, second)
        self.batched = loaded.task is not SEQ2SEQ and share_passes(self.together, loaded, self.longest)
        if self.batched and loaded.device.type == "cuda":
            self.together.record()
        self.shelf = Shelf(self.pool, self.apart.peft, registry, self._wake)
        self.stops = _stops(loaded)
        self.steps = 0
        self.places = [Place() for _ in range(rows)]
        self._single: list[Row] = []  # rows that are taken one after another
        self._waiting: deque[tuple[Ticket, Lease | None]] = deque()
        self._changed = threading.Condition()
        self._draining = self._closed = self._lost = False
        self._news = False  # whether anything has come or gone since places were given last
        self._thread = threading.Thread(target=self._run, name="lftreg-engine", daemon=True)
        self._thread.start()

    def submit(self, asked: Asked, listen: Callable[[Event], None]) -> Ticket:
        """Queue a request. Raises InvalidData for a prompt without room for its answer, Unavailable where the
        queue is full (`queue-full`) or the engine is stopping, and what `Shelf.check` raises.
        """
        prompt, more = len(asked.ids), asked.sampling.max_tokens
        if not prompt:
            raise InvalidData("the prompt is empty", "ask something", code="empty-prompt")
        limit = self.longest - (0 if self.loaded.task is SEQ2SEQ else prompt)
        if more > limit or prompt > self.longest:
            raise InvalidData(
                f"{prompt} tokens of prompt and {more} of answer do not fit the {self.longest} that there are",
                f"shorten the prompt, or max_tokens {limit}" if limit > 0 else "shorten the prompt",
                code="too-long",
            )
        self.shelf.check(asked.voice)
        ticket = Ticket(asked, listen)
        with self._changed:
            if self._draining or self._closed:
                raise Unavailable("the server is stopping", "ask again in a moment", code="stopping")
            if len(self._waiting) >= self.queue:
                raise Unavailable(f"{self.queue} requests wait already", "ask again later", code="queue-full")
            self._waiting.append((ticket, None))
            self._news = True
            self._changed.notify_all()
        return ticket

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def active(self) -> int:
        return sum(place.row is not None for place in self.places) + len(self._single)

    @property
    def alive(self) -> bool:
        """Whether its thread goes on: it ends with `close`, or by a fault."""
        return self._thread.is_alive()

    def drain(self, timeout: float | None = None) -> bool:
        """Take nothing more, and wait for what there is. Returns whether all of it has been answered."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(lambda: not self._busy(), timeout)

    def close(self) -> None:
        """Stop after the step that is running; whatever has not ended fails."""
        with self._changed:
            self._draining = self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self.shelf.close()
        self.pool.close()

    def _busy(self) -> bool:
        return bool(self._waiting or self._single or any(place.row for place in self.places))

    def _wake(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def _run(self) -> None:
        import torch

        try:
            with torch.inference_mode():
                while self._may_go_on():
                    self._admit()
                    self._drop_cancelled()
                    self._read()
                    self._step()
                    self._step_single()
                    self.steps += 1
                    if self._lost:
                        raise Unavailable(
                            "the GPU no longer answers", "start the server again", code="gpu-lost"
                        )
        except Exception:
            log.exception("the engine has stopped")
            raise
        finally:
            self._stop_all()

    def _may_go_on(self) -> bool:
        """Wait for something to do. Returns False once the engine is to stop."""
        with self._changed:
            self._changed.notify_all()  # whoever waits for all to be done
            self._changed.wait_for(lambda: self._closed or self._work_to_do())
            return not self._closed

    def _work_to_do(self) -> bool:
        """Whether a pass can be run, or somebody who waits may be served now."""
        return self._news or bool(self._single) or any(place.row for place in self.places)

    def _admit(self) -> None:
        """Give places to those whose adapters are there, oldest first; lend to the rest what there is room for."""
        blocked = False  # the oldest that found no room for its adapters keeps younger ones from taking it
        with self._changed:
            waiting, self._news = list(self._waiting), False
        left: list[tuple[Ticket, Lease | None]] = []
        for ticket, held in waiting:
            lease = held
            if ticket.cancelled:
                self._leave(ticket, lease, Ended("", "cancelled", 0))
                continue
            if lease is None and not (blocked and ticket.asked.voice.versions):  # the base takes no room
                try:
                    lease = self.shelf.lend(ticket.asked.voice)
                except Exception as error:  # noqa: BLE001 one request's trouble is its own
                    self._leave(ticket, None, Failed(told(error)))
                    continue
                blocked = blocked or lease is None
            if lease is not None and lease.error is not None:
                self._leave(ticket, lease, Failed(told(lease.error)))
            elif lease is None or not lease.ready or not self._seat(ticket, lease):
                left.append((ticket, lease))
        with self._changed:
            for _ in waiting:
                self._waiting.popleft()
            self._waiting.extendleft(reversed(left))

    def _leave(self, ticket: Ticket, lease: Lease | None, event: Event) -> None:
        if lease is not None:
            self.shelf.give_back(lease)
            self._news = True
        ticket.tell(event)

    def _seat(self, ticket: Ticket, lease: Lease) -> bool:
        """Give a request a place, if there is one."""
        apart = lease.whole is not None or not self.batched
        free = [n for n, place in enumerate(self.places) if place.row is None]
        if not (len(self._single) < len(self.places) if apart else free):
            return False  # before anything is made for it: hundreds may wait, and each step asks for all
        asked = ticket.asked
        row = Row(
            ticket,
            lease,
            asked.voice.key,
            list(asked.ids),
            Writing(self.loaded.tokenizer, asked.sampling.stop),
            dice_of(asked.sampling, self.loaded.device),
            lease.parts,
        )
        if apart:
            row.alone = self.apart.row()
            self._single.append(row)
        else:
            self._take_place(row, free)
        ticket.begin()
        return True

    def _take_place(self, row: Row, free: Sequence[int]) -> None:
        """The free place that has read most of the prompt already, or a copy of what another has."""
        alike = {n: common(place, row) for n, place in enumerate(self.places)}
        best = max(alike, key=lambda n: (alike[n], n in free))
        shared = alike[best] if alike[best] >= WORTH else 0
        if shared and best in free:
            target = best
        else:
            target = min(free, key=lambda n: (len(self.places[n].ids) > 0, self.places[n].used))
            if shared:
                self.together.kv.copy(best, target, shared)
        row.read = row.cached = shared
        self.places[target] = Place(row, row.key, row.ids[: row.read], self.steps)

    def _drop_cancelled(self) -> None:
        for place in self.places:
            if place.row is not None and place.row.ticket.cancelled:
                if not place.row.going:
                    self.together.kv.mend()  # nobody has looked at what it left
                self._end(place.row, "cancelled", place)
        for row in [row for row in self._single if row.ticket.cancelled]:
            self._end(row, "cancelled")

    def _read(self) -> None:
        """Prompts of those who have just come: short ones together, long ones piece by piece."""
        left = PIECE
        short: dict[int, Row] = {}
        reading = [(place.row, n) for n, place in enumerate(self.places) if place.row and not place.row.going]
        for row, n in sorted(reading, key=lambda one: one[0].ticket.at):
            if left <= 0:  # the oldest come first, or those who come later might keep them waiting for ever
                break
            left -= min(PIECE, len(row.ids) - row.read)
            if row.read == 0 and len(row.ids) <= PIECE // 2:
                short[n] = row
            else:
                self._read_piece(n)
        if short:
            self._read_short(short)

    def _read_piece(self, n: int) -> None:
        place = self.places[n]
        row = place.row
        assert row is not None
        piece = row.ids[row.read : row.read + PIECE]
        last = row.read + len(piece) == len(row.ids)
        try:
            logits = self.together.read(n, row.parts, piece, row.read)
            said = _chosen(logits[None], [row]) if last else []
        except Exception as error:  # noqa: BLE001 one request's trouble is its own
            self._fail(row, error, place)
            return
        row.read += len(piece)
        place.ids = row.ids[: row.read]
        for token in said:
            self._say(row, token, place)

    def _read_short(self, short: Mapping[int, Row]) -> None:
        """Whole prompts in one pass; each by itself where that fails, or where one of them overflows.

        A prompt is masked for the others, but what is no number is none when it is multiplied by zero, either.
        """
        chosen: list[Chosen] = []
        if len(short) > 1:
            try:
                logits = self.together.read_whole([(n, row.parts, row.ids) for n, row in short.items()])
                if logits.isfinite().all():
                    chosen = _chosen(logits, list(short.values()))
            except Exception as error:  # noqa: BLE001 whose trouble it is will show
                log.warning("prompts are read one by one: %s", error)
        if not chosen:
            for n in short:
                self._read_piece(n)
            return
        for (n, row), token in zip(short.items(), chosen, strict=True):
            place = self.places[n]
            row.read, place.ids = len(row.ids), list(row.ids)
            self._say(row, token, place)

    def _step(self) -> None:
        """One token more of every row that has a place."""
        self._close_gaps()
        rows = [place.row for place in self.places if place.row is not None]
        going = [n for n, row in enumerate(rows) if row.going]
        if not going:
            return
        try:  # a row that still reads takes part with what is overwritten when it reads on
            logits = self.together.step(
                [row.parts if row.going else () for row in rows],
                [row.ids[row.read] for row in rows],
                [row.read for row in rows],
            )
            chosen = _chosen(logits[going], [rows[n] for n in going])
        except Exception as error:  # noqa: BLE001 those of this step are told, and the engine goes on
            for n in going:
                self._fail(rows[n], error, self.places[n])
            return
        for n, token in zip(going, chosen, strict=True):
            row, place = rows[n], self.places[n]
            place.ids.append(row.ids[row.read])
            place.used = self.steps
            row.read += 1
            self._say(row, token, place)

    def _step_single(self) -> None:
        """Those who cannot share a pass, one after another."""
        for row in list(self._single):
            alone = row.alone
            assert alone is not None  # rows of this list have one
            try:
                if row.going:
                    logits = self.apart.step(alone, row.parts, row.lease.whole, row.ids[-1])
                else:
                    logits = self.apart.begin(alone, row.parts, row.lease.whole, row.ids)
                (token,) = _chosen(logits[None], [row])
            except Exception as error:  # noqa: BLE001 as above
                self._fail(row, error)
                continue
            self._say(row, token)

    def _close_gaps(self) -> None:
        """Let rows stand in the first places: the last of them go where others have left."""
        while True:
            gap = next((n for n, place in enumerate(self.places) if place.row is None), len(self.places))
            last = max((n for n, place in enumerate(self.places) if place.row is not None), default=-1)
            if gap > last:
                return
            one, other = self.places[gap], self.places[last]
            try:
                self.together.kv.swap(gap, last, max(len(one.ids), len(other.ids)))
            except Exception as error:  # noqa: BLE001 as above
                one.key, one.ids = None, []
                assert other.row is not None  # or it would not be the last
                self._fail(other.row, error, other)
                continue
            self.places[gap], self.places[last] = other, one

    def _say(self, row: Row, token: Chosen, place: Place | None = None) -> None:
        """Take a token into a row, tell of it, and end the row where it ends."""
        sampling = row.ticket.asked.sampling
        if token.id < 0:
            self.together.kv.mend()  # or what it left would spoil the next row in its place
            self._fail(
                row, LftregError(OVERFLOW, "smaller weights, or --dtype float32", code="overflow"), place
            )
            return
        if token.id in self.stops and not sampling.ignore_eos:
            self._end(row, "stop", place)
            return
        row.ids.append(token.id)
        row.said += 1
        row.ticket.tell(Said(row.writing.add(token.id), token))
        if row.writing.stopped:
            self._end(row, "stop", place)
        elif row.said >= sampling.max_tokens:
            self._end(row, "length", place)

    def _end(self, row: Row, reason: Reason, place: Place | None = None) -> None:
        self._forget(row, place)
        rest = "" if reason == "cancelled" else row.writing.end()
        reason = "stop" if row.writing.stopped else reason  # the held text may hold the end
        row.ticket.tell(Ended(rest, reason, row.said, row.cached))

    def _fail(self, row: Row, error: Exception, place: Place | None = None) -> None:
        if not isinstance(error, LftregError):
            log.error("a pass failed", exc_info=error)
            self._lost = self._lost or is_lost(error)
        if place is not None:
            place.key, place.ids = None, []  # who knows what it holds
        self._forget(row, place)
        row.ticket.tell(Failed(told(error)))

    def _forget(self, row: Row, place: Place | None) -> None:
        if place is not None:
            place.row = None
        else:
            self._single.remove(row)
        self.shelf.give_back(row.lease)
        self._news = True

    def _stop_all(self) -> None:
        stopping = Unavailable("the server has stopped", "ask again", code="stopping")
        with self._changed:
            self._closed = True
        for place in self.places:
            if place.row is not None:
                self._fail(place.row, stopping, place)
        for row in list(self._single):
            self._fail(row, stopping)
        while self._waiting:
            ticket, lease = self._waiting.popleft()
            self._leave(ticket, lease, Failed(stopping))
        with self._changed:
            self._changed.notify_all()  # whoever drains


def _chosen(logits: torch.Tensor, rows: Sequence[Row]) -> list[Chosen]:
    """The next token of each row, by its own settings."""
    return choose(logits, [row.ticket.asked.sampling for row in rows], [row.dice for row in rows])


def _stops(loaded: Loaded) -> frozenset[int]:
    return frozenset([loaded.tokenizer.eos_token_id]) if loaded.task is SEQ2SEQ else loaded.chat.stop_ids
