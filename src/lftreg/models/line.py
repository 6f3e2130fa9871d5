"""Rows of any lengths on one line of tokens: nothing is filled up, and none of them sees another.

Layers that work token by token do not mind where a row ends. Attention has to: within `on_one_line` it takes one row
after another, each by itself, so that what a row gives does not depend on which rows it shares the line with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ATTENTION = "lftreg_line"
TURNING = ("longrope", "dynamic")  # positions that the longest row of a batch turns for all of them
TRIED = ((1, 2, 3, 4), (5, 6, 7), (2, 4, 3, 6, 1, 5))
CLOSE = 1e-2  # of a logit: what rounding may do in bfloat16, where nothing is wrong


@dataclass(slots=True)
class Cut:
    """The lengths of the rows on the line, in their order."""

    lengths: Sequence[int] = ()


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

    if _turns(model.config):
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
                cut.lengths = [len(row) for row in TRIED]
                ids = torch.tensor([[id_ for row in TRIED for id_ in row]], device=device)
                positions = torch.tensor([[at for row in TRIED for at in range(len(row))]], device=device)
                line = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError):
        return False
    finally:
        model.train(training)
    apart = torch.cat(alone).float()
    return bool((line.float() - apart).abs().max() <= CLOSE * apart.abs().max())


def _turns(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(one for one in rope.values() if isinstance(one, dict))] if isinstance(rope, dict) else []
    return any(one.get("rope_type", one.get("type")) in TURNING for one in kinds)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)


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
    import torch
    import torch.nn.functional as F

    known = ("position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states")
    strange = [name for name, given in kwargs.items() if given is not None and name not in known]
    if attention_mask is not None or softcap is not None or is_causal is False or strange:
        raise NotImplementedError("a way to attend that rows on a line do not know")
    lengths = list(module._lftreg_cut.lengths)
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    rows = (torch.split(one, lengths, dim=2) for one in (query, key, value))
    out = []
    for q, k, v in zip(*rows, strict=True):
        size = q.shape[2]
        mask = (
            None
            if sliding_window is None or size <= sliding_window
            else _window(size, sliding_window, q.device)
        )
        out.append(
            F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling
            )
        )
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def _window(size: int, window: int, device: torch.device) -> torch.Tensor:
    """Which earlier tokens a token sees, (size, size): itself and window - 1 before it."""
    import torch

    back = torch.arange(size, device=device)[:, None] - torch.arange(size, device=device)[None, :]
    return (back >= 0) & (back < window)
