"""The report of a composition, as a page of a terminal, as a page of HTML and as a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.cli import pages
from lftreg.cli.tables import Column, print_fields, print_table
from lftreg.composer.picture import Panel, error_of, number, panels, percent
from lftreg.composer.places import Places, mean, places
from lftreg.composer.report import ATTACHMENT, PAIRS_OF, Layer, Report, summary
from lftreg.errors import UsageError
from lftreg.tensors.vllm import VLLM_RANKS, vllm_rank

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Registry, Version

EXACT = 1e-6  # what rounding to float32 explains
FEW = 5  # layers that are named where not all are asked for
NONE = "–"
TITLES = ("layers", "cosine", "conflict", "error", "share")


@dataclass(frozen=True, slots=True)
class Kind:
    """The layers of one module. `share` is theirs of the sum's squared norm."""

    name: str
    layers: tuple[Layer, ...]
    share: float | None

    @property
    def cells(self) -> list[str]:
        layers = self.layers
        return [
            self.name,
            str(len(layers)),
            figure(mean(layer.cosine for layer in layers)),
            share(mean(layer.conflict for layer in layers)),
            figure(error_of(layers)),
            share(self.share),
        ]


def read_report(version: Version, registry: Registry) -> Report:
    """The report that is kept beside a version. Raises UsageError, with the reason, where there is none."""
    if any(file.name == ATTACHMENT for file in version.files):
        return Report.from_bytes(registry.read(version, ATTACHMENT))
    if version.recipe is None:
        raise UsageError(
            f"{version.ref} was {version.kind}: nothing was composed, so there is no report",
            f"`lftreg show {version.ref}` tells how it was made",
            code="not-composed",
        )
    raise UsageError(
        f"{version.ref} was made before reports were kept",
        "compose it again: the same recipe gives the same adapter, and a report",
        code="no-report",
    )


def document(report: Report) -> dict[str, Any]:
    """The report as it is stored, and the few figures that sum it up."""
    told = summary(report)
    stored: dict[str, Any] = json.loads(report.to_bytes())
    return {
        **stored,
        "mean_cosine": told["cosine"],
        "mean_conflict": told["conflict"],
        "vllm_rank": told["vllm_rank"],
    }


def render(version: Version, report: Report, every_layer: bool, console: Console) -> None:
    """Print the head, a row for each kind of module, and the layers that stand out, or all of them."""
    print_fields(console, {"report of": version.ref, **_head(version, report)})
    if 2 < len(report.parents) <= PAIRS_OF:
        console.print()
        columns = [Column("cosine"), *(Column(str(at + 1), right=True) for at in range(len(report.parents)))]
        print_table(console, columns, _matrix(report))
    console.print()
    print_table(console, [Column("module"), *(Column(t, right=True) for t in TITLES)], _kind_rows(report))
    grid = places(layer.path for layer in report.layers)
    if every_layer:
        console.print()
        columns = [Column("layer"), *(Column(t, right=True) for t in _LAYER_TITLES)]
        print_table(console, columns, _layer_rows(report))
        return
    _print_standing_out(
        console, "largest errors", _largest(report, lambda layer: layer.error), grid, "error", figure
    )
    _print_standing_out(
        console, "most conflict", _largest(report, lambda x: x.conflict), grid, "conflict", share
    )


def page(version: Version, report: Report) -> str:
    """The same as a page that stands alone."""
    grid = places(layer.path for layer in report.layers)
    parts = [pages.fields(_head(version, report))]
    maps = [_map(panel, grid, report) for panel in panels(report, grid)]
    if maps:
        parts.append(pages.section("Layers", pages.side_by_side(maps), told=_MAPS_TOLD))
    if 1 < len(report.parents) <= _MATRIX_UP_TO:
        titles = ["", *(str(at + 1) for at in range(len(report.parents)))]
        parts.append(pages.section("Parents, by their cosines", pages.table(titles, _matrix(report))))
    if report.energy:
        shares = {rank: (value, percent(value)) for rank, value in report.energy.items()}
        parts.append(pages.section("Ranks", pages.bars("rank", shares), told=_ENERGY_TOLD))
    parts.append(pages.section("Modules", pages.table(["module", *TITLES], _kind_rows(report))))
    parts.append(
        pages.folded(
            f"All {len(report.layers)} layers", pages.table(["layer", *_LAYER_TITLES], _layer_rows(report))
        )
    )
    return pages.page(f"How {version.ref} was composed", parts)


def figure(value: float | None) -> str:
    """A cosine or an error."""
    return NONE if value is None else number(value)


def share(value: float | None) -> str:
    """A share of a whole."""
    return NONE if value is None else percent(value)


def norm(value: float) -> str:
    """A Frobenius norm, to three figures."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


_MATRIX_UP_TO = 24
_LAYER_TITLES = ("shape", "norm", "cosine", "conflict", "error")
_MAPS_TOLD = (
    "Rows are the blocks of the base, columns their modules. The cosine says how alike the parents' updates are, the "
    "sign conflict on what share of entries they pull apart, the error what of their weighted sum was lost."
)
_ENERGY_TOLD = "The share of the weighted sum's squared norm that an adapter of this rank can hold."


def _head(version: Version, report: Report) -> dict[str, str | None]:
    recipe = version.recipe
    assert recipe is not None
    weights = {parent.ref: parent.weight for parent in recipe.parents}
    shown = [f"{weights[ref]:g} × {ref}" if ref in weights else ref for ref in report.parents]
    if 2 < len(shown) <= _MATRIX_UP_TO:
        shown = [f"{at}: {name}" for at, name in enumerate(shown, start=1)]
    more = len(shown) - _MATRIX_UP_TO
    if more > 0:
        shown = [*shown[:_MATRIX_UP_TO], f"and {more} more"]
    needed = vllm_rank(report.rank)
    return {
        "base": version.base.id,
        "parents": "\n".join(shown),
        "method": f"{report.method}, rank {report.rank}",
        "error": _error(report.relative_error),
        "cosine": _cosine(report),
        "conflict": _conflict(summary(report)["conflict"]),
        "energy": _energy(report),
        "vLLM": f"needs --max-lora-rank {needed}"
        if needed is not None
        else f"takes no rank above {VLLM_RANKS[-1]}; --method svd --rank {VLLM_RANKS[-1]} gives one that it takes",
    }


def _error(error: float | None) -> str:
    if error is None:
        return "the weighted sum is zero; the result is not"
    exact = ": exact, but for rounding" if error <= EXACT else ""
    return f"{number(error)} of the weighted sum{exact}"


def _cosine(report: Report) -> str | None:
    pairs = [c for i, row in enumerate(report.cosines) for c in row[i + 1 :]]
    if not pairs:
        return None
    if len(pairs) == 1:
        return f"{number(pairs[0])} between the parents"
    least, most = (number(value) for value in (min(pairs), max(pairs)))
    return f"{figure(mean(pairs))} between two parents in the mean, from {least} to {most}"


def _conflict(conflict: float | None) -> str | None:
    return None if conflict is None else f"signs differ on {percent(conflict)} of entries"


def _energy(report: Report) -> str | None:
    """From the last rank that holds too little to be of use to the first that holds it all."""
    told = [(rank, value) for rank, value in report.energy.items() if value >= 0.5]
    end = next((at for at, (_, value) in enumerate(told) if value >= 1), len(told))
    told = told[: end + 1][-4:]
    if not told:
        return None
    first, *rest = told
    return ", ".join(
        [f"rank {first[0]} holds {percent(first[1])}", *(f"{rank} {percent(v)}" for rank, v in rest)]
    )


def _matrix(report: Report) -> list[list[str]]:
    return [
        [f"{at + 1}: {ref}", *(number(value) for value in row)]
        for at, (ref, row) in enumerate(zip(report.parents, report.cosines, strict=True))
    ]


def _kinds(report: Report) -> list[Kind]:
    grid = places(layer.path for layer in report.layers)
    found: dict[str, list[Layer]] = {name: [] for name in (*grid.columns, *grid.rows)}
    for layer in report.layers:
        found[grid.kind(layer.path)].append(layer)
    whole = sum(layer.norm**2 for layer in report.layers)
    return [
        Kind(name, tuple(layers), sum(layer.norm**2 for layer in layers) / whole if whole else None)
        for name, layers in found.items()
        if layers
    ]


def _kind_rows(report: Report) -> list[list[str]]:
    return [kind.cells for kind in _kinds(report)]


def _layer_rows(report: Report) -> list[list[str]]:
    grid = places(layer.path for layer in report.layers)
    return [
        [
            layer.path,
            "×".join(map(str, layer.shape)),
            norm(layer.norm),
            figure(layer.cosine),
            share(layer.conflict),
            figure(layer.error),
        ]
        for layer in sorted(report.layers, key=lambda layer: grid.rank(layer.path))
    ]


def _largest(report: Report, by: Callable[[Layer], float | None]) -> list[tuple[Layer, float]]:
    """The layers that stand out, where there is something to stand out from."""
    known = [(layer, value) for layer in report.layers if (value := by(layer)) is not None and value > EXACT]
    return sorted(known, key=lambda pair: -pair[1])[:FEW] if len(known) > FEW else []


def _print_standing_out(
    console: Console,
    title: str,
    found: Sequence[tuple[Layer, float]],
    grid: Places,
    column: str,
    shown: Callable[[float | None], str],
) -> None:
    if not found:
        return
    console.print()
    rows = [[grid.short(layer.path), shown(value), norm(layer.norm)] for layer, value in found]
    print_table(console, (Column(title), Column(column, right=True), Column("norm", right=True)), rows)


def _map(panel: Panel, grid: Places, report: Report) -> str:
    by_path = {layer.path: layer for layer in report.layers}
    cells = {}
    for place, paths in grid.cells().items():
        value = panel.cells.get(place)
        if value is not None:
            name = paths[0] if len(paths) == 1 else f"{len(paths)} layers such as {paths[0]}"
            told = f"{name}: {panel.title} {number(value)}"
            if len(paths) == 1:
                told += f", norm {norm(by_path[paths[0]].norm)}"
            cells[place] = (value, number(value), told)
    return pages.heatmap(panel.title, grid, cells, panel.low, panel.high)
