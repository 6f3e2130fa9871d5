"""Lanes on a GPU: the factors of all of them side by side, so that a layer adds to all by a few products.

Where lanes have equally many tokens their stretches are a batch:

    y[lane] += (x[lane] A[lane]^T) B[lane]

Where they have not, the factors of all make one wide pair, and a mask leaves each token those of its own lane:

    y += (mask * (x A^T)) B

which is as much more work as there are lanes. Where that is too much, and the GPU knows grouped products (Hopper does),
each group of tokens meets the factors of its lane alone.

A lane of a smaller rank, or without a layer, is filled up with zeros, and so are its gradients. Code is compiled for so
many places and so many ranks: whoever has ended leaves its place empty, until half of them are. Dropout draws from the
process's generator, so that it can be compiled: what a lane drops depends on its company.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import Incompatible
from lftreg.training.flat import Span
from lftreg.training.lanes import Lane, Lanes, Stretch

if TYPE_CHECKING:
    import torch

ALIGNED = 8  # ranks: kernels read 16 bytes at a time
WIDEST = 128  # ranks of all lanes together that a mask is good for
MOST = 512  # that it is used for, where there is nothing better
# Of a module: what is added now, and to how many tokens.
FACTORS, TOKENS = "_lftreg_factors", "_lftreg_tokens"


class Stacks(Lanes):
    """The hooks on a base, and what they add: one function for all layers, so that compiled code is one for all."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._spans: dict[str, Span] = {}
        self._modules: dict[str, Any] = {}
        self._grouped = False  # whether products of groups of tokens are to be had for all layers
        self._a: torch.Tensor | None = None
        self._b: torch.Tensor | None = None
        self._leaves: list[torch.Tensor] = []  # A, B, A, B ... by layer

    def close(self) -> None:
        super().close()
        for module in self._modules.values():
            module.__dict__.pop(FACTORS, None)
            module.__dict__.pop(TOKENS, None)

    def hook(self, lane: Lane) -> None:
        assert lane.flat is not None
        for path, factors in lane.factors_by_layer.items():
            if path in self._spans:
                continue
            last = next(reversed(self._spans.values()), Span(slice(0, 0), slice(0, 0)))
            self._spans[path] = Span(
                slice(last.a.stop, last.a.stop + factors.a.shape[1]),
                slice(last.b.stop, last.b.stop + factors.b.shape[0]),
            )
            module = self.model.get_submodule(path)
            module.__dict__[FACTORS] = None
            self._modules[path] = module
            self._hooks[path] = module.register_forward_hook(_add)
            self._a = None
        self._grouped = self._aligned() and groups(self.model.device, self.model.dtype)

    def begin(self, work: Sequence[Stretch], training: bool) -> None:
        super().begin(work, training)
        self._fill([stretch.lane for stretch in work])
        told_apart = self._told_apart(work)
        keep = self._kept(work) if training else None
        leaves = iter(self._leaves)
        for module, a, b in zip(self._modules.values(), leaves, leaves, strict=True):
            module.__dict__[FACTORS] = (a, b, *told_apart, keep)
            module.__dict__[TOKENS] = work[-1].stop

    def end(self) -> None:
        super().end()
        for module in self._modules.values():
            module.__dict__[FACTORS] = None

    def _add_noise(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        """The first layer's inputs need a gradient as those of the others do, so that one code serves all."""
        noisy = super()._add_noise(module, inputs, output)
        if not self.work or not self.training:
            return noisy
        made = output if noisy is None else noisy
        return made if made.requires_grad else made.requires_grad_()

    def learn(self, total: torch.Tensor, lanes: Sequence[Lane]) -> None:
        import torch

        found = torch.autograd.grad(total, self._leaves, allow_unused=True)
        unreached = [path for path, one in zip(self._spans, found[1::2], strict=True) if one is None]
        made = [
            torch.zeros_like(leaf) if one is None else one
            for leaf, one in zip(self._leaves, found, strict=True)
        ]
        a, b = torch.cat(made[::2], dim=2), torch.cat(made[1::2], dim=2)
        theirs = [self._of(lane, a[number], b[number]) for number, lane in enumerate(lanes)]
        for lane in lanes:
            lane.make_room()
        for lane, (of_a, of_b) in zip(lanes, theirs, strict=True):
            lane.learn_flat(of_a, of_b, unreached)

    def _of(self, lane: Lane, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is a lane's own, of (rank, inputs) and (rank, outputs) of all layers."""
        import torch

        a, b = a[: _rank(lane)], b[: _rank(lane)]
        mine = [self._spans[path] for path in lane.factors_by_layer]
        if mine == list(self._spans.values()):
            return a, b
        return torch.cat([a[:, span.a] for span in mine], dim=1), torch.cat(
            [b[:, span.b] for span in mine], dim=1
        )

    def _kept(self, work: Sequence[Stretch]) -> torch.Tensor | None:
        """The share of its inputs that dropout leaves to each token, (tokens, 1); None where it leaves all."""
        import torch

        if not any(stretch.lane.dropout for stretch in work):
            return None
        sizes = torch.tensor(_sizes(work))
        shares = torch.tensor([1.0 - stretch.lane.dropout for stretch in work])
        return torch.repeat_interleave(shares, sizes)[:, None].to(self.model.device)

    def most(self, lanes: Sequence[Lane]) -> int:
        return len(lanes) if self._grouped else max(1, MOST // max(_rank(lane) for lane in lanes))

    def _aligned(self) -> bool:
        """Whether the factors of all layers begin where a kernel can read them."""
        ends = [at for span in self._spans.values() for at in (span.a.stop, span.b.stop)]
        return all(at % ALIGNED == 0 for at in ends)

    def _fill(self, lanes: Sequence[Lane]) -> None:
        """Copies of the lanes' factors in the base's precision, B with its scale, and the layers' views of them."""
        import torch

        if self._a is None or self._b is None or not self._has_room(self._a, lanes):
            rank = -(-max(_rank(lane) for lane in lanes) // ALIGNED) * ALIGNED
            last = next(reversed(self._spans.values()))
            self._a, self._b = (
                torch.zeros(len(lanes), rank, width, dtype=self.model.dtype, device=self.model.device)
                for width in (last.a.stop, last.b.stop)
            )
            self._leaves = [
                whole[:, :, columns].detach().requires_grad_()
                for span in self._spans.values()
                for whole, columns in ((self._a, span.a), (self._b, span.b))
            ]
            for leaf in self._leaves:
                torch._dynamo.mark_static(leaf)
        with torch.no_grad():
            for number, lane in enumerate(lanes):
                self._fill_one(self._a[number], self._b[number], lane)
            self._a[len(lanes) :], self._b[len(lanes) :] = 0, 0

    def _has_room(self, a: torch.Tensor, lanes: Sequence[Lane]) -> bool:
        """Whether these lanes have places, and more than half of those that there are."""
        places, rank, _ = a.shape
        return places // 2 < len(lanes) <= places and max(_rank(lane) for lane in lanes) <= rank

    def _fill_one(self, a: torch.Tensor, b: torch.Tensor, lane: Lane) -> None:
        import torch

        assert lane.flat is not None
        rank = _rank(lane)
        a[rank:], b[rank:] = 0, 0
        if lane.flat.spans == self._spans:
            a[:rank].copy_(lane.flat.a)
            torch.mul(lane.flat.b, lane.scale, out=b[:rank])
            return
        a[:rank], b[:rank] = 0, 0
        for path, theirs in lane.flat.spans.items():
            ours = self._spans[path]
            a[:rank, ours.a] = lane.flat.a[:, theirs.a]
            b[:rank, ours.b] = lane.flat.b[:, theirs.b] * lane.scale

    def _told_apart(
        self, work: Sequence[Stretch]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Something with as many numbers as each lane has tokens, where that is the same for all; or which of all
        lanes' ranks are a token's own, (tokens, places x rank); or where each place's tokens end, (places,)."""
        import torch

        assert self._a is not None
        (places, rank, _), device = self._a.shape, self._a.device
        sizes = _sizes(work)
        if len(set(sizes)) == 1 and len(work) == places:
            return torch.empty(sizes[0], device=device), None, None
        if places * rank > WIDEST and self._grouped:
            stops = [stretch.stop or 0 for stretch in work]
            stops += [stops[-1]] * (places - len(work))
            return None, None, torch.tensor(stops, dtype=torch.int32).to(device)
        whose = torch.repeat_interleave(torch.arange(len(work)), torch.tensor(sizes)).to(device)
        mask = torch.nn.functional.one_hot(whose, places).to(self._a.dtype)
        return None, mask.repeat_interleave(rank, dim=1), None


def groups(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are kernels for products of groups of tokens."""
    import torch

    known = hasattr(torch.nn.functional, "grouped_mm") and dtype == torch.bfloat16 and device.type == "cuda"
    return known and torch.cuda.get_device_capability(device)[0] == 9


def _sizes(work: Sequence[Stretch]) -> list[int]:
    """How many tokens each stretch has; of one without an end nobody asks."""
    return [(stretch.stop or 0) - stretch.start for stretch in work]


def _rank(lane: Lane) -> int:
    assert lane.flat is not None
    return lane.flat.a.shape[0]


def _add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
    import torch

    factors = module.__dict__[FACTORS]
    if factors is None:
        return None
    # A pass that is not compiled, such as the first validation, comes first.
    if not torch.compiler.is_compiling():
        tokens = module.__dict__[TOKENS]
        if tokens not in (None, inputs[0].numel() // inputs[0].shape[-1]):
            raise Incompatible(
                "a layer is not given every token", "train it with --plain", code="not-together"
            )
    return added(output, inputs[0], *factors)


def added(
    output: torch.Tensor,
    inputs: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    each: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    ends: torch.Tensor | None = None,
    keep: torch.Tensor | None = None,
) -> torch.Tensor:
    """What a layer gave, and what A (places, rank, inputs) and B (places, rank, outputs) make of its inputs. See
    `Stacks._told_apart` for the others."""
    import torch

    x, y = inputs.reshape(-1, inputs.shape[-1]).to(a.dtype), output.reshape(-1, output.shape[-1])
    if keep is not None:
        x = x * ((torch.rand(x.shape, device=x.device) < keep) / keep).to(x.dtype)
    at = y if y.dtype == a.dtype else torch.zeros_like(y, dtype=a.dtype)
    if len(a) == 1:
        made = torch.addmm(at, x @ a[0].T, b[0])
    elif ends is not None:
        grouped = torch.nn.functional.grouped_mm
        made = at + grouped(grouped(x, a.transpose(1, 2), offs=ends), b, offs=ends)
    elif mask is not None:
        made = torch.addmm(at, mask * (x @ a.flatten(0, 1).T), b.flatten(0, 1))
    else:
        assert each is not None
        many, beside = (one.view(len(a), len(each), one.shape[-1]) for one in (x, at))
        made = torch.baddbmm(beside, torch.bmm(many, a.transpose(1, 2)), b).view(y.shape)
    return (made if at is y else y + made.to(y.dtype)).view(output.shape)
