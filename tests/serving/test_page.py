"""The requests of docs/serving.md, sent as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lftreg.paths import starter_folder
from tests.serving.served import Served, publish, serving

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://localhost:8000"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = starter_folder()
    with serving(tmp_path_factory.mktemp("home"), base) as served:
        for seed, name in enumerate(("support", "finance")):
            publish(served.registry, base, name, seed)
        yield served
        served.settle()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl_is_answered(served: Served) -> None:
    assert len(blocks("sh")) >= 4
    for command in blocks("sh"):
        asked = command.replace(ADDRESS, served.url)
        assert asked != command
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=60)
        answer = json.loads(done.stdout)
        if "logit_bias" in command:
            assert done.stdout.strip() in PAGE
        else:
            assert "error" not in answer, answer


def test_the_client_is_answered(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("py")
    assert ADDRESS in block
    exec(block.replace(ADDRESS, served.url), {})
    assert capsys.readouterr().out.strip()


def test_every_address_of_the_page_is_there(served: Served) -> None:
    for path in ("/v1/models", "/health", "/ready", "/metrics"):
        assert f"`GET {path}" in PAGE or f"`{path}`" in PAGE or f", `{path}" in PAGE
        assert served.get(path).status_code == 200
    metrics = served.get("/metrics").text
    for name in re.findall(r"`(lftreg_\w+)`", PAGE):
        assert name in metrics or f"# TYPE {name.removesuffix('_total')}" in metrics, name
