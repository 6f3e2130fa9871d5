"""Adapters that train side by side on one frozen base, each on a stretch of the tokens of every pass.

The base's layers compute all tokens in one product. A hook behind each adds to a lane's stretch what its own factors
make of it, as PEFT does for a single adapter:

    y[stretch] += scale * (dropout(x[stretch]) A^T) B^T

One lane after another does so: the plain way, which a CPU takes. A GPU takes all lanes at once: see `stacks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import Incompatible
from lftreg.models.fresh import checkpoint_gradients
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import Row
from lftreg.training.flat import Flat

if TYPE_CHECKING:
    import torch

ADAPTER = "default"


@dataclass(frozen=True, slots=True)
class Factors:
    """What an adapter has for one layer: A (rank, inputs), B (outputs, rank), and how much their product counts."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


class Lane:
    """One adapter in training: its factors by layer, and the generator that its dropout and noise draw from."""

    def __init__(
        self,
        named: dict[str, torch.Tensor],
        factors: Mapping[str, Factors],
        objective: Causal,
        base: Any,
        accelerator: Any,
        *,
        dropout: float = 0.0,
        noise: float = 0.0,
        flat: bool | None = None,
    ) -> None:
        """`noise` is NEFTune's alpha; `flat` factors are two tensors, as a GPU likes them, and are so there where it
        is left out. The generator goes on from torch's, as it is now."""
        import torch

        self.named = named
        self.factors_by_layer = factors
        self.objective = objective
        self.accelerator = accelerator
        self.dropout, self.noise = dropout, noise
        self._base = base
        if flat is None:
            flat = self.device.type == "cuda"
        self.flat = Flat({path: (one.a, one.b) for path, one in factors.items()}) if flat else None
        self._unreached: list[str] | None = None
        self._generator = torch.Generator(self.device)
        self.draw_from(_random_state(self.device))

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    @property
    def checkpointing(self) -> bool:
        return any(getattr(module, "gradient_checkpointing", False) for module in self._base.modules())

    def checkpoint_gradients(self) -> None:
        checkpoint_gradients(self._base)  # for all that share the base: what it saves is theirs together

    def factors(self) -> dict[str, torch.Tensor]:
        return {
            name.replace(f".{ADAPTER}.", "."): tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in self.named.items()
        }

    def load(self, factors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `factors` gave once."""
        import torch

        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(factors[name.replace(f".{ADAPTER}.", ".")])

    def optimizer(self, lr: float, weight_decay: float) -> Any:
        import torch

        options: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "fused": self.device.type == "cuda" or None,
        }
        return (
            torch.optim.AdamW(self.parameters, **options)
            if self.flat is None
            else self.flat.optimizer(**options)
        )

    @property
    def scale(self) -> float:
        """How much the products of the factors count, which is the same in all layers."""
        return next(iter(self.factors_by_layer.values())).scale

    @property
    def parameters(self) -> list[torch.Tensor]:
        return list(self.named.values()) if self.flat is None else self.flat.parameters

    def unreached(self) -> list[str]:
        """The names of parameters that no gradient came to, in any pass since this was asked."""
        found, self._unreached = self._unreached or [], None
        return found

    def _not_reached(self, names: Sequence[str]) -> None:
        before = self._unreached
        self._unreached = [name for name in names if before is None or name in before]

    def make_room(self) -> None:
        """Ask for all memory that learning takes, before any lane has learned."""
        if self.flat is not None:
            self.flat.make_room()

    def learn(self, gradients: Mapping[str, torch.Tensor | None]) -> None:
        """Add gradients, by name, to those that are there."""
        self._not_reached([name for name, gradient in gradients.items() if gradient is None])
        for name, parameter in self.named.items():
            gradient = gradients[name]
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad += gradient
        if self.flat is not None:
            self.flat.gather()

    def learn_flat(self, a: torch.Tensor, b: torch.Tensor, unreached: Sequence[str]) -> None:
        """The same for flat factors: the gradients of all A (rank, inputs) and of all scaled B (rank, outputs), and
        the layers that none came to."""
        assert self.flat is not None
        layers = tuple(f".{path}" for path in unreached)
        self._not_reached([name for name in self.named if name.partition(".lora_")[0].endswith(layers)])
        self.flat.add(a, b, self.scale)

    def random_state(self) -> list[torch.Tensor]:
        """Torch's own generators, which a base with dropout draws from, and the lane's."""
        import torch

        of_gpu = [_random_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *of_gpu, self.drawn_so_far()]

    def set_random_state(self, states: list[torch.Tensor]) -> None:
        """Take over what a lane has kept, or a run that had its base to itself."""
        import torch

        torch.set_rng_state(states[0])
        if self.device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)
        self.draw_from(states[-1])

    def drawn_so_far(self) -> torch.Tensor:
        """The lane's own generator."""
        state: torch.Tensor = self._generator.get_state()
        return state

    def draw_from(self, state: torch.Tensor) -> None:
        self._generator.set_state(state)

    def uniform(self, shape: Sequence[int], reach: float, like: torch.Tensor) -> torch.Tensor:
        return like.new_empty(shape).uniform_(-reach, reach, generator=self._generator)

    def kept(self, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """A mask of dropout: 0 for what is left out, and for the rest what makes up for it."""
        keep = 1.0 - self.dropout
        return like.new_empty(shape).bernoulli_(keep, generator=self._generator).div_(keep)


def lane_of(model: Any, **options: Any) -> Lane:
    """A lane with the factors of PEFT's model, which is taken apart: its base is as it was before.

    Raises Incompatible for factors that are not of linear layers.
    """
    found: dict[str, Factors] = {}
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    mine = set()
    for path, module in model.get_base_model().named_modules():
        if not hasattr(module, "lora_A") or ADAPTER not in module.lora_A:
            continue
        a, b = module.lora_A[ADAPTER], module.lora_B[ADAPTER]
        if a.weight.dim() != 2:
            raise Incompatible(f"{path} is no linear layer", "train it with --plain", code="not-together")
        found[path] = Factors(a.weight, b.weight, float(module.scaling[ADAPTER]))
        mine |= {id(a.weight), id(b.weight)}
    stray = next((name for name, p in named.items() if id(p) not in mine), None)
    if stray is not None:
        raise Incompatible(
            f"{stray} is no factor of a linear layer", "train it with --plain", code="not-together"
        )
    assert [id(p) for p in named.values()] == [id(p) for one in found.values() for p in (one.a, one.b)]
    return Lane(named, found, base=model.unload(), **options)


def _random_state(device: torch.device) -> torch.Tensor:
    import torch

    return torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The tokens of a lane in a pass: those from `start` to before `stop`, or to the end, and the rows they are of.

    `places` are these tokens in the lane's rows as they would be filled up, (rows, longest), which is how a run by
    itself draws its noise; None where they are the same, or where the lane draws nothing.
    """

    lane: Lane
    rows: Sequence[Row]
    start: int
    stop: int | None
    places: torch.Tensor | None = None

    @property
    def padded(self) -> tuple[int, int]:
        return len(self.rows), max(len(row.ids) for row in self.rows)

    def drawn(self, draw: Any, width: int) -> torch.Tensor:
        """What `draw` gives for the shape (rows, longest, width), for the tokens that are there."""
        rows, longest = self.padded
        flat: torch.Tensor = draw((rows, longest, width)).reshape(rows * longest, width)
        return flat if self.places is None else flat[self.places]


class Lanes:
    """The hooks on a base, and what they add in the pass that is going on."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.work: Sequence[Stretch] = ()
        self.training = False
        self._hooks: dict[str, Any] = {}
        self._states: dict[tuple[int, str], Any] = {}  # of generators, for what is computed again
        self._noise = model.get_input_embeddings().register_forward_hook(self._add_noise)

    def close(self) -> None:
        for hook in (self._noise, *self._hooks.values()):
            hook.remove()
        self._hooks.clear()

    def hook(self, lane: Lane) -> None:
        """Have hooks on the layers that a lane changes."""
        for path in lane.factors_by_layer:
            if path not in self._hooks:
                module = self.model.get_submodule(path)
                self._hooks[path] = module.register_forward_hook(self._adding(path))

    def begin(self, work: Sequence[Stretch], training: bool) -> None:
        """Add to these stretches from here on, until it is ended: also in a backward pass that computes again."""
        self.work, self.training = work, training
        self._states.clear()

    def end(self) -> None:
        self.work = ()
        self._states.clear()

    def _adding(self, path: str) -> Any:
        def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            if not any(path in stretch.lane.factors_by_layer for stretch in self.work):
                return None
            x, y = inputs[0].reshape(-1, inputs[0].shape[-1]), output.reshape(-1, output.shape[-1])
            if self.work[-1].stop not in (None, len(x)):
                raise Incompatible(
                    f"{path} is not given every token", "train it with --plain", code="not-together"
                )
            return self._added(path, x, y).view(output.shape)

        return add

    def most(self, lanes: Sequence[Lane]) -> int:
        """How many of these lanes a pass takes."""
        return len(lanes)

    def learn(self, total: torch.Tensor, lanes: Sequence[Lane]) -> None:
        """Add the gradients of what is learned to the lanes': all of them, or none where memory runs out."""
        import torch

        parameters = [parameter for lane in lanes for parameter in lane.named.values()]
        found = iter(torch.autograd.grad(total, parameters, allow_unused=True))
        for lane in lanes:
            lane.make_room()
        for lane in lanes:
            lane.learn({name: next(found) for name in lane.named})

    def _added(self, path: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        parts = []
        for stretch in self.work:
            part = y[stretch.start : stretch.stop]
            found = stretch.lane.factors_by_layer.get(path)
            if found is not None:
                mine = x[stretch.start : stretch.stop].to(found.a.dtype)
                if self.training and stretch.lane.dropout:
                    mine = mine * self._dropout(path, stretch, mine)
                part = part + _product(mine, found).to(part.dtype)
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _dropout(self, path: str, stretch: Stretch, x: torch.Tensor) -> torch.Tensor:
        """The lane's mask; the same one where checkpointing computes a layer again."""
        lane, key = stretch.lane, (id(stretch.lane), path)
        now = lane.drawn_so_far()
        before = self._states.setdefault(key, now)
        again = before is not now
        if again:
            lane.draw_from(before)
        mask = stretch.drawn(lambda shape: lane.kept(shape, x), x.shape[-1])
        if again:
            lane.draw_from(now)
        return mask

    def _add_noise(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        """NEFTune's noise (Jain et al. 2023, arXiv 2310.05914), to each lane its own."""
        import torch

        if not self.training or not any(stretch.lane.noise for stretch in self.work):
            return None
        flat, parts = output.reshape(-1, output.shape[-1]), []
        for stretch in self.work:
            part, lane = flat[stretch.start : stretch.stop], stretch.lane
            if lane.noise:
                width = part.shape[-1]
                reach = lane.noise / (stretch.padded[1] * width) ** 0.5
                part = part + stretch.drawn(lambda shape: lane.uniform(shape, reach, flat), width)  # noqa: B023
            parts.append(part)
        return torch.cat(parts).view(output.shape)


def _product(x: torch.Tensor, found: Factors) -> torch.Tensor:
    import torch.nn.functional as F

    return F.linear(F.linear(x, found.a), found.b) * found.scale


def stretches(lanes: Sequence[tuple[Lane, Sequence[Row]]], room: int | None = None) -> Iterator[Stretch]:
    """Where the tokens of lanes come to lie, one lane after another: on one line, or in lines of `room` tokens."""
    import torch

    start = 0
    for lane, rows in lanes:
        longest = max(len(row.ids) for row in rows)
        size = sum(len(row.ids) for row in rows) if room is None else room * len(rows)
        places, draws = None, lane.noise or lane.dropout  # to put them on a GPU is to wait for it
        if room is None and draws and any(len(row.ids) != longest for row in rows):
            there = [number * longest + at for number, row in enumerate(rows) for at in range(len(row.ids))]
            places = torch.tensor(there, device=lane.device)
        elif room is not None and draws and room != longest:
            # What is filled up beyond the lane's own longest row takes any number: nothing looks at it.
            across = [min(at, longest - 1) for at in range(room)]
            places = torch.tensor(
                [number * longest + at for number in range(len(rows)) for at in across], device=lane.device
            )
        yield Stretch(lane, rows, start, start + size, places)
        start += size
