"""The names that people know from LoRA tutorials, over what lftreg does. There is no logic of its own here.

config = FineTuningConfig(model_name="starter", lora_r=16, num_epochs=5)
tuner = LoRAFineTuner(config)
history = tuner.train(DatasetCreator().create_qa_dataset("customer_support"))
tuner.generate_text("### Question: How do I send a parcel back?\\n### Answer:", temperature=0.7)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lftreg.composer import compose
from lftreg.data import domain_from_files
from lftreg.models.generate import BASE_PREFIX, Decoding, Speaker
from lftreg.models.markers import unmarked
from lftreg.plugins.host import Host
from lftreg.plugins.types import Domain
from lftreg.registry import Registry, Version
from lftreg.serving.manager import AdapterManager, LoRAModelServer
from lftreg.training import Event, Stepped, Validated, train

__all__ = [
    "AdapterManager",
    "DatasetCreator",
    "FineTuningConfig",
    "LoRAFineTuner",
    "LoRAModelServer",
    "compose_adapters",
]


@dataclass(frozen=True, slots=True)
class FineTuningConfig:
    """How to train. What is None follows from the base and the data, as in `lftreg train`.

    `target_modules` is a preset or names; `use_4bit` keeps the base in nf4 (QLoRA).
    """

    model_name: str = "starter"
    lora_r: int = 16
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    target_modules: str | Sequence[str] = "all-linear"
    learning_rate: float | None = None
    num_epochs: int | None = None
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_length: int | None = None
    use_4bit: bool = False
    seed: int = 0

    def options(self) -> dict[str, Any]:
        """The same, as the arguments of `lftreg.train`."""
        targets = self.target_modules
        return {
            "base": self.model_name,
            "rank": self.lora_r,
            "alpha": self.lora_alpha,
            "dropout": self.lora_dropout,
            "targets": targets if isinstance(targets, str) else ",".join(targets),
            "lr": self.learning_rate,
            "epochs": self.num_epochs,
            "max_steps": self.max_steps,
            "batch_size": self.batch_size,
            "accumulate": self.gradient_accumulation_steps,
            "max_length": self.max_length,
            "quantize": "nf4" if self.use_4bit else None,
            "seed": self.seed,
        }


class DatasetCreator:
    """Data to train on: the domains of this installation, or files of one's own."""

    def create_qa_dataset(self, domain: str = "customer_support") -> Domain:
        return Host().domain(domain)

    def create_code_generation_dataset(self) -> Domain:
        return Host().domain("code_generation")

    def create_creative_writing_dataset(self) -> Domain:
        return Host().domain("creative_writing")

    def create_custom_dataset(self, *paths: str | Path, name: str | None = None) -> Domain:
        return domain_from_files([Path(path) for path in paths], name)


class LoRAFineTuner:
    """Trains adapters, keeps them in the registry, and answers with the last one."""

    def __init__(self, config: FineTuningConfig, registry: Registry | None = None) -> None:
        self.config = config
        self.registry = registry or Registry()
        self.adapter: Version | None = None

    def train(self, dataset: Domain, name: str | None = None) -> list[dict[str, float]]:
        """Train, register, and return the history: `step` and `loss`, or `step` and `eval_loss` (nats a token)."""
        events: list[Event] = []
        self.adapter = train(
            dataset, name=name, registry=self.registry, listen=events.append, **self.config.options()
        )
        return [
            {"step": e.step, "loss" if isinstance(e, Stepped) else "eval_loss": e.loss}
            for e in events
            if isinstance(e, Stepped | Validated)
        ]

    def load_adapter(self, name: str) -> Version:
        """Answer with an adapter of the registry from now on; `name` is any REF."""
        self.adapter = self.registry.get(name)
        return self.adapter

    def generate_text(
        self, prompt: str, max_new_tokens: int = 128, temperature: float = 0.7, num_return_sequences: int = 1
    ) -> list[str]:
        """Answers of the adapter, or of the bare base before there is one; each follows from its own seed."""
        ref = self.adapter.ref if self.adapter else f"{BASE_PREFIX}{self.config.model_name}"
        if ref not in self._speaker.refs:
            self._speaker.add(ref, ref)
        decodings = (Decoding(max_new_tokens, temperature, seed=n) for n in range(num_return_sequences))
        return [self._speaker.answer(ref, [unmarked(prompt)], decoding)[0].text for decoding in decodings]

    @cached_property
    def _speaker(self) -> Speaker:
        """The base, loaded once, with every adapter that has answered so far."""
        quantize = self.config.options()["quantize"]
        return Speaker([f"{BASE_PREFIX}{self.config.model_name}"], self.registry, quantize=quantize)


def compose_adapters(
    adapters: Sequence[str], weights: Sequence[float], name: str | None = None, method: str = "cat"
) -> Version:
    """The weighted sum of adapters, registered; see `lftreg.compose`."""
    return compose(adapters, weights=weights, name=name, method=method)
