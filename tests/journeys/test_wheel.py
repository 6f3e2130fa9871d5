"""The wheel by itself: built, installed into an empty environment, used outside the checkout."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from lftreg.plugins.new import FILES

from .empty import Empty

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_wheel_holds_what_is_needed_and_nothing_else(empty: Empty) -> None:
    names = zipfile.ZipFile(empty.wheel).namelist()
    for needed in (
        "lftreg/py.typed",
        "lftreg/starter/model.safetensors",
        "lftreg/starter/tokenizer.json",
        "lftreg/starter/chat_template.jinja",
        "lftreg/starter/README.md",
        "lftreg/migrations/env.py",
        "lftreg/migrations/script.py.mako",
        "lftreg/plugins/builtin/customer_support/returns.toml",
        *(f"lftreg/plugins/template/{name}" for name in FILES),
    ):
        assert needed in names
    assert any(name.startswith("lftreg/migrations/versions/") for name in names)
    assert any(
        name.startswith("lftreg/plugins/builtin/financial_advisor/") and name.endswith(".toml")
        for name in names
    )
    assert not [name for name in names if not name.startswith(("lftreg/", "lftreg-"))]


def test_it_trains_outside_the_checkout(empty: Empty, tmp_path: Path) -> None:
    where = empty.run("python -c 'import lftreg; print(lftreg.__file__)'", tmp_path)
    assert str(empty.folder) in where
    made = json.loads(empty.run("lftreg train customer_support --max-steps 3 --json", tmp_path))
    assert made["ref"] == "customer_support@1"
    assert "customer_support@1" in empty.run("lftreg list", tmp_path)
