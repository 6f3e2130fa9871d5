"""A page of HTML as a test reads it: by a parser, and by a browser where there is one."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSER = next(
    (found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no browser here")
_VOID = {"meta", "br", "link", "img", "input", "wbr"}


class Page(HTMLParser):
    """All tags, attributes and words of a page, and whether every tag that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.words.append(data.strip())

    def stands_alone(self) -> bool:
        """Nothing is fetched and nothing runs."""
        loads = {"src", "href", "srcset", "data", "action"}
        return not any(
            tag in ("script", "link", "img", "iframe", "object", "base")
            or any(name in loads or name.startswith("on") for name in attributes)
            for tag, attributes in self.tags
        )


def screenshot(page: Path, folder: Path, *, dark: bool = False, width: int = 1300) -> Path:
    """What a browser shows of a page, as a PNG."""
    assert BROWSER is not None
    target = folder / f"{page.stem}-{'dark' if dark else 'light'}-{width}.png"
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--user-data-dir={folder / 'browser'}", f"--window-size={width},1200"]
    words += ["--blink-settings=preferredColorScheme=0"] * dark
    subprocess.run(
        [*words, f"--screenshot={target}", page.as_uri()], capture_output=True, check=True, timeout=120
    )
    return target
