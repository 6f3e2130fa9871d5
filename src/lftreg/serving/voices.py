"""What the `model` of a request means: the bare base, an adapter, or a weighted sum of adapters.

    starter, base:starter        the base itself
    support@prod                 an adapter of the registry, by any REF of its own registry
    support:0.7+finance:0.3      their weighted sum, computed as it stands and kept nowhere

Names and REFs only: nothing that a client writes becomes a path or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from lftreg.errors import Incompatible, InvalidReference, NotFound, UsageError
from lftreg.models.base import FoundBase
from lftreg.models.generate import BASE_PREFIX
from lftreg.models.tasks import natural_task, task_of
from lftreg.registry import Registry, Version
from lftreg.registry.ref import parse_weighted

MARK = "\ufeff"  # which some editors put before the first character
LONGEST = 1000  # characters of a `model`
MOST_PARENTS = 16
MOST_WEIGHT = 100.0

Key = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """Who answers: versions by their content, and how much each counts.

    `key` names content and weights alone, in one order: what was computed for one key may be used for the same
    key again and for no other.
    """

    asked: str
    versions: tuple[Version, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def key(self) -> Key:
        return tuple(
            (version.digest, weight) for version, weight in zip(self.versions, self.weights, strict=True)
        )

    @property
    def name(self) -> str:
        """What it is, with nothing in it that may move."""
        if not self.versions:
            return self.asked
        if self.plain:
            return self.versions[0].ref
        return "+".join(f"{v.ref}:{w:g}" for v, w in zip(self.versions, self.weights, strict=True))

    @property
    def plain(self) -> bool:
        """Whether it is one adapter, as it is."""
        return self.weights == (1.0,)


def base_name(base: FoundBase) -> str:
    """How a base is named to those who ask: a folder by its last part, for its place is nobody's business."""
    return PurePath(base.record.id).name if PurePath(base.record.id).is_absolute() else base.record.id


def find_voice(asked: str, base: FoundBase, registry: Registry) -> Voice:
    """What a `model` means here and now. Aliases are looked up anew each time.

    Raises NotFound, with the nearest name, InvalidReference for what is no name, Incompatible for an adapter of
    another base or task.
    """
    asked = asked.removeprefix(MARK)
    if asked in (base.record.id, f"{BASE_PREFIX}{base.record.id}", f"{BASE_PREFIX}{base_name(base)}"):
        return Voice(f"{BASE_PREFIX}{base_name(base)}")
    if not asked or len(asked) > LONGEST:
        raise InvalidReference("the model's name is empty or too long", "GET /v1/models lists what there is")
    parts = asked.split("+")
    if len(parts) > MOST_PARENTS:
        raise UsageError(
            f"a sum of {len(parts)} adapters is too long", f"up to {MOST_PARENTS}, or compose it"
        )
    summed: dict[str, float] = {}
    versions: dict[str, Version] = {}
    for part in parts:
        version, weight = _part(part.strip(" "), base, registry)
        versions.setdefault(version.digest, version)
        summed[version.digest] = summed.get(version.digest, 0.0) + weight
    if any(abs(weight) > MOST_WEIGHT for weight in summed.values()):
        raise UsageError(
            f"a weight is beyond {MOST_WEIGHT:g}", "weights add up to about 1, as in a:0.7+b:0.3"
        )
    kept = sorted(digest for digest, weight in summed.items() if weight)
    return Voice(asked, tuple(versions[one] for one in kept), tuple(summed[one] for one in kept))


def _part(text: str, base: FoundBase, registry: Registry) -> tuple[Version, float]:
    ref, weight = parse_weighted(text)
    if ref.path is not None or ref.hub is not None:
        raise NotFound(
            f"{text[:80]!r} is no adapter of this registry",
            "a model is a name such as support@prod, never a path or an address",
            code="unknown-adapter",
        )
    version = registry.get(ref)
    if version.base.fingerprint != base.record.fingerprint:
        raise Incompatible(
            f"{version.ref} was made for another base than {base_name(base)!r}, which is served here",
            "GET /v1/models lists the adapters of this base",
            code="different-bases",
        )
    task = task_of(base.config, registry.config(version))
    if task is not natural_task(base.config):
        raise Incompatible(
            f"{version.ref} is a {task.words}, which writes no text", "lftreg generate asks it"
        )
    return version, weight
