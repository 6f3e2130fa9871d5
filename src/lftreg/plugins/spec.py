"""The hooks. Each takes no arguments and yields frozen dataclasses of `lftreg.plugins.types`.

A hook is asked at most once in a run, and only by a command that needs what it yields. It
should cost nothing: no data is read and no torch imported before `build` or `merge` is called.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from lftreg.plugins.types import Domain, Method, Metric, Remote, Targets

PROJECT = "lftreg"
GROUP = "lftreg"  # of entry points

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def lftreg_domains() -> Iterable[Domain]:
    """Sources of training examples, each under a name that `lftreg train NAME` takes."""
    return ()


@hookspec
def lftreg_targets() -> Iterable[Targets]:
    """Maps from the presets of `--targets` to the modules of a model family."""
    return ()


@hookspec
def lftreg_methods() -> Iterable[Method]:
    """Ways to compose adapters, each under a name that `lftreg compose --method NAME` takes."""
    return ()


@hookspec
def lftreg_metrics() -> Iterable[Metric]:
    """Ways to score answers, each under a name that `lftreg eval --metric NAME` takes."""
    return ()


@hookspec
def lftreg_remotes() -> Iterable[Remote]:
    """Places to share adapters by, each under a name that `lftreg push REF NAME:PLACE` takes."""
    return ()
