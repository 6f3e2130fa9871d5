"""Domains, target maps and composition methods come from plugins; the built-in ones are plugins too.

A plugin is a module that an installed package names in the entry-point group `lftreg`:

    from lftreg import Domain, Example, hookimpl

    @hookimpl
    def lftreg_domains():
        yield Domain("legal", "Questions to a law desk", build)

`spec` holds the hooks, `types` what they yield, `host` loads plugins and asks them, `check` and
`lftreg.testing` hold them to the rules, `new` writes one to begin with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lftreg.plugins.spec import hookimpl

__all__ = ["hookimpl"]


def __getattr__(name: str) -> Any:
    # Lazy, because the registry's records import `types` and need no pluggy.
    if name == "hookimpl":
        from lftreg.plugins.spec import hookimpl

        return hookimpl
    raise AttributeError(f"module 'lftreg.plugins' has no attribute {name!r}")
