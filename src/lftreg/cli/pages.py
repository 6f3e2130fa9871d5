"""Pages of HTML that stand alone: no script, no network, no other file; readable in the light and in the dark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lftreg import __version__
from lftreg.cli.output import clean
from lftreg.composer.places import Places
from lftreg.errors import NotFound, StorageError, UsageError

_STYLE = """\
:root{color-scheme:light dark;--ground:#fff;--ink:#1d2b3a;--quiet:#586878;--line:#d9e0e8;--empty:#f1f4f7;
--zero:#fafaf8;--hot:#8c2233;--cold:#b04e12;--warm:#0b5cad;--on:#fff}
@media (prefers-color-scheme:dark){:root{--ground:#12181f;--ink:#e3e9ef;--quiet:#9aa9b8;--line:#2c3844;
--empty:#1a222b;--zero:#202a34;--hot:#f08a78;--cold:#f0a060;--warm:#6fb1f2;--on:#10161c}}
body{background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:2rem auto;
padding:0 1.25rem;max-width:120rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.25rem 0 .5rem}
p{margin:.25rem 0 .75rem;max-width:46rem}p,caption,footer,dt,thead th,tbody th{color:var(--quiet)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.25rem;margin:1rem 0}dd{margin:0}
.wide{overflow-x:auto;max-width:100%}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th{font-weight:normal;text-align:left}td,th{padding:.2rem .5rem;white-space:nowrap}thead th{border-bottom:1px solid
var(--line);white-space:normal;overflow-wrap:normal;vertical-align:bottom;
font-size:.85rem}td.n,th.n{text-align:right}tbody th{color:var(--ink)}
.by{background:var(--empty);font-weight:600}thead th.by{color:var(--ink)}
.maps{display:flex;flex-wrap:wrap;gap:1.5rem 2rem;align-items:flex-start}.maps>div{overflow-x:auto;max-width:100%}
.map td,.map th{font-size:.75rem;padding:.05rem .35rem}.map td{text-align:center;min-width:2.6rem;
border:1px solid var(--ground);background:var(--empty)}.map tbody th{text-align:right;color:var(--quiet)}
.map thead th{text-align:center;border:0}.map thead td{background:none}
.map caption{text-align:left;padding:0 0 .4rem;color:var(--ink)}
td.h{background:color-mix(in srgb,var(--hot) var(--v),var(--zero))}
td.w{background:color-mix(in srgb,var(--warm) var(--v),var(--zero))}
td.c{background:color-mix(in srgb,var(--cold) var(--v),var(--zero))}td.s{color:var(--on)}
.key{display:flex;align-items:center;gap:.5rem;font-size:.75rem;color:var(--quiet);margin-top:.4rem}
.key i{height:.6rem;width:9rem;border:1px solid var(--line)}
.up{background:linear-gradient(90deg,var(--zero),var(--hot))}
.both{background:linear-gradient(90deg,var(--cold),var(--zero),var(--warm))}
.bar{display:inline-block;width:12rem;height:.7rem;background:var(--empty);vertical-align:middle}
.bar i{display:block;height:100%;background:var(--warm)}
figure{margin:1.5rem 0}figcaption{color:var(--quiet);margin-bottom:.4rem}.forest{font:12px system-ui,sans-serif;
max-width:none}.forest text{fill:var(--ink)}.forest line{stroke:var(--ink);stroke-width:1.5}
.forest .zero{stroke:var(--quiet);stroke-dasharray:3 3}.forest line.tick{stroke:var(--quiet)}
.forest text.tick{fill:var(--quiet)}
.forest .sure line{stroke:var(--warm)}.forest .sure rect{fill:var(--warm)}.forest .open line{stroke:var(--quiet)}
.forest .open rect{fill:var(--quiet)}
details{margin:2rem 0}summary{cursor:pointer}footer{margin-top:3rem;font-size:.8rem}
@media print{.wide,.maps>div{overflow:visible}}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of some parts, each of which is HTML already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{text(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n</main>\n<footer>written by lftreg {__version__}</footer>\n</body>\n</html>\n"
    )


def text(value: str) -> str:
    """Words from wherever, as nothing but words."""
    return escape(clean(value)).replace("\n", "<br>")


def section(title: str, *parts: str, told: str = "") -> str:
    """A part of a page under its own heading; `told` explains it in a sentence."""
    explained = f"\n<p>{text(told)}</p>" if told else ""
    return "\n".join([f"<h2>{text(title)}</h2>{explained}", *parts])


def folded(title: str, part: str) -> str:
    """Something long, closed until it is asked for."""
    return f"<details>\n<summary>{text(title)}</summary>\n{part}\n</details>"


def fields(values: Mapping[str, str | None]) -> str:
    """Names and values; a value of None or "" is left out."""
    rows = [f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in values.items() if value]
    return "<dl>\n" + "\n".join(rows) + "\n</dl>"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, by: int | None = None) -> str:
    """A table. The first column names the row; all behind the first `words` columns are numbers.

    `by` is the column that the rows are in order of, if there is one. Titles may break behind an underscore, so that
    many columns have room.
    """

    def cell(at: int, value: str, header: bool) -> str:
        kinds = [*(["n"] if at >= words else []), *(["by"] if at == by else [])]
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        if header:
            order, mark = (' aria-sort="other"', " ▾") if at == by else ("", "")
            return f'<th scope="col"{kind}{order}>{text(value).replace("_", "_<wbr>")}{mark}</th>'
        if at == 0:
            return f'<th scope="row"{kind}>{text(value)}</th>'
        return f"<td{kind}>{text(value)}</td>"

    lines = ["<tr>" + "".join(cell(at, v, False) for at, v in enumerate(row)) + "</tr>" for row in rows]
    head = "".join(cell(at, title, True) for at, title in enumerate(titles))
    body = "\n".join(lines)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def bars(title: str, shares: Mapping[str, tuple[float, str]]) -> str:
    """Shares of a whole, each as a bar and the words beside it."""
    rows = [
        f'<tr><th scope="row" class="n">{text(name)}</th>'
        f'<td><span class="bar"><i style="width:{100 * min(1.0, max(0.0, share)):.2f}%"></i></span></td>'
        f'<td class="n">{text(told)}</td></tr>'
        for name, (share, told) in shares.items()
    ]
    return f'<table>\n<thead><tr><th scope="col" class="n">{text(title)}</th></tr></thead>\n' + (
        "<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"
    )


def heatmap(
    title: str,
    grid: Places,
    cells: Mapping[tuple[int, int | None], tuple[float, str, str]],
    low: float,
    high: float,
) -> str:
    """Figures by block and module. A cell is its value, the number to be read, and what the pointer is told.

    Where `low` is below 0 the scale has its middle at 0, and a colour for either side.
    """
    rows: dict[int, dict[int | None, str]] = {}
    for row, column in grid.cells():
        rows.setdefault(row, {})[column] = _cell(cells.get((row, column)), low, high)
    body = []
    for at, name in enumerate(grid.rows):
        found = rows.get(at, {})
        if None in found:
            inner = found[None].replace("<td", f'<td colspan="{max(1, len(grid.columns))}"', 1)
        else:
            inner = "".join(found.get(column, "<td></td>") for column in range(len(grid.columns)))
        body.append(f'<tr><th scope="row">{text(name)}</th>{inner}</tr>')
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in grid.columns)
    key = "both" if low < 0 else "up"
    lines = "\n".join(body)
    return (
        f'<div><table class="map">\n<caption>{text(title)}</caption>\n'
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>\n"
        f'<div class="key"><span>{low:g}</span><i class="{key}"></i><span>{high:g}</span></div></div>'
    )


def side_by_side(parts: Sequence[str]) -> str:
    return '<div class="maps">\n' + "\n".join(parts) + "\n</div>"


def write_page(path: Path, content: str) -> Path:
    """Write a page, whole or not at all, where nothing is yet.

    Raises UsageError where something is, StorageError where it cannot be written.
    """
    check_free(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lftreg-") as scratch:
            whole = Path(scratch) / "page.html"
            whole.write_text(content, encoding="utf-8")
            try:
                os.link(whole, path)  # unlike a rename, it never takes the place of another file
            except FileExistsError:
                check_free(path)
                raise
            except OSError:  # a disk without links
                check_free(path)
                whole.rename(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", "choose another --html") from error
    return path


def check_free(path: Path) -> None:
    """Before anything is computed. Raises UsageError where something is there, NotFound without a folder."""
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already", "give a file that is not", code="exists")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", "make it, or write elsewhere", code="unknown-folder")


def _cell(found: tuple[float, str, str] | None, low: float, high: float) -> str:
    if found is None:
        return "<td>–</td>"
    value, shown, told = found
    share = min(1.0, abs(value) / (high or 1))
    kind = ("w" if value >= 0 else "c") if low < 0 else "h"
    strong = " s" if share > 0.62 else ""
    return (
        f'<td class="{kind}{strong}" style="--v:{100 * share:.0f}%" title="{text(told)}">{text(shown)}</td>'
    )
