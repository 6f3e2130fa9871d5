"""Rows of any lengths on one line of tokens: nothing is filled up, and none of them sees another.

Layers that work token by token do not mind where a row ends. Attention has to: within `on_one_line` it takes one row
after another on a CPU, each by itself, so that what a row gives does not depend on which rows it shares the line with.
On a GPU one kernel of FlashAttention takes all rows (Dao 2023, arXiv 2307.08691), told where each begins.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ATTENTION = "lftreg_line"
TURNING = ("longrope", "dynamic")  # positions that the longest row of a batch turns for all of them
TRIED = ((1, 2, 3, 4), (5, 6, 7), (2, 4, 3, 6, 1, 5))
OTHER = (7, 6, 5, 3)  # in the place of the first row
CLOSE = {4: 1e-3, 2: 1e-1}  # of all logits' norm, by the bytes of a number: other kernels round otherwise
APART = 1e-5  # of all logits' norm: the same kernels, so rows that see nothing of the first give the same
LAYERS = ("full_attention", "sliding_attention")  # others carry a state along, or attend by chunks
_GROUPED: dict[str, bool] = {}
SHORTEST = 1024  # tokens that the kernel is told as the longest row, at least


class Cut:
    """Where rows begin and end on the line."""

    def __init__(self) -> None:
        self.lengths: Sequence[int] = ()
        self.starts: torch.Tensor | None = None
        self.longest = SHORTEST

    def lay(self, lengths: Sequence[int], device: torch.device) -> None:
        """Have rows of these lengths on the line, in their order."""
        import torch

        self.lengths = lengths
        if device.type != "cuda":
            return
        ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        self.starts = ends.pin_memory().to(device, non_blocking=True)
        # It bounds a grid and nothing else. In powers of two, and never less again: compiled code is made for each.
        self.longest = max(self.longest, 1 << (max(lengths) - 1).bit_length())


@contextmanager
def on_one_line(model: Any) -> Iterator[Cut]:
    """Within, the model takes lines (1, tokens) of rows whose lengths the cut tells, with positions that count each row
    from 0. What is computed again in a backward pass needs the cut of its forward pass."""
    _register()
    before, cut = model.config._attn_implementation, Cut()
    modules = list(model.modules())
    model.set_attn_implementation(ATTENTION)
    for module in modules:
        module.__dict__["_lftreg_cut"] = cut
    try:
        yield cut
    finally:
        model.set_attn_implementation(before)
        for module in modules:
            module.__dict__.pop("_lftreg_cut", None)


def takes_a_line(model: Any) -> bool:
    """Whether rows on a line give the logits that they give alone. It is tried: not every family asks the attention
    that it is told to use, some know more ways to attend than by rows, and some carry a state along."""
    import torch

    if _turns(model.config) or _carries(model.config):
        return False
    training = model.training
    model.eval()
    device = model.device
    try:
        with torch.no_grad():
            alone = [
                model(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0]
                for row in TRIED
            ]
            with on_one_line(model) as cut:
                cut.lay([len(row) for row in TRIED], device)
                if device.type == "cuda":  # the kernel says so where attention would drop some of its weights
                    _on_a_line(model.train(), TRIED)
                    model.eval()
                line, beside = _on_a_line(model, TRIED), _on_a_line(model, (OTHER, *TRIED[1:]))
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError, ImportError):
        return False
    finally:
        model.train(training)
    first, close = len(OTHER), CLOSE[line.element_size()]
    return _near(line, torch.cat(alone), close) and _near(beside[first:], line[first:], APART)


def _on_a_line(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits (tokens, vocabulary) of rows, for which the cut is laid."""
    import torch

    ids = torch.tensor([[id_ for row in rows for id_ in row]], device=model.device)
    positions = torch.tensor([[at for row in rows for at in range(len(row))]], device=model.device)
    logits: torch.Tensor = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
    return logits


def _near(ours: torch.Tensor, theirs: torch.Tensor, share: float) -> bool:
    return bool((ours.float() - theirs.float()).norm() <= share * theirs.float().norm())


def _carries(config: Any) -> bool:
    """Whether a config names layers that are no attention by rows. What it does not name is tried."""
    return any(kind not in LAYERS for kind in getattr(config, "layer_types", None) or ())


def _turns(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(one for one in rope.values() if isinstance(one, dict))] if isinstance(rope, dict) else []
    return any(one.get("rope_type", one.get("type")) in TURNING for one in kinds)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)
    with suppress(ImportError):
        from torch.nn.attention.varlen import varlen_attn

        if "enable_gqa" in inspect.signature(varlen_attn).parameters:  # older ones take grouped heads unasked
            _GROUPED["enable_gqa"] = True


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of queries (1, heads, tokens, width) to the keys and values of their own rows."""
    known = ("position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states")
    strange = [name for name, given in kwargs.items() if given is not None and name not in known]
    if attention_mask is not None or softcap is not None or is_causal is False or strange:
        raise NotImplementedError("a way to attend that rows on a line do not know")
    if query.is_cuda:
        return _at_once(query, key, value, module._lftreg_cut, scaling, sliding_window, dropout), None
    return _one_by_one(query, key, value, module._lftreg_cut, scaling, sliding_window, dropout), None


def _at_once(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cut: Cut,
    scaling: float | None,
    window: int | None,
    dropout: float,
) -> torch.Tensor:
    """All rows in one kernel, (1, tokens, heads, width)."""
    from torch.nn.attention import varlen

    if dropout:
        raise NotImplementedError("the kernel drops nothing")
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    back = -1 if window is None else window - 1
    attend: Any = varlen.varlen_attn
    out: torch.Tensor = attend(
        q, k, v, cut.starts, cut.starts, cut.longest, cut.longest,
        scale=scaling, window_size=(back, 0), **_GROUPED,
    )  # fmt: skip
    return out[None]


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cut: Cut,
    scaling: float | None,
    window: int | None,
    dropout: float,
) -> torch.Tensor:
    """One row after another, (1, tokens, heads, width)."""
    import torch
    import torch.nn.functional as F

    lengths = list(cut.lengths)
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    rows = (torch.split(one, lengths, dim=2) for one in (query, key, value))
    out = []
    for q, k, v in zip(*rows, strict=True):
        size = q.shape[2]
        mask = None if window is None or size <= window else _window(size, window, q.device)
        out.append(
            F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling
            )
        )
    return torch.cat(out, dim=2).transpose(1, 2).contiguous()


def _window(size: int, window: int, device: torch.device) -> torch.Tensor:
    """Which earlier tokens a token sees, (size, size): itself and window - 1 before it."""
    import torch

    back = torch.arange(size, device=device)[:, None] - torch.arange(size, device=device)[None, :]
    return (back >= 0) & (back < window)
