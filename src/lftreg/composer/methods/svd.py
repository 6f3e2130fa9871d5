"""svd: the weighted sum at a chosen rank, as near as any adapter of that rank can be.

PEFT's own `svd` builds the full update of every layer and decomposes it, which takes hours on a model of
7 B parameters. The update is a product of thin factors, so all there is to decompose is a matrix as
small as the sum of the ranks: with B = Qb Rb and A' = Qa Ra, B A = Qb (Rb Ra') Qa'. PEFT's `cat`
gives the factors, exactly; the truncation is the optimal one (Eckart and Young).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from lftreg.composer.factors import pairs, widened
from lftreg.composer.options import Rank
from lftreg.plugins.types import Method

if TYPE_CHECKING:
    from torch import Tensor

LOSS = 0.01  # what `rank="auto"` may lose of the sum, by its Frobenius norm over all layers


def svd(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    rank: Rank | Literal["auto", "full"] | None = None,
) -> None:
    """`rank` is that of the largest parent if left out; `auto` loses at most 1 %, `full` nothing."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    whole = f"{name}_cat"
    model.add_weighted_adapter(list(adapters), list(weights), whole, combination_type="cat")
    factors = get_peft_model_state_dict(model, adapter_name=whole, save_embedding_layers=False)
    parts = {(a, b): _decompose(factors[a], factors[b]) for a, b in pairs(factors)}
    largest = max(_rank_of(model.peft_config[adapter]) for adapter in adapters)
    size = _choose(rank, [s for _, s, _ in parts.values()], largest)
    tensors = {}
    for (a, b), (u, s, v) in parts.items():
        root = s[:size].sqrt()
        tensors[a] = widened(root[:, None] * v[:size], size, 0).float()
        tensors[b] = widened(u[:, :size] * root, size, 1).float().contiguous()
    model.add_adapter(
        name, replace(model.peft_config[whole], r=size, lora_alpha=size), low_cpu_mem_usage=True
    )
    set_peft_model_state_dict(model, tensors, adapter_name=name, low_cpu_mem_usage=True)


def _decompose(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (outputs, k), S (k) falling, V (k, inputs) of B A, in float64."""
    import torch

    qb, rb = torch.linalg.qr(b.double())
    qa, ra = torch.linalg.qr(a.double().T)
    u, s, v = torch.linalg.svd(rb @ ra.T, full_matrices=False)
    return qb @ u, s, v @ qa.T


def _choose(wanted: int | str | None, spectra: Sequence[Tensor], largest: int) -> int:
    """A rank for all layers alike."""
    if isinstance(wanted, int):
        return wanted
    if wanted is None:
        return largest
    longest = max(len(s) for s in spectra)
    if wanted == "full":
        return longest
    squares = [sum(float(s[k] ** 2) for s in spectra if k < len(s)) for k in range(longest)]
    left = list(itertools.accumulate(reversed(squares)))[::-1]  # what lies in k and beyond
    allowed = (LOSS * math.sqrt(left[0])) ** 2
    return max(1, next((k for k in range(longest) if left[k] <= allowed), longest))


def _rank_of(config: Any) -> int:
    return max(int(rank) for rank in (config.r, *config.rank_pattern.values()))


METHODS = (Method("svd", "The weighted sum at a chosen rank, as near as that rank allows.", svd),)
