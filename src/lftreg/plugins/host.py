"""Loads plugins and asks them. One that is broken costs its own offers and nothing else.

A plugin may fail to import, exit, misname a hook, yield half of its values and raise, claim a
name that is taken, or be written for another lftreg. Each becomes a `Fault` that is kept and shown;
commands go on without what the plugin would have given.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Generic, Literal, TypeVar

import pluggy

from lftreg import __version__
from lftreg.config import load_settings
from lftreg.errors import LftregError, NotFound, unknown
from lftreg.plugins import spec
from lftreg.plugins.offers import DOMAIN, METHOD, METRIC, REMOTE, TARGETS, Kind, check_all
from lftreg.plugins.packages import author as author_of
from lftreg.plugins.packages import identity, normal
from lftreg.plugins.requires import other_lftreg
from lftreg.plugins.types import Domain, Method, Metric, Remote, Targets

T = TypeVar("T")
State = Literal["loaded", "off", "failed", "found"]
EVERY = "*"  # in the setting `plugins`: whatever is installed

BUILT_IN = {
    "customer_support": "lftreg.plugins.builtin.customer_support",
    "financial_advisor": "lftreg.plugins.builtin.financial_advisor",
    "code_generation": "lftreg.plugins.builtin.code_generation",
    "creative_writing": "lftreg.plugins.builtin.creative_writing",
    "families": "lftreg.plugins.builtin.families",
    "methods": "lftreg.composer.methods",
    "metrics": "lftreg.evaluation.metrics",
    "remotes": "lftreg.remotes.builtin",
}
_OURS = f"lftreg {__version__}"


@dataclass(frozen=True, slots=True)
class Registered(Generic[T]):
    """A value, the plugin that gave it, and the name and version of the package it came in."""

    value: T
    plugin: str
    distribution: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that is installed. One that is `off` was not imported; `hooks` are those it implements.

    `found` is the state of one whose package the user has not listed; it was not imported either. `author` is what
    its package says of itself.
    """

    name: str
    distribution: str
    module: str
    state: State = "loaded"
    builtin: bool = False
    hooks: tuple[str, ...] = ()
    author: str = ""

    @property
    def off(self) -> bool:
        return self.state in ("off", "found")

    @property
    def package(self) -> str:
        """The package it came in, without the version: what the setting `plugins` lists."""
        return self.distribution.partition(" ")[0]

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution})"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a plugin, and what to type about it.

    `loaded` is False where nothing of it could be used.
    """

    plugin: str
    distribution: str
    message: str
    loaded: bool = False
    error: BaseException | None = field(default=None, compare=False, repr=False)
    run: str = ""

    def __post_init__(self) -> None:
        if not self.run:
            object.__setattr__(self, "run", check_command(self.plugin))

    def __str__(self) -> str:
        broken = "" if self.loaded else " did not load"
        return f"plugin {self.plugin!r} ({self.distribution}){broken}: {self.message}"


class Host:
    """All plugins of this environment. Nothing is imported before the first question.

    `off` names plugins, or packages, to leave out; None takes the setting `plugins_off`. Of other packages only those
    in `trusted` are imported; None takes the setting `plugins`. With `external=False` only the built-in plugins are
    asked. `trying` is one plugin more, by its name or its module, which whoever calls answers for.
    """

    def __init__(
        self,
        off: Iterable[str] | None = None,
        external: bool = True,
        trusted: Iterable[str] | None = None,
        trying: str | None = None,
    ) -> None:
        self._off = None if off is None else frozenset(off)
        self._trusted = None if trusted is None else frozenset(trusted)
        self._trying = trying
        self._external = external
        self._manager = pluggy.PluginManager(spec.PROJECT)
        self._manager.add_hookspecs(spec)
        self._plugins: dict[str, Plugin] = {}  # in the order of registration, built-in ones first
        self._asked: dict[str, dict[str, Registered[Any]]] = {}
        self._faults: list[Fault] = []
        self._loaded = False

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What went wrong in what was asked so far. Asks nothing by itself."""
        return tuple(self._faults)

    def domains(self) -> dict[str, Registered[Domain]]:
        return self._ask(DOMAIN)

    def targets(self) -> dict[str, Registered[Targets]]:
        """Target maps by family."""
        return self._ask(TARGETS)

    def methods(self) -> dict[str, Registered[Method]]:
        return self._ask(METHOD)

    def metrics(self) -> dict[str, Registered[Metric]]:
        return self._ask(METRIC)

    def remotes(self) -> dict[str, Registered[Remote]]:
        return self._ask(REMOTE)

    def domain(self, name: str) -> Domain:
        """The domain called `name`. Raises NotFound."""
        return self._find(DOMAIN, name, "`lftreg domains` lists them")

    def method(self, name: str) -> Method:
        """The composition method called `name`. Raises NotFound."""
        return self._find(METHOD, name, "`lftreg methods` lists them")

    def metric(self, name: str) -> Metric:
        """The metric called `name`. Raises NotFound."""
        return self._find(METRIC, name, "`lftreg metrics` lists them")

    def remote(self, name: str) -> Remote:
        """The remote called `name`. Raises NotFound."""
        return self._find(REMOTE, name, "`lftreg plugins` lists them")

    def family(self, model_type: str) -> Targets | None:
        """The target map for a value of `config.model_type`, if there is one."""
        return next((e.value for e in self.targets().values() if model_type in e.value.model_types), None)

    def plugins(self) -> tuple[Plugin, ...]:
        """Every plugin that is installed, loaded or not; built-in ones first. Loads them."""
        self._load()
        return tuple(self._plugins.values())

    def _find(self, kind: Kind[T], name: str, hint: str) -> T:
        found = self._ask(kind)
        if name in found:
            return found[name].value
        if waiting := self._waiting(name):
            raise NotFound(
                f"unknown {kind.word} {name!r}; {waiting} is installed and not enabled",
                f"lftreg plugins enable {waiting.name}, if you trust its author",
                code=f"unknown-{kind.word.replace(' ', '-')}",
            )
        failed = {fault.plugin: fault for fault in self._faults}
        # A plugin is mostly called like what it brings, so its name helps even if it failed.
        error = unknown(kind.word, name, [*found, *(plugin for plugin in failed if plugin != name)], hint)
        if failed:
            blamed = next(iter(get_close_matches(name, failed, n=1)), next(iter(failed)))
            count = f"{len(failed)} plugin{'s' if len(failed) > 1 else ''}"
            error = NotFound(
                f"{error.message} ({count} failed to load)", f"run: {check_command(blamed)}", code=error.code
            )
        raise error

    def _waiting(self, name: str) -> Plugin | None:
        """The plugin of this name, or of the one that looks most like it, which nobody has enabled."""
        waiting = {plugin.name: plugin for plugin in self._plugins.values() if plugin.state == "found"}
        return waiting.get(next(iter(get_close_matches(name, waiting, n=1)), ""))

    def _ask(self, kind: Kind[T]) -> dict[str, Registered[T]]:
        if kind.hook not in self._asked:
            self._load()
            accepted: dict[str, Registered[T]] = {}
            owners: dict[str, Plugin] = {}
            for plugin in self._plugins.values():
                for implementation in self._implementations(plugin, kind.hook):
                    for value in self._answers(kind, plugin, implementation):
                        self._accept(kind, plugin, value, accepted, owners)
            self._asked[kind.hook] = accepted
        return dict(self._asked[kind.hook])

    def _implementations(self, plugin: Plugin, hook: str) -> list[Callable[[], object]]:
        registered = getattr(self._manager.hook, hook).get_hookimpls()
        return [impl.function for impl in registered if impl.plugin_name == plugin.name]

    def _answers(self, kind: Kind[T], plugin: Plugin, ask: Callable[[], object]) -> list[T]:
        """Everything that one implementation yields, or nothing where any of it is wrong."""
        answers: list[T] = []
        with self._isolated(plugin, loaded=True):
            answers += check_all(kind, ask())
        return answers

    def _accept(
        self,
        kind: Kind[T],
        plugin: Plugin,
        value: T,
        accepted: dict[str, Registered[T]],
        owners: dict[str, Plugin],
    ) -> None:
        for claim in kind.claims(value):
            if claim in owners:
                self._fault(plugin, f"{claim} is already given by {owners[claim]}", loaded=True)
                return
        owners.update(dict.fromkeys(kind.claims(value), plugin))
        if not plugin.builtin:
            value = kind.guarded(value, _blaming(plugin))
        accepted[kind.name(value)] = Registered(value, plugin.name, plugin.distribution)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        off = frozenset(load_settings().plugins_off) if self._off is None else self._off
        for name, module in BUILT_IN.items():
            plugin = Plugin(name, _OURS, module, "off" if name in off else "loaded", builtin=True)
            self._plugins[name] = plugin
            if not plugin.off:
                self._register(plugin, importlib.import_module(module))
        if self._external:
            for plugin, entry in self._installed(off):
                self._load_external(plugin, entry)

    def _load_external(self, plugin: Plugin, entry: importlib.metadata.EntryPoint) -> None:
        if plugin.off:
            self._plugins.setdefault(plugin.name, plugin)
            return
        if plugin.name in self._plugins:
            owner = self._plugins[plugin.name].distribution
            self._fault(plugin, f"an entry point of {owner} has the name already; each needs its own")
            return
        self._plugins[plugin.name] = replace(plugin, state="failed")
        if wanted := other_lftreg(entry.dist):
            self._fault(
                plugin,
                f"was written for lftreg {wanted}; this is {__version__}",
                run=f"pip install --upgrade {plugin.distribution.partition(' ')[0]}",
            )
            return
        with self._isolated(plugin):
            self._register(plugin, entry.load())
        if self._plugins[plugin.name].state == "failed" and self._manager.has_plugin(plugin.name):
            self._manager.unregister(name=plugin.name)  # pluggy may stop halfway through a module

    def _register(self, plugin: Plugin, module: object) -> None:
        """Hand a loaded plugin to pluggy, and remember which hooks it implements."""
        self._manager.register(module, plugin.name)
        known = {name for name in vars(spec) if name.startswith("lftreg_")}
        hooks = []
        for caller in self._manager.get_hookcallers(module) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is not module:
                    continue
                if impl.wrapper or impl.hookwrapper:
                    raise TypeError(f"{caller.name} is a wrapper; a plugin answers for itself only")
                if caller.name in known:
                    hooks.append(caller.name)
                elif not impl.optionalhook:
                    near = get_close_matches(caller.name, known, n=1)
                    question = f" Did you mean {near[0]!r}?" if near else ""
                    self._fault(plugin, f"unknown hook {caller.name!r}.{question}", loaded=True)
        self._plugins[plugin.name] = replace(plugin, hooks=tuple(sorted(hooks)))

    def _installed(self, off: frozenset[str]) -> list[tuple[Plugin, importlib.metadata.EntryPoint]]:
        """The entry points of all packages, in an order that does not depend on sys.path."""
        found: dict[tuple[str, ...], tuple[Plugin, importlib.metadata.EntryPoint]] = {}
        for distribution in importlib.metadata.distributions():
            # One package with a broken entry_points.txt would otherwise hide those of all others.
            entries: tuple[importlib.metadata.EntryPoint, ...] = ()
            broken: Exception | None = None
            try:
                entries = tuple(distribution.entry_points.select(group=spec.GROUP))
            except (TypeError, ValueError, AttributeError, OSError) as error:
                broken = error
            if not entries and broken is None:
                continue  # nearly all of them; reading their names would take 40 ms
            package, version = identity(distribution)
            label = f"{package} {version}".strip()
            if broken is not None and package not in off and self._is_trusted(package, package, package):
                message = f"its entry_points.txt cannot be read: {reason(broken)}"
                self._fault(Plugin(package, label, "", "failed"), message, error=broken)
            for entry in entries:
                module = entry.value.partition(":")[0].strip()
                state: State = "loaded" if self._is_trusted(package, entry.name, module) else "found"
                if {entry.name, package} & off:
                    state = "off"
                plugin = Plugin(entry.name, label, module, state, author=author_of(distribution))
                found.setdefault((normal(package), entry.name, entry.value), (plugin, entry))
        return [found[key] for key in sorted(found)]

    def _is_trusted(self, package: str, name: str, module: str) -> bool:
        """Whether the user has listed a package. Its plugins' names would not do: any package may use them too."""
        if self._trusted is None:
            self._trusted = frozenset(load_settings().plugins)
        listed = {normal(one) for one in self._trusted}
        return EVERY in self._trusted or normal(package) in listed or self._trying in (name, module)

    @contextlib.contextmanager
    def _isolated(self, plugin: Plugin, loaded: bool = False) -> Iterator[None]:
        """Run a plugin's code: what it raises becomes a fault, what it prints leaves stdout alone."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a stranger's code may raise anything
            self._fault(plugin, reason(error), loaded=loaded, error=error)

    def _fault(
        self,
        plugin: Plugin,
        message: str,
        loaded: bool = False,
        error: BaseException | None = None,
        run: str = "",
    ) -> None:
        if plugin.builtin:
            raise RuntimeError(f"{plugin}: {message}") from error  # a bug of ours, not a fault to live with
        self._faults.append(Fault(plugin.name, plugin.distribution, message, loaded, error, run))


def reason(error: BaseException) -> str:
    """An exception in one line, for people."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - an exception that cannot be printed must not hide itself
        lines = []
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    if not lines:
        return type(error).__name__
    if isinstance(error, pluggy.PluginValidationError):
        return str(lines[-1])
    return lines[0] if isinstance(error, ImportError) else f"{type(error).__name__}: {lines[0]}"


def check_command(plugin: str) -> str:
    return f"lftreg plugins check {plugin}"


def _blaming(plugin: Plugin) -> Callable[[str, Callable[[], Any]], Any]:
    """Runs a plugin's code after loading, in the middle of a command: its failure names the plugin."""

    def guard(doing: str, call: Callable[[], Any]) -> Any:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return call()
        except (LftregError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise LftregError(
                f"{doing} of {plugin} failed: {reason(error)}",
                f"run: {check_command(plugin.name)}",
                code="plugin-failed",
            ) from error

    return guard
