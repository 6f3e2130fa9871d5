"""Everyone who is asked a suite, over one base in memory, and what metrics are shown of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData, UsageError
from lftreg.evaluation.asking import Answers, Wanted, ask
from lftreg.evaluation.suite import Suite, at_places
from lftreg.models.generate import BASE_PREFIX, Speaker
from lftreg.models.tasks import CLASSIFY
from lftreg.plugins.types import Metric, Outputs
from lftreg.registry import Base, Registry, Version

if TYPE_CHECKING:
    from lftreg.evaluation.evaluate import Asked, OnProgress


Embed = Callable[[Sequence[str]], Any]


@dataclass(frozen=True, slots=True)
class Side:
    """A REF that is asked, and the digest of what answers under it (a base's fingerprint)."""

    ref: str
    digest: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said. `base` is the REF of the bare base, None where it cannot do the task, as with a classifier's.

    `suite` is what was asked: `too_long` items that the base has no room for are not in it. `digests` are of
    adapters, of the base its fingerprint.
    """

    suite: Suite
    record: Base
    base: str | None
    versions: Mapping[str, Version]
    digests: Mapping[str, str]
    outputs: Mapping[str, Outputs]
    too_long: int


def hear(
    refs: Sequence[str],
    suite: Suite,
    metrics: Sequence[Metric],
    asked: Asked,
    registry: Registry,
    on_progress: OnProgress | None = None,
) -> Heard:
    """Ask the base, the version that is compared `against`, and every adapter; equal content once.

    Raises Incompatible for adapters of different bases, InvalidData where no item fits the base.
    """
    named = list(dict.fromkeys([*refs, *([asked.against] if asked.against else [])]))
    versions = {ref: registry.get(ref) for ref in named if not ref.startswith(BASE_PREFIX)}
    base = base_of(named, registry)
    everyone = list(dict.fromkeys([*([base] if base else []), *named]))
    speaker = Speaker(everyone, registry, quantize=asked.quantize, trust_code=asked.trust_code)
    said = ask(speaker, suite, asked.decoding, _wanted(metrics, asked), on_progress)
    kept, said = _answered(suite, said)
    embed = _embedder(speaker) if base else None
    return Heard(
        kept,
        speaker.base.record,
        base,
        versions,
        {ref: speaker.digest(ref) for ref in everyone},
        _outputs(said, base, kept, asked, embed),
        len(suite.items) - len(kept.items),
    )


def _answered(suite: Suite, said: Mapping[str, Answers]) -> tuple[Suite, dict[str, Answers]]:
    """The items that the base has room for, and what was said to them. Raises InvalidData where there is none."""
    lost = {place for one in said.values() for place in one.unanswered}
    if not lost:
        return suite, dict(said)
    kept = [place for place in range(len(suite.items)) if place not in lost]
    if not kept:
        raise InvalidData(
            f"no item of {suite.name} fits the base",
            "--max-tokens less, or a base that reads more",
            code="too-long",
        )
    return at_places(suite, kept), {ref: one.at(kept) for ref, one in said.items()}


def _outputs(
    said: Mapping[str, Answers],
    base: str | None,
    suite: Suite,
    asked: Asked,
    embed: Embed | None,
) -> dict[str, Outputs]:
    """What metrics are shown of each speaker: all of it beside the same references and the same base."""
    items = suite.items
    return {
        ref: Outputs(
            prompts=tuple(item.prompt for item in items),
            references=tuple(item.reference for item in items),
            answers=one.answers,
            base=said[base].answers if base else (),
            paraphrased=one.paraphrased,
            samples=one.samples,
            tests=tuple(item.example.tests for item in items),
            nats=one.nats,
            tokens=one.tokens,
            bytes=one.bytes,
            embed=embed,
            allow_code_execution=asked.allow_code_execution,
        )
        for ref, one in said.items()
    }


def _embedder(speaker: Speaker) -> Embed:
    """Texts as the bare base sees them, whoever speaks. Each is read once: the domain's come again with everyone."""
    import numpy as np

    from lftreg.evaluation.embedding import mean_pooled

    known: dict[str, Any] = {}

    def embed(texts: Sequence[str]) -> Any:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            with speaker.using(None) as model:
                known.update(zip(new, mean_pooled(speaker.loaded, model, new), strict=True))
        return np.stack([known[text] for text in texts])

    return embed


def two_sides(
    ref: str, suite: Suite, asked: Asked, registry: Registry, on_progress: OnProgress | None = None
) -> tuple[Side, Side, Suite, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The answers of an adapter and of what it is compared with, the base where nothing is named."""
    other = asked.against or base_of([ref], registry)
    if other is None:
        raise UsageError(f"{ref} is a classifier, and a label is no answer to choose by taste")
    speaker = Speaker([ref, other], registry, quantize=asked.quantize, trust_code=asked.trust_code)
    said = ask(speaker, suite, asked.decoding, Wanted(losses=False), on_progress)
    kept, said = _answered(suite, said)
    it, its_other = (Side(one, speaker.digest(one)) for one in (ref, other))
    return it, its_other, kept, (said[ref].answers, said[other].answers)


def base_of(refs: Sequence[str], registry: Registry) -> str | None:
    """The REF of the bare base; None where it cannot do what its adapters do: a classifier's head is theirs."""
    given = next((ref for ref in refs if ref.startswith(BASE_PREFIX)), None)
    if given is not None:
        return given
    version = registry.get(refs[0])
    if registry.config(version).get("task_type") == CLASSIFY.peft:
        return None
    return f"{BASE_PREFIX}{version.base.id}"


def _wanted(metrics: Iterable[Metric], asked: Asked) -> Wanted:
    """What has to be asked for these metrics, and no more."""
    needs = {need for metric in metrics for need in metric.needs}
    return Wanted(
        paraphrases="paraphrases" in needs,
        samples=asked.samples if needs & {"samples", "tests"} else 0,
        temperature=asked.temperature,
        losses="losses" in needs,
    )
