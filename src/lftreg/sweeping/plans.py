"""The plans of trials: data are read and rows encoded once, and again only where a setting changes how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lftreg.models.targets import resolve_targets
from lftreg.plugins.host import Host
from lftreg.training import Plan
from lftreg.training.settings import settings_from

# Settings that change what a row becomes.
ENCODING = ("max_length", "prompt_dropout", "opening_weight", "packing")


class Plans:
    """Plans by the settings that are tried."""

    def __init__(self, make: Callable[..., Plan], options: Mapping[str, Any], host: Host) -> None:
        """`make` plans a run from options; `options` are what all trials have in common."""
        self._make, self._host = make, host
        self._options = {name: value for name, value in options.items() if value is not None}
        self._made: dict[tuple[Any, ...], Plan] = {}
        self.first = self.of({})

    def of(self, tried: Mapping[str, Any]) -> Plan:
        """The plan that `lftreg train` would make with these settings."""
        key = tuple(tried.get(name) for name in ENCODING)
        options = {**self._options, **tried}
        if key not in self._made:
            self._made[key] = self._make(**options)
            return self._made[key]
        plan = self._made[key]
        encoded = {name: getattr(plan.settings, name) for name in ENCODING}
        given = replace(settings_from(options, plan.domain.defaults), **encoded)
        targets = plan.targets
        if given.targets != plan.settings.targets:
            targets = resolve_targets(plan.modules, plan.base.config["model_type"], given.targets, self._host)
        settings = given.resolved(plan.base.record.parameters, len(plan.rows["train"]))
        return replace(plan, settings=settings, targets=targets, asked=options)
