"""From `--targets` to the names that PEFT matches, checked against the modules of the model.

PEFT takes a name as a dotted suffix, trains whatever it hits, and is content when it hits
something: a name that exists in three layers of thirty gives a run that looks healthy and
learns little. Here every name must hit a linear layer in every block, or be refused.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lftreg.errors import Incompatible, InvalidData, NotFound, UsageError
from lftreg.models.tasks import Task, natural_task
from lftreg.plugins.host import Host
from lftreg.tensors import CLASSIFIER_HEADS

ALL_LINEAR = "all-linear"
_SENSES = re.compile(r"(^|[._])(vision|visual|image|audio|multi_modal)([._]|$)")
LINEAR_KINDS = ("Linear", "Conv1D")  # Conv1D is GPT-2's linear layer with a transposed weight
_HINT = "choose a preset (all-linear, attention, mlp, classic) or module names, joined by commas"


@dataclass(frozen=True, slots=True)
class Module:
    """A module of a model: its dotted path, its kind, and features in and out if it is linear.

    `kind` is `Linear` or `Conv1D` for these and their subclasses, else the class's own name. `head`
    marks the layer that makes logits, which never takes an adapter unless it is named.
    """

    name: str
    kind: str
    inputs: int | None = None
    outputs: int | None = None
    head: bool = False

    @property
    def linear(self) -> bool:
        return self.kind in LINEAR_KINDS


def list_modules(
    config: Mapping[str, Any], task: Task | None = None, code: Path | None = None
) -> list[Module]:
    """All modules of the model that a `config.json` describes. Takes and raises what `empty_model` does."""
    return modules_of(empty_model(config, task, code))


def empty_model(
    config: Mapping[str, Any], task: Task | None = None, code: Path | None = None, **options: Any
) -> Any:
    """The model that a `config.json` describes, on the meta device. Reads no weights, takes no memory.

    `task` is the model's own where it is left out. `code` is the folder of a base whose own Python
    is trusted to build it. `options` are further settings of the configuration, such as its `dtype`. Raises
    InvalidData for a configuration that transformers cannot build such a model from.
    """
    import torch
    import transformers

    task = task or natural_task(config)
    settings = {key: value for key, value in config.items() if key != "model_type"}
    try:
        if code is None:
            built = transformers.AutoConfig.for_model(config["model_type"], **(settings | options))
        else:
            built = transformers.AutoConfig.from_pretrained(
                code, trust_remote_code=True, local_files_only=True, **options
            )
        with torch.device("meta"):
            loader = getattr(transformers, task.loader)
            return loader.from_config(built, trust_remote_code=code is not None)
    except Exception as error:  # transformers checks little: a bad config fails anywhere
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidData(
            f"no {task.words} can be built from this config.json: {lines[0]}",
            f"choose a base that transformers loads with {task.loader}",
            code="unknown-model",
        ) from error


def modules_of(model: Any) -> list[Module]:
    """All modules of a torch model, in order."""
    return [
        _describe(name, module, _is_head(name, module, model))
        for name, module in model.named_modules()
        if name
    ]


def _is_head(name: str, module: Any, model: Any) -> bool:
    """Whether a module makes logits: the output layer, or any part of a classifier's head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return module is head or any(part in CLASSIFIER_HEADS for part in name.split("."))


def resolve_targets(
    model: Any,
    model_type: str,
    wanted: str,
    host: Host,
    tell: Callable[[str], None] = lambda note: None,
) -> tuple[str, ...]:
    """The names for `target_modules`: presets replaced by what they stand for, all of them checked.

    `model` is a torch model or what `list_modules` gave. `wanted` is presets and names joined by
    commas. `tell` hears in a sentence what a user would not expect: an unknown family, or a
    name that takes several modules of each block. Raises NotFound for a name that hits nothing and
    Incompatible for one that hits only some layers, or something that is not linear.
    """
    modules = list(model) if isinstance(model, Sequence) else modules_of(model)
    family = host.family(model_type)
    presets = family.presets if family else {}
    optional = family.optional if family else ()
    chosen: list[str] = []
    for part in _parts(wanted):
        if part == ALL_LINEAR and part not in presets:
            names = _every_linear(modules, model_type)
            tell(
                f"no target map for {model_type!r}: adapting every linear layer but the head ({', '.join(names)})"
            )
            chosen += names
            continue
        for name in presets.get(part, (part,)):
            if part in presets and name in optional and not any(_matches(m.name, name) for m in modules):
                continue
            hits = _hits(name, modules, presets, model_type)
            _require_every_layer(name, hits, modules)
            chosen += _spelt(name, hits, tell)
            if part not in presets:
                _tell_of_several(name, hits, tell)
    return tuple(dict.fromkeys(chosen))


def _spelt(name: str, hits: Sequence[Module], tell: Callable[[str], None]) -> list[str]:
    """A name as PEFT can be given it: as it is, or every path in full where a suffix cannot say it.

    PEFT knows no `*`, and in a model that also sees, a bare q_proj would take the eyes as well,
    which text never passes.
    """
    seeing = [module for module in hits if _sees(module.name)]
    if len(seeing) == len(hits):
        raise Incompatible(
            f"{name!r} is only in the part that sees ({seeing[0].name}), which text never passes",
            "name layers of the language model",
            code="vision-target",
        )
    if seeing:
        tell(f"{name!r} is also in the part that sees ({seeing[0].name}), which is left alone")
    return [module.name for module in hits if module not in seeing] if seeing or "*" in name else [name]


def adapted_by(names: Sequence[str], modules: Sequence[Module]) -> list[Module]:
    """What PEFT adapts of some modules."""
    return [module for module in modules if any(_matches(module.name, name) for name in names)]


def matched_by_name(names: Sequence[str], modules: Sequence[Module]) -> dict[str, list[Module]]:
    """The same, grouped by pattern: full paths with `*` for the numbers in them."""
    found: dict[str, list[Module]] = defaultdict(list)
    for module in adapted_by(names, modules):
        found[_pattern(module.name)].append(module)
    return dict(found)


def _parts(wanted: str) -> list[str]:
    parts = [part.strip() for part in wanted.split(",")]
    if not all(parts):
        raise UsageError(f"{wanted!r} holds an empty target name", _HINT, code="invalid-targets")
    return parts


def _hits(name: str, modules: Sequence[Module], presets: Mapping[str, object], kind: str) -> list[Module]:
    """The linear modules that PEFT would adapt under this name."""
    hits = [module for module in modules if _matches(module.name, name)]
    if not hits:
        known = [
            *dict.fromkeys([ALL_LINEAR, *presets]),
            *sorted({m.name.rpartition(".")[2] for m in modules if m.linear}),
        ]
        near = get_close_matches(name, known, n=1) or get_close_matches(name.rpartition(".")[2], known, n=1)
        question = f" Did you mean {near[0]!r}?" if near else ""
        raise NotFound(
            f"no module of this {kind} model is called {name!r}.{question}",
            f"known here: {', '.join(known)}",
            code="unknown-target",
        )
    other = next((module for module in hits if not module.linear), None)
    if other is not None:
        raise Incompatible(
            f"{name!r} takes {other.name} ({other.kind}), which is no linear layer",
            "name the linear layers inside it",
            code="not-linear",
        )
    return hits


def _require_every_layer(name: str, hits: Sequence[Module], modules: Sequence[Module]) -> None:
    """Every block of a stack that `name` touches must hold it. A name that holds a number means that one."""
    if any(part.isdigit() for part in name.split(".")):
        return
    blocks: dict[str, set[int]] = defaultdict(set)
    for module in modules:
        if place := _block(module.name):
            blocks[place[0]].add(place[1])
    held: dict[str, set[int]] = defaultdict(set)
    for module in hits:
        if place := _block(module.name):
            held[place[0]].add(place[1])
    for stack, layers in held.items():
        if lacking := blocks[stack] - layers:
            raise Incompatible(
                f"{name!r} is in {_layers(layers)} of {stack} only; {_layers(lacking)} "
                f"{'lacks' if len(lacking) == 1 else 'lack'} it",
                "to adapt just those layers, name them in full: "
                + ",".join(module.name for module in hits[:2])
                + (",..." if len(hits) > 2 else ""),
                code="partial-target",
            )


def _tell_of_several(name: str, hits: Sequence[Module], tell: Callable[[str], None]) -> None:
    shapes = sorted({_pattern(module.name) for module in hits if not _sees(module.name)})
    if len(shapes) > 1:
        tell(f"{name!r} takes {' and '.join(shapes)}; a longer name takes only one of them")


def _every_linear(modules: Sequence[Module], kind: str) -> tuple[str, ...]:
    """The shortest names that hit every linear module but the head, and nothing else."""
    wanted = {m.name for m in modules if m.linear and not m.head and not _sees(m.name)}
    if not wanted:
        raise Incompatible(f"this {kind} model has no linear layer but its head", "choose another base")
    # All suffixes of everything that must stay as it is.
    taboo = {suffix for m in modules if m.name not in wanted for suffix in _suffixes(m.name)}
    names = (next((s for s in _suffixes(name) if s not in taboo), name) for name in wanted)
    return tuple(sorted(set(names)))


def _suffixes(name: str) -> list[str]:
    """`a.b.c` -> c, b.c, a.b.c; those that start with a number are left out, as they say nothing."""
    parts = name.split(".")
    suffixes = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return [suffix for suffix in suffixes if not suffix[0].isdigit()] or [name]


def _matches(path: str, name: str) -> bool:
    """Whether a name is a dotted suffix of a path; `*` stands for any one part."""
    if "*" not in name:
        return path == name or path.endswith("." + name)
    wanted = name.split(".")
    parts = path.split(".")[-len(wanted) :]
    return len(parts) == len(wanted) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=True))


def _sees(path: str) -> bool:
    """Whether a module belongs to the part of a model that takes pictures or sound."""
    return _SENSES.search(path) is not None


def _pattern(path: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)


def _block(path: str) -> tuple[str, int] | None:
    """`model.layers.3.mlp.experts.1.up` is in block 3 of `model.layers`."""
    parts = path.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[:place]), int(part)
    return None


def _layers(numbers: Iterable[int]) -> str:
    """`layer 3`, `layers 0-2, 5`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"layer {text}" if len(runs) == 1 and runs[0][0] == runs[0][1] else f"layers {text}"


def _describe(name: str, module: Any, head: bool) -> Module:
    classes = [cls.__name__ for cls in type(module).__mro__]
    kind = next((known for known in LINEAR_KINDS if known in classes), classes[0])
    if kind == "Linear":
        return Module(name, kind, module.in_features, module.out_features, head)
    if kind == "Conv1D":
        inputs, outputs = module.weight.shape
        return Module(name, kind, int(inputs), int(outputs), head)
    return Module(name, kind, head=head)
