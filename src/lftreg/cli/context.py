"""What a command is given: where to speak, where things are kept, and the rooms it may call."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.cli.output import Output

if TYPE_CHECKING:
    from lftreg.config import Settings
    from lftreg.paths import Home
    from lftreg.plugins.host import Host
    from lftreg.registry import Registry


class Context:
    """The state of one invocation. Every property is made on first use, and only then imported.

    `given` holds the common options that were typed. `json` is known before parsing, so that even
    an error of parsing is told in the form that was asked for.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.given: dict[str, Any] = {"json": True} if json else {}
        self.faults_told = False  # a command that shows them itself sets this

    @cached_property
    def out(self) -> Output:
        return Output(
            json=self.given.get("json", False),
            quiet=self.given.get("quiet", False),
            verbose=self.given.get("verbose", False),
            yes=self.given.get("yes", False),
            ask=not self.given.get("no_input", False),
        )

    @cached_property
    def settings(self) -> Settings:
        from lftreg.config import load_settings

        return load_settings(flags={"home": self.given["home"]} if "home" in self.given else {})

    @property
    def home(self) -> Home:
        return self.settings.home

    @cached_property
    def registry(self) -> Registry:
        from lftreg.registry import Registry

        return Registry(self.home, self.settings.database_url)

    @cached_property
    def host(self) -> Host:
        from lftreg.plugins.host import Host

        return Host(
            off=self.settings.plugins_off,
            external=not self.given.get("no_plugins", False),
            trusted=self.settings.plugins,
        )

    @property
    def logs(self) -> Path:
        """Where a traceback may be written, if the settings can be read at all."""
        return self.home.logs

    def close(self) -> None:
        """Tell of plugins that did not load and of a database that moved up, and let it go.

        Called however a command ends.
        """
        if "host" in self.__dict__ and not self.faults_told:
            for fault in self.host.faults:
                self.out.warn(str(fault), fault.run)
        if "registry" in self.__dict__:
            if (moved := self.registry.migrated) is not None:
                kept = "" if moved.backup is None else f"; what it was before is {moved.backup}"
                self.out.note(f"the registry moved from schema {moved.before} to {moved.after}{kept}")
            self.registry.close()
