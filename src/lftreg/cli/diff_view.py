"""What changed between two versions, as a page of a terminal and as a page of HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.cli import pages
from lftreg.cli.report_view import FEW, figure, norm, share
from lftreg.cli.tables import Column, print_fields, print_table, short, size
from lftreg.composer.compare import Comparison, LayerChange, cosine_of, norms_of
from lftreg.composer.picture import number, percent, scale_end
from lftreg.composer.places import Places, mean, places

if TYPE_CHECKING:
    from rich.console import Console

NONE = "–"
LONG, LONGEST = 6, 60  # names, and letters of a nested value, of which all is in the document only
TITLES = ("layers", "changed", "cosine", "conflict", "norm a", "norm b", "share")
_LAYER_TITLES = ("rank a", "rank b", "changed", "cosine", "conflict", "norm a", "norm b")
# How a part of the document is called on a page, and what its keys begin with.
PARTS = {"config": "configuration", "run": "training", "recipe": "recipe", "tags": "tag"}


@dataclass(frozen=True, slots=True)
class Difference:
    """All that is told: the document of the records, and the weights or the reason that they are not compared."""

    records: Mapping[str, Any]
    weights: Comparison | None
    reason: str | None


def render(found: Difference, every_layer: bool, console: Console) -> None:
    """Print what differs; a part in which nothing does is left out."""
    columns = (Column(""), Column("a"), Column("b"))
    print_table(console, columns, _head(found.records))
    for title, rows in _recorded(found.records):
        console.print()
        print_table(console, (Column(title), Column("a"), Column("b", wrap=True)), rows)
    console.print()
    weights = found.weights
    if weights is None:
        print_fields(console, {"weights": f"not compared: {found.reason}"})
        return
    print_fields(console, _summed(weights))
    console.print()
    print_table(console, [Column("module"), *(Column(t, right=True) for t in TITLES)], _kind_rows(weights))
    if every_layer:
        console.print()
        print_table(
            console, [Column("layer"), *(Column(t, right=True) for t in _LAYER_TITLES)], _layer_rows(weights)
        )
        return
    most = _most(weights)
    if most:
        console.print()
        titles = (Column("most changed"), Column("changed", right=True), Column("||A - B||", right=True))
        print_table(console, titles, most)


def page(found: Difference) -> str:
    """The same as a page that stands alone."""
    records, weights = found.records, found.weights
    a, b = records["a"]["ref"], records["b"]["ref"]
    parts = [pages.table(["", "a", "b"], _head(records), words=3)]
    if weights is None:
        parts.append(pages.section("Weights", told=f"Not compared: {found.reason}"))
    else:
        grid = places(layer.path for layer in weights.layers)
        maps = pages.side_by_side(_maps(weights, grid))
        parts.append(pages.section("Weights", pages.fields(_summed(weights)), maps, told=_TOLD))
        parts.append(pages.section("Modules", pages.table(["module", *TITLES], _kind_rows(weights))))
    for title, rows in _recorded(records):
        parts.append(pages.section(title.capitalize(), pages.table(["", "a", "b"], rows, words=3)))
    if weights is not None:
        layers = pages.table(["layer", *_LAYER_TITLES], _layer_rows(weights))
        parts.append(pages.folded(f"All {len(weights.layers)} layers", layers))
    return pages.page(f"{a} and {b}", parts)


_TOLD = (
    "A and B are what the two add to the base, all layers together. Changed is ||A - B|| relative to ||A||, or by "
    "module and layer to the larger of both; the share is a module's of ||A - B||², so that all of them make 100 %."
)


def _head(records: Mapping[str, Any]) -> list[list[str]]:
    a, b = records["a"], records["b"]
    digest = "the same adapter" if records["same_digest"] else short(b["digest"])
    rows = [["version", a["ref"], b["ref"]], ["sha256", short(a["digest"]), digest]]
    for key in ("kind", "domain", "rank", "alpha", "created_at"):
        if a[key] is not None or b[key] is not None:
            rows.append([key.replace("_at", ""), _word(a[key]), _word(b[key])])
    same = a["base"]["fingerprint"] == b["base"]["fingerprint"]
    ids = [
        one["base"]["id"] if same else f"{one['base']['id']} ({short(one['base']['fingerprint'])})"
        for one in (a, b)
    ]
    return [*rows, ["base", *ids]]


def _recorded(records: Mapping[str, Any]) -> Iterable[tuple[str, list[list[str]]]]:
    """Every part in which something differs, with its rows."""
    files = records["files"]
    rows = [[f["name"], _file(f["a"]), _file(f["b"])] for f in files["changed"]]
    rows += [[f["name"], _file(f), NONE] for f in files["removed"]]
    rows += [[f["name"], NONE, _file(f)] for f in files["added"]]
    if rows:
        yield "files", sorted(rows)
    for part, title in PARTS.items():
        told = [[key, *_words(one["a"], one["b"])] for key, one in records[part].items()]
        if told:
            yield title, told


def _file(file: Mapping[str, Any]) -> str:
    return f"{size(file['bytes'])} {short(file['sha256'])}"


def _words(a: Any, b: Any) -> tuple[str, str]:
    """Both values of a key; of lists that share names only what tells them apart."""
    names = [one for one in (a, b) if isinstance(one, list) and all(isinstance(name, str) for name in one)]
    common = set(a) & set(b) if len(names) == 2 else set()
    if not common:
        return _word(a), _word(b)
    own = ([name for name in one if name not in common] for one in (a, b))
    first, second = (_word([*extra, f"{len(common)} in common"]) for extra in own)
    return first, second


def _word(value: Any) -> str:
    """A value of a configuration as it is written, but for the quotes around words; a digest by its first figures."""
    if value is None:
        return NONE
    if isinstance(value, str):
        return short(value) if len(value) == 64 and set(value) <= set("0123456789abcdef") else value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        more = [f"{len(value) - LONG} more"] if len(value) > LONG + 1 else []
        return ", ".join(value[: LONG if more else None] + more)
    told = json.dumps(value, ensure_ascii=False)
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"


def _summed(weights: Comparison) -> dict[str, str | None]:
    a, b = weights.norms
    relative = weights.relative
    changed = "nothing" if weights.difference == 0 else f"||A - B|| is {norm(weights.difference)}"
    if relative is not None and weights.difference:
        changed += f", {figure(relative)} of ||A||"
    if weights.estimated:
        changed += "; by random vectors, good to some 3 %"
    return {
        "changed": changed,
        "norms": f"||A|| is {norm(a)}, ||B|| is {norm(b)}",
        "cosine": None if weights.cosine is None else number(weights.cosine),
        "conflict": None
        if weights.conflict is None
        else f"signs differ on {percent(weights.conflict)} of entries",
        "ranks": f"A has {_ranks(weights.ranks(0))}, B has {_ranks(weights.ranks(1))}",
        "only in a": _only(weights, 0),
        "only in b": _only(weights, 1),
    }


def _ranks(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks)) if len(ranks) <= FEW else f"{ranks[0]} to {ranks[-1]}"


def _only(weights: Comparison, which: int) -> str | None:
    """How many layers only one adapts, and of what modules they are."""
    paths = weights.only_in(which)
    if not paths:
        return None
    grid = places(layer.path for layer in weights.layers)
    kinds = sorted({grid.kind(path) for path in paths})
    more = f" and {len(kinds) - FEW} more" if len(kinds) > FEW else ""
    return f"{len(paths)} layer{'s' * (len(paths) > 1)}: {', '.join(kinds[:FEW])}{more}"


def _kind_rows(weights: Comparison) -> list[list[str]]:
    grid = places(layer.path for layer in weights.layers)
    kinds: dict[str, list[LayerChange]] = {name: [] for name in (*grid.columns, *grid.rows)}
    for layer in weights.layers:
        kinds[grid.kind(layer.path)].append(layer)
    whole = weights.difference**2
    rows = []
    for name, layers in kinds.items():
        if layers:
            a, b = norms_of(layers)
            part = math.fsum(layer.difference**2 for layer in layers)
            rows.append(
                [
                    name,
                    str(len(layers)),
                    figure(_changed(layers)),
                    figure(cosine_of(layers)),
                    share(mean(layer.conflict for layer in layers)),
                    norm(a),
                    norm(b),
                    share(part / whole if whole else None),
                ]
            )
    return rows


def _layer_rows(weights: Comparison) -> list[list[str]]:
    grid = places(layer.path for layer in weights.layers)
    return [
        [
            layer.path,
            *(_word(rank) for rank in layer.ranks),
            figure(_changed([layer])),
            figure(layer.cosine),
            share(layer.conflict),
            *(norm(one) for one in layer.norms),
        ]
        for layer in sorted(weights.layers, key=lambda layer: grid.rank(layer.path))
    ]


def _changed(layers: Sequence[LayerChange]) -> float | None:
    """||A - B|| over some layers, relative to the larger of both: from 0 to 2, whoever is alone there."""
    largest = max(norms_of(layers))
    off = math.sqrt(math.fsum(layer.difference**2 for layer in layers))
    return off / largest if largest else None


def _most(weights: Comparison) -> list[list[str]]:
    grid = places(layer.path for layer in weights.layers)
    known = [(layer, value) for layer in weights.layers if (value := _changed([layer]))]
    known.sort(key=lambda pair: -pair[1])
    rows = [[grid.short(layer.path), figure(value), norm(layer.difference)] for layer, value in known[:FEW]]
    return rows if len(weights.layers) > FEW else []


def _maps(weights: Comparison, grid: Places) -> list[str]:
    by_path = {layer.path: layer for layer in weights.layers}
    cells = {place: [by_path[path] for path in paths] for place, paths in grid.cells().items()}
    most = max((_changed(layers) or 0 for layers in cells.values()), default=0)
    figures = (
        ("changed", _changed, 0, scale_end(most)),
        ("cosine", cosine_of, -1, 1),
        ("sign conflict", lambda layers: mean(layer.conflict for layer in layers), 0, 1),
    )
    maps = []
    for title, figure_of, low, high in figures:
        shown = {}
        for place, layers in cells.items():
            value = figure_of(layers)
            if value is not None:
                name = (
                    layers[0].path if len(layers) == 1 else f"{len(layers)} layers such as {layers[0].path}"
                )
                a, b = norms_of(layers)
                shown[place] = (
                    value,
                    number(value),
                    f"{name}: {title} {number(value)}, norms {norm(a)} and {norm(b)}",
                )
        if shown:
            maps.append(pages.heatmap(title, grid, shown, low, high))
    return maps
