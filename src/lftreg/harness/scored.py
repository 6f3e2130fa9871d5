"""What is scored: a model in memory as one REF answers, and who that is by content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lftreg import __version__
from lftreg.errors import UsageError
from lftreg.models.attach import AdapterModel
from lftreg.models.base import FoundBase, find_base, same_base
from lftreg.models.chat import PLAIN_TEMPLATE
from lftreg.models.generate import BASE_PREFIX
from lftreg.models.load import Loaded, load_base
from lftreg.models.quantize import check_kind
from lftreg.models.tasks import CAUSAL, SEQ2SEQ, Task, natural_task, task_of
from lftreg.registry import Base, Registry, Version


@dataclass(frozen=True, slots=True)
class Scored:
    """A model as one REF answers. `ref` has the number of the version; `digest` is None for a bare base."""

    model: Any
    tokenizer: Any
    ref: str
    digest: str | None
    base: Base
    quantize: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """What the results of an evaluation have to say of it; a digest is the same on every machine."""
        number = self.ref.rpartition("@")[2] if self.digest is not None else ""
        return {
            "model_num_parameters": int(self.model.num_parameters()),
            "model_dtype": str(self.model.dtype),
            "model_revision": number,
            "model_sha": self.digest or self.base.fingerprint,
            "lftreg_version": __version__,
            "lftreg_ref": self.ref,
            "lftreg_digest": self.digest,
            "lftreg_base": self.base.id,
            "lftreg_base_fingerprint": self.base.fingerprint,
            "lftreg_quantize": self.quantize,
        }


def load_scored(
    ref: str,
    registry: Registry,
    dtype: str = "auto",
    *,
    quantize: str | None = None,
    trust_code: bool = False,
) -> Scored:
    """An adapter on its base, or the base alone for `base:starter` (`base:` and any base).

    A base without a chat template gets the one that lftreg trains it with. Raises NotFound for a REF
    that is not there, UsageError for a model that gives no likelihood of texts, and what `load_base` raises.
    """
    check_kind(quantize)
    if ref.startswith(BASE_PREFIX):
        found = find_base(ref.removeprefix(BASE_PREFIX), registry, trust_code=trust_code)
        loaded = _loaded(ref, found, natural_task(found.config), dtype, quantize)
        return Scored(loaded.model, loaded.tokenizer, ref, None, found.record, quantize)
    version = registry.get(ref)
    found = same_base(version.base, registry, trust_code=trust_code)
    config = registry.config(version)
    loaded = _loaded(ref, found, task_of(found.config, config), dtype, quantize)
    model = _attached(loaded, version, config, registry)
    return Scored(model, loaded.tokenizer, version.ref, version.digest, found.record, quantize)


def _loaded(ref: str, found: FoundBase, task: Task, dtype: str, quantize: str | None) -> Loaded:
    if task not in (CAUSAL, SEQ2SEQ):
        raise UsageError(
            f"{ref} is a {task.words}, which gives no likelihood of texts",
            "lm-eval scores models that write: a causal language model or a sequence-to-sequence model",
            code="wrong-task",
        )
    loaded = load_base(found, dtype, task=task, quantize=quantize)
    if task is CAUSAL and not loaded.tokenizer.chat_template:
        loaded.tokenizer.chat_template = PLAIN_TEMPLATE
    return loaded


def _attached(loaded: Loaded, version: Version, config: dict[str, Any], registry: Registry) -> Any:
    adapters = AdapterModel(loaded)
    adapters.attach(version.digest, config, registry.weights(version))
    with adapters.using(version.digest) as model:  # the only one there: it stays in force
        return model
