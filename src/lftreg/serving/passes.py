"""Forward passes of a base that many adapters share: reading a prompt, and one more token of many rows.

`Together` keeps all rows in one cache and takes them through the model in one pass, whatever their lengths.
It needs a family whose attention looks at every earlier token, which `fits` proves on the model itself. `Apart`
takes one row after another, each with a cache of transformers' own: for encoder-decoders, for sliding windows and
states, and for adapters that are more than factors, which PEFT runs on a second tree of modules over the same weights.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lftreg.models.attach import AdapterModel
from lftreg.models.load import Loaded
from lftreg.models.tasks import SEQ2SEQ
from lftreg.serving.cache import Places
from lftreg.serving.pool import Parts, Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from lftreg.serving.recorded import Recorded

CLOSE = 2e-2  # logits of the same passes may differ by so much of their spread, in the precision of the base
FAR = 0.2  # and what a cache that does not work gets wrong is more than this
WINDOWS = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")

log = logging.getLogger("lftreg.serving")


class Together:
    """Rows that share each pass. A place is a row of the cache; those that go on stand first."""

    def __init__(self, loaded: Loaded, pool: Pool, places: int, longest: int) -> None:
        self.model, self.pool = loaded.model, pool
        self.kv = Places(places, longest)
        self._few = _keeps_few(self.model)
        self.device, self._dtype = loaded.device, self.model.dtype
        self.recorded: Recorded | None = None
        self._rows: list[Parts] = []

    def read(self, place: int, parts: Parts, ids: Sequence[int], start: int) -> torch.Tensor:
        """Read tokens of a prompt behind the first `start` of its place. Returns the last one's logits, (words,)."""
        import torch

        self.kv.reading(place, start, len(ids))
        at = torch.arange(start, start + len(ids), device=self.device)
        seen = torch.arange(start + len(ids), device=self.device)
        mask = self._mask(seen[None, :] <= at[:, None])[None, None]
        self.pool.work = self.pool.single(parts)
        return self._pass(torch.tensor([ids], device=self.device), at[None], mask)[0]

    def read_whole(self, prompts: Sequence[tuple[int, Parts, Sequence[int]]]) -> torch.Tensor:
        """Read prompts from their beginning, one behind the other in one pass: places, adapters, ids.

        Each sees itself alone. Returns the logits of each one's last token, (prompts, words).
        """
        import torch

        ends = list(itertools.accumulate(len(ids) for _, _, ids in prompts))
        starts = [0, *ends[:-1]]
        self.kv.packing([(place, a, b) for (place, _, _), a, b in zip(prompts, starts, ends, strict=True)])
        self.pool.work = self.pool.runs(
            [(slice(a, b), parts) for (_, parts, _), a, b in zip(prompts, starts, ends, strict=True)]
        )
        lengths = torch.tensor([len(ids) for _, _, ids in prompts], device=self.device)
        whose = torch.arange(len(prompts), device=self.device).repeat_interleave(lengths)
        every = torch.arange(ends[-1], device=self.device)
        mask = self._mask((whose[:, None] == whose[None, :]) & (every[None, :] <= every[:, None]))[None, None]
        at = every - torch.tensor(starts, device=self.device)[whose]
        ids = torch.tensor([[id_ for _, _, ids in prompts for id_ in ids]], device=self.device)
        return self._pass(ids, at[None], mask, torch.tensor(ends, device=self.device) - 1)

    def step(self, rows: Sequence[Parts], ids: Sequence[int], at: Sequence[int]) -> torch.Tensor:
        """One token more of the first places: what they say, and its position. Returns logits, (rows, words)."""
        import torch

        if self.recorded is not None and self.recorded.fits(rows):
            from lftreg.serving.recorded import Unrecordable

            try:
                return self.recorded.step(rows, ids, at)
            except Unrecordable:
                log.warning("the steps of this base are not recorded, and slower", exc_info=True)
                self.recorded = None
        if self._rows != rows or self.pool.stale:
            self._rows = []  # should this fail, the workspace is no longer what it was
            self._work = self.pool.arrange(rows)
            self._rows = list(rows)
        self.pool.work = self._work
        where = torch.tensor(at, device=self.device)
        count = torch.arange(len(rows), device=self.device)
        return self.pass_of(count, torch.tensor(ids, device=self.device)[:, None], where, max(at) + 1)

    def record(self) -> None:
        """Run steps as CUDA graphs from now on, where there is the memory for a cache of its full length."""
        from lftreg.serving.recorded import Recorded, room_to_record

        if room_to_record(self):
            self.recorded = Recorded(self)
        else:
            log.warning(
                "steps are not recorded, and slower: no memory for a cache of %d tokens", self.kv.longest
            )

    def pass_of(self, rows: torch.Tensor, ids: torch.Tensor, at: torch.Tensor, longest: int) -> torch.Tensor:
        """One token of each of the first places; nothing here waits for the GPU, so that it can be recorded."""
        import torch

        self.kv.going_on(rows, at, longest)
        seen = torch.arange(longest, device=self.device)
        mask = self._mask(seen[None, :] <= at[:, None])[:, None, None]
        return self._pass(ids, at[:, None], mask)

    def fits(self, ids: Sequence[int]) -> bool:
        """Whether this family computes here what it computes by itself: read in two pieces, then one token more.

        Beside a row of another length, where there is a place for one; and every layer that takes adapters has to
        be given a row for each token of the pass, or nobody could say whose adapter an input is for.
        """
        rows = [ids, ids[: len(ids) * 2 // 3]][: self.kv.places]
        try:
            with self._counting() as counts:
                for place, row in enumerate(rows):
                    half, rest = row[: len(row) // 2], row[len(row) // 2 : -1]
                    for piece, start in ((half, 0), (rest, len(half))):
                        counts.clear()
                        self.read(place, (), piece, start)
                        if counts - {len(piece)}:
                            return False
                counts.clear()
                here = self.step([()] * len(rows), [row[-1] for row in rows], [len(row) - 1 for row in rows])
                if counts - {len(rows)}:
                    return False
            there = [_logits(self.model, row, self.device) for row in rows]
            packed = self.read_whole([(place, (), row) for place, row in enumerate(rows)])
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
            return False  # a family with a cache of another kind
        finally:
            self.pool.work = None
        return all(
            _alike(one, other, CLOSE)
            for made in (here, packed)
            for one, other in zip(made, there, strict=True)
        )

    @contextmanager
    def _counting(self) -> Iterator[set[int]]:
        """How many rows the layers of the pool are given, but for the head, which may see the last token alone."""
        counts: set[int] = set()
        head = self.model.get_output_embeddings()

        def count(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            counts.add(inputs[0].shape[:-1].numel())

        seats = [seat for seat in self.pool.seats if seat.module is not head]
        hooks = [seat.module.register_forward_pre_hook(count) for seat in seats]
        try:
            yield counts
        finally:
            for hook in hooks:
                hook.remove()

    def _mask(self, visible: torch.Tensor) -> torch.Tensor:
        """0 where a token is seen and the smallest number elsewhere, which every attention of transformers takes."""
        import torch

        hidden = torch.finfo(self._dtype).min
        return torch.zeros_like(visible, dtype=self._dtype).masked_fill_(~visible, hidden)

    def _pass(
        self, ids: torch.Tensor, at: torch.Tensor, mask: torch.Tensor, kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The logits of each row's last token, or of the tokens `kept` of the only row, as float32."""
        import torch

        few = {"logits_to_keep": 1 if kept is None else kept} if self._few else {}
        with torch.inference_mode():
            out = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=at,
                past_key_values=self.kv.cache,
                use_cache=True,
                **few,
            )
        logits: torch.Tensor = out.logits
        if kept is None:
            return logits[:, -1].float()
        return (logits if self._few else logits[:, kept])[0].float()


class Alone:
    """One row with a cache of its own, through whatever model speaks for it."""

    def __init__(self, loaded: Loaded, *, cached: bool = True) -> None:
        """Without `cached` all of a conversation is read anew for every token, as a family may want it."""
        self.loaded, self.cached = loaded, cached
        self._turn = _longer_turns(loaded.model.config)
        self._ids: list[int] = []
        self._cache: Any = None
        self._encoded: Any = None

    def read(self, model: Any, ids: Sequence[int]) -> torch.Tensor:
        """Read a whole prompt. Returns the logits of the token behind it, (words,)."""
        import torch

        if self.loaded.task is not SEQ2SEQ:
            return self._pass(model, ids)
        given = torch.tensor([list(ids)], device=self.loaded.device)
        with torch.inference_mode():
            self._encoded = model.get_encoder()(input_ids=given, return_dict=True)
        return self.step(model, self.loaded.model.config.decoder_start_token_id)

    def step(self, model: Any, id_: int) -> torch.Tensor:
        """One token more. Returns the logits of the next, (words,)."""
        return self._pass(model, [id_])

    def _pass(self, model: Any, ids: Sequence[int]) -> torch.Tensor:
        import torch

        before, after = len(self._ids), len(self._ids) + len(ids)
        self._ids.extend(ids)
        if before <= self._turn < after:
            self._cache = None  # from here on the family turns every position otherwise
        anew = self._cache is None or not self.cached
        given = torch.tensor([self._ids if anew else list(ids)], device=self.loaded.device)
        if self._encoded is None:
            more = {"input_ids": given}
        else:
            more = {"decoder_input_ids": given, "encoder_outputs": self._encoded}
        if self.cached:
            more["past_key_values"] = self._cache
        with torch.inference_mode():
            out = model(use_cache=self.cached, **more)
        if self.cached:
            self._cache = out.past_key_values
        logits: torch.Tensor = out.logits[0, -1].float()
        return logits


class Apart:
    """Rows one after another: through the pool, or through PEFT for adapters that are more than factors."""

    def __init__(self, loaded: Loaded, pool: Pool, second: Any) -> None:
        """`second` is what `same_weights` made of the model before anything was hooked into it."""
        self.loaded, self.pool = loaded, pool
        self._peft = AdapterModel(Loaded(loaded.base, second, loaded.tokenizer, loaded.task))
        self._cached = _caches(loaded)

    def row(self) -> Alone:
        """Room for one row."""
        return Alone(self.loaded, cached=self._cached)

    @property
    def peft(self) -> AdapterModel:
        return self._peft

    def begin(self, row: Alone, parts: Parts, whole: str | None, ids: Sequence[int]) -> torch.Tensor:
        """Read a prompt; `whole` is the adapter that PEFT runs, if it is one."""
        with self._speaking(parts, whole) as model:
            return row.read(model, ids)

    def step(self, row: Alone, parts: Parts, whole: str | None, id_: int) -> torch.Tensor:
        with self._speaking(parts, whole) as model:
            return row.step(model, id_)

    @contextmanager
    def _speaking(self, parts: Parts, whole: str | None) -> Iterator[Any]:
        if whole is not None:
            with self._peft.using(whole) as model:
                yield model
            return
        self.pool.work = self.pool.single(parts) if parts else None
        yield self.loaded.model


def share_passes(together: Together, loaded: Loaded, longest: int) -> bool:
    """Whether rows may share passes: no window shorter than what is served, no positions that are turned otherwise
    for all rows once one of them is long, and the same logits as alone.
    """
    config = loaded.model.config.get_text_config()
    for name in WINDOWS:
        window = getattr(config, name, None)
        if isinstance(window, int) and 0 < window < longest and getattr(config, f"use_{name}", True):
            return False
    if longest > _longer_turns(config) > 0:
        return False
    return together.fits(_some_ids(loaded, longest))


def _longer_turns(config: Any) -> int:
    """The length behind which a family turns positions by other angles, as longrope does; 0 for none."""
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for one in (rope, *rope.values()):
        if isinstance(one, dict) and one.get("rope_type", one.get("type")) in ("longrope", "dynamic"):
            own = one.get("original_max_position_embeddings")
            return int(
                own
                or getattr(config, "original_max_position_embeddings", None)
                or config.max_position_embeddings
            )
    return 0


def _caches(loaded: Loaded) -> bool:
    """Whether rows that take turns, each with transformers' own cache, say what they say without one.

    Some families keep a state inside their modules or under another name, and some have no cache at all.
    """
    if loaded.task is SEQ2SEQ:
        return True
    ids = _some_ids(loaded, 24)
    rows = [ids[:-1], ids[2:]]
    try:
        alone = [Alone(loaded) for _ in rows]
        for one, row in zip(alone, rows, strict=True):
            one.read(loaded.model, row[:-2])
        for at in (-2, -1):
            here = [one.step(loaded.model, row[at]) for one, row in zip(alone, rows, strict=True)]
        there = [_logits(loaded.model, row, loaded.device) for row in rows]
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return False
    return all(_alike(one, other, FAR) for one, other in zip(here, there, strict=True))


def _some_ids(loaded: Loaded, longest: int) -> list[int]:
    words = len(loaded.tokenizer)
    return [(7 + 13 * n) % words for n in range(min(24, longest))]


def _logits(model: Any, ids: Sequence[int], device: torch.device) -> torch.Tensor:
    """What a model says behind these tokens, without any cache, (words,)."""
    import torch

    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([list(ids)], device=device), use_cache=False).logits[0, -1]
        return logits.float()


def _alike(here: torch.Tensor, there: torch.Tensor, within: float) -> bool:
    return bool((here - there).abs().max() <= within * there.std())


def same_weights(model: Any) -> Any:
    """A second tree of modules over the same weights: what is done to one tree the other does not see.

    Buffers that no checkpoint holds are its own: some families write into them during a pass (the frequencies of
    longrope), and another tree may be in the middle of one.
    """
    own = {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    kept = (buffer for name, buffer in model.named_buffers() if name not in own)
    return copy.deepcopy(model, {id(one): one for one in (*model.parameters(), *kept)})


def probe(loaded: Loaded) -> None:
    """Run a few tokens through a base, only to see which of its layers read what."""
    import torch

    ids = torch.tensor([[1, 2, 3]], device=loaded.device)
    more = {"decoder_input_ids": ids} if loaded.task is SEQ2SEQ else {}
    with torch.inference_mode():
        loaded.model(input_ids=ids, use_cache=False, **more)


def _keeps_few(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(model.forward).parameters
