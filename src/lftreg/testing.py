"""For the tests of a plugin's author: assertions that say what is wrong, and all of it at once.

    from lftreg.testing import check_plugin

    def test_the_plugin_keeps_the_rules():
        check_plugin("legal")

`lftreg plugins check` asks the same questions. Nothing here imports torch, but for `check_targets`
where it is given a model's configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from lftreg.composer.options import options_of, resolve_options
from lftreg.errors import LftregError, NotFound, UsageError
from lftreg.plugins import check as rules
from lftreg.plugins import check_metric as scoring
from lftreg.plugins import check_remote as sharing
from lftreg.plugins.host import Host, Plugin, Registered
from lftreg.plugins.types import Domain, Method, Metric, Remote, Targets
from lftreg.training.settings import settings_from

if TYPE_CHECKING:
    from lftreg.models.targets import Module

__all__ = [
    "check_domain",
    "check_import",
    "check_method",
    "check_metric",
    "check_plugin",
    "check_remote",
    "check_targets",
    "find_problems",
]

T = TypeVar("T")


def check_plugin(plugin: str | ModuleType) -> None:
    """Assert that an installed plugin keeps every rule that `lftreg plugins check` knows.

    `plugin` is the name of its entry point, or the module behind it. It has to be installed: an
    entry point that was forgotten is the first thing that goes wrong. Plugins of others that are
    broken do not matter here. Raises AssertionError.
    """
    named = plugin if isinstance(plugin, str) else plugin.__name__
    host = Host(off=(), trying=named)  # the author's own, whether it is enabled yet or not
    found = _installed(host, plugin)
    problems = [*find_problems(host, found)]
    faults = [fault.message for fault in host.faults if fault.plugin == found.name]
    _hold(str(found), [*faults, *problems])


def check_domain(domain: Domain, seed: int = 0) -> None:
    """Assert that a domain builds the same examples for `seed` each time, and keeps the other rules.

    The splits share no prompt, every conversation ends with the assistant's text, its `prompts` are
    not trained on, and its `defaults` are settings of `lftreg train`. Raises AssertionError.
    """
    _hold(f"domain {domain.name!r}", _domain_problems(domain, seed))


def check_targets(targets: Targets, config: Mapping[str, Any] | None = None) -> None:
    """Assert that a target map can be used.

    With `config`, the content of a model's `config.json`, every preset is matched against that model's
    modules: each name has to hit linear layers in every block, and `all-linear` all that are in blocks. A
    configuration of two layers will do; no weights are made. Raises AssertionError.
    """
    problems = rules.check_targets(targets)
    if config is not None and not problems:
        problems = [*_misses(targets, config)]
    _hold(f"target family {targets.family!r}", problems)


def check_method(method: Method) -> None:
    """Assert that a method's signature and its description can be used. Merges nothing.

    Raises AssertionError.
    """
    _hold(f"method {method.name!r}", _method_problems(method))


def check_metric(metric: Metric) -> None:
    """Assert that a metric scores a few made-up answers, with no other inputs than it says it needs.

    A value for each item, the same each time, a share between 0 and 1, a total of any of the items. Of a metric that
    needs a package which is not installed only the description is judged. Raises AssertionError.
    """
    _hold(f"metric {metric.name!r}", scoring.check_metric(metric))


def check_remote(remote: Remote, place: str) -> None:
    """Assert that what a remote sends to a place comes back byte for byte, and that the same is not sent twice.

    `place` is one that it may write to and that is empty, as a user would name it. Raises AssertionError.
    """
    _hold(f"remote {remote.name!r}", sharing.check_remote(remote, place))


def check_import(module: str | ModuleType) -> None:
    """Assert that a module imports in less than 50 ms, in a process of its own, and without torch.

    Raises AssertionError.
    """
    name = module if isinstance(module, str) else module.__name__
    _hold(f"module {name!r}", rules.check_import(name))


def find_problems(host: Host, plugin: Plugin) -> Iterator[str]:
    """What is wrong with a plugin of `host` that loaded, in sentences. The host's faults are not repeated."""
    yield from _offered("domain", host.domains(), plugin, _domain_problems)
    yield from _offered("target family", host.targets(), plugin, rules.check_targets)
    yield from _offered("method", host.methods(), plugin, _method_problems)
    yield from _offered("metric", host.metrics(), plugin, scoring.check_metric)
    if plugin.state != "loaded":
        return
    if not plugin.hooks:
        yield "implements no hook: mark its functions with @hookimpl"
    yield from rules.check_import(plugin.module)


def _offered(
    word: str,
    offered: Mapping[str, Registered[T]],
    plugin: Plugin,
    judge: Callable[[T], Iterable[str]],
) -> Iterator[str]:
    for name, registered in offered.items():
        if registered.plugin == plugin.name:
            for problem in judge(registered.value):
                yield f"{word} {name!r} {problem}"


def _domain_problems(domain: Domain, seed: int = 0) -> list[str]:
    """The rules of a domain, and whether `lftreg train` would take its defaults."""
    problems = rules.check_domain(domain, seed)
    try:
        settings_from({}, domain.defaults)
    except UsageError as error:
        problems.append(f"has defaults that `lftreg train` refuses: {error.message}")
    except (TypeError, ValueError) as error:  # a number that is a text, and the like
        problems.append(f"has defaults that `lftreg train` cannot read: {error}")
    return problems


def _method_problems(method: Method) -> list[str]:
    """The rules of a method, and whether its options' defaults are what their own types allow."""
    problems = rules.check_method(method)
    if problems:
        return problems
    try:
        resolve_options(method, {name: option.default for name, option in options_of(method).items()})
    except UsageError as error:
        problems.append(f"has an option that refuses its own default: {error.message}")
    return problems


def _misses(targets: Targets, config: Mapping[str, Any]) -> Iterator[str]:
    """Names that do not fit the modules of a model, and linear layers that `all-linear` leaves out."""
    from lftreg.models.targets import ALL_LINEAR, adapted_by, list_modules, resolve_targets

    kind = str(config.get("model_type"))
    if kind not in targets.model_types:
        yield f"does not claim the model type {kind!r}"
        return
    modules = list_modules(config)
    ours = Host(off=(), external=False)  # names alone are asked for: no plugin's presets may answer
    for preset, names in targets.presets.items():
        for name in names:
            try:
                resolve_targets(modules, kind, name, ours)
            except LftregError as error:
                if name in targets.optional and isinstance(error, NotFound):
                    continue
                yield f"has a preset {preset!r} that does not fit: {error.message}"
    taken = tuple(targets.presets.get(ALL_LINEAR, ()))
    if taken:
        hit = {module.name for module in adapted_by(taken, modules)}
        left = [path for path in _in_blocks(modules) if path not in hit]
        if left:
            yield f"leaves {len(left)} linear layers out of 'all-linear', such as {left[0]}"


def _in_blocks(modules: Iterable[Module]) -> list[str]:
    """The linear layers that are repeated, block by block: no head, no pooler, no part of a head."""
    return [
        m.name for m in modules if m.linear and not m.head and any(p.isdigit() for p in m.name.split("."))
    ]


def _installed(host: Host, plugin: str | ModuleType) -> Plugin:
    for found in host.plugins():
        if plugin == found.name or getattr(plugin, "__name__", None) == found.module:
            return found
    what = f"plugin {plugin!r}" if isinstance(plugin, str) else f"plugin behind module {plugin.__name__!r}"
    raise AssertionError(
        f"no {what} is installed: look at [project.entry-points.lftreg] in pyproject.toml, and pip install it"
    )


def _hold(what: str, problems: list[str]) -> None:
    if problems:
        count = f"{len(problems)} rules" if len(problems) > 1 else "a rule"
        raise AssertionError("\n  ".join([f"{what} breaks {count}:", *problems]))
