"""The picture beside a composition, read back pixel by pixel."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence

import pytest
from PIL import Image

from lftreg import compose
from lftreg.composer.picture import (
    DIVERGING,
    PICTURE,
    RISING,
    blend,
    draw,
    number,
    panels,
    percent,
    scale_end,
)
from lftreg.composer.places import places
from lftreg.composer.report import ATTACHMENT, Layer, Report
from lftreg.registry import Registry, Version
from tests import forks

from .conftest import Kitchen

MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MODULES += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def made(
    layers: int, modules: Sequence[str] = MODULES, *, parents: int = 2, extra: Sequence[str] = ()
) -> Report:
    paths = [f"model.layers.{at}.{module}" for at in range(layers) for module in modules]
    figures = [
        Layer(
            path,
            (16, 16),
            1.0 + at,
            0.1,
            0.5 if parents > 1 else None,
            0.25 if parents > 1 else None,
            {},
        )
        for at, path in enumerate([*paths, *extra])
    ]
    names = tuple(f"adapter_{at}@1" for at in range(parents))
    return Report(names, "svd", 8, 0.1, (), {"1": 0.4, "8": 0.93, "16": 1.0}, tuple(figures))


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.format == "PNG" and image.mode == "RGB"
    return image


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    return {colour: count for count, colour in image.getcolors(1 << 24) or [] if isinstance(colour, tuple)}


def test_a_composition_keeps_its_picture(
    kitchen: Kitchen, pair: tuple[Version, Version], registry: Registry
) -> None:
    version = compose(["a:0.7", "b:0.3"], registry=registry)
    report = Report.from_bytes(registry.read(version, ATTACHMENT))
    stored = registry.read(version, PICTURE)
    assert stored == draw(report)
    assert opened(stored).width >= 640
    again = compose(["b:0.3", "a:0.7"], name="again", registry=registry)
    assert again.digest == version.digest  # an attachment is no part of it


@pytest.mark.parametrize(("layers", "parents"), [(1, 2), (12, 3), (80, 2), (80, 1), (2, 40)])
def test_every_cell_has_its_colour(layers: int, parents: int) -> None:
    report = made(layers, parents=parents)
    found = colours(opened(draw(report)))
    # A cell is at least 4 pixels high and 20 wide, less what a number covers.
    cells = layers * len(MODULES) * 30
    assert found[blend(RISING, 1.0)] > cells  # an error of 0.1 on a scale that ends there
    if parents > 1:
        assert found[blend(DIVERGING, 0.75)] > cells
        assert found[blend(RISING, 0.25)] > cells


def test_one_parent_has_neither_cosine_nor_conflict() -> None:
    grid = places(layer.path for layer in made(2).layers)
    assert [panel.title for panel in panels(made(2), grid)] == [
        "cosine of the parents",
        "sign conflict",
        "error",
    ]
    assert [panel.title for panel in panels(made(2, parents=1), grid)] == ["error"]


@pytest.mark.slow
def test_equal_reports_give_equal_bytes_in_any_process() -> None:
    script = (
        "from tests.composer.test_picture import made; from lftreg.composer.picture import draw\n"
        "print(draw(made(3)).hex())"
    )
    other = bytes.fromhex(forks.python(script).stdout)
    assert other == draw(made(3))
    assert other != draw(made(3, parents=3))


def test_drawing_needs_neither_matplotlib_nor_torch() -> None:
    script = (
        "import sys; from lftreg.composer.picture import draw; from lftreg.composer.report import Report\n"
        "draw(Report(('a@1',), 'cat', 4, 0.0, (), {}, ()))\n"
        "print(sorted({'torch', 'peft', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_drawn_outside_of_the_picture() -> None:
    """The outermost pixels stay white: what is cut would reach them."""
    for report in (
        made(1, MODULES[:1]),
        made(80, extra=("lm_head",)),
        made(4, ("attention.a_module_with_a_name_that_is_very_long_indeed", "mlp.x"), parents=60),
        made(2, extra=tuple(f"a_module_without_a_number_{chr(97 + at)}" for at in range(8))),
    ):
        image = opened(draw(report))
        for box in (
            (0, 0, image.width, 8),
            (0, image.height - 8, image.width, image.height),
            (0, 0, 8, image.height),
            (image.width - 8, 0, image.width, image.height),
        ):
            assert colours(image.crop(box)) == {(255, 255, 255): (box[2] - box[0]) * (box[3] - box[1])}


@pytest.mark.parametrize(
    ("paths", "rows", "columns"),
    [
        (
            ["model.layers.10.self_attn.q_proj", "model.layers.9.mlp.down_proj", "lm_head"],
            ("9", "10", "lm_head"),
            ("q_proj", "down_proj"),
        ),
        (
            ["transformer.h.0.mlp.c_proj", "transformer.h.0.attn.c_proj", "transformer.h.0.attn.c_attn"],
            ("0",),
            ("c_attn", "attn.c_proj", "mlp.c_proj"),
        ),
        (
            ["decoder.block.0.layer.0.SelfAttention.q", "encoder.block.0.layer.0.SelfAttention.q"],
            ("encoder 0", "decoder 0"),
            ("q",),
        ),
        (
            [f"model.layers.0.mlp.experts.{at}.up_proj" for at in range(64)],
            ("0",),
            ("up_proj",),
        ),
        (["a.proj", "b.proj"], ("a.proj", "b.proj"), ()),
    ],
)
def test_where_layers_stand(paths: list[str], rows: tuple[str, ...], columns: tuple[str, ...]) -> None:
    grid = places(paths)
    assert (grid.rows, grid.columns) == (rows, columns)
    assert set(grid.at) == set(paths)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.00"), (0.123, "0.12"), (0.0996, "0.10"), (0.0123, "0.012"), (3.2e-8, "3e-8"), (-0.5, "-0.50"), (1, "1.00")],
)  # fmt: skip
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "100 %"), (0.99999, ">99.9 %"), (0.9312, "93.1 %"), (0, "0.0 %")]
)
def test_a_share_is_not_rounded_to_all(value: float, shown: str) -> None:
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("value", "end"), [(0, 0.01), (1e-8, 0.01), (0.013, 0.02), (0.2, 0.2), (0.6, 1.0), (3, 5)]
)
def test_a_scale_ends_at_a_round_number(value: float, end: float) -> None:
    assert scale_end(value) == end
