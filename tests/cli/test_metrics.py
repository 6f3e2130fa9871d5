"""`lftreg metrics`, and metrics of other packages in `lftreg plugins`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lftreg.plugins.host import Host
from tests.cli.conftest import Lftreg

OWN = """
from lftreg import Measured, Metric, hookimpl

def measure(outputs):
    '''Answers that end in a full stop.

    A second paragraph.'''
    return Measured(tuple(float(answer.endswith(".")) for answer in outputs.answers))

@hookimpl
def lftreg_metrics():
    yield Metric("full_stops", "Answers that end as sentences do.", measure, needs=())
"""


@pytest.fixture
def own(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A folder in which a package with a metric is installed, which the user trusts."""
    environment["LFTREG_PLUGINS"] = "lftreg-stops"
    site = tmp_path / "site"
    info = site / "lftreg_stops-0.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lftreg-stops\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[lftreg]\nstops = stops_plugin\n")
    (site / "stops_plugin.py").write_text(OWN)
    return site


def path(site: Path) -> str:
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_metrics_are_listed_with_what_they_need(lftreg: Lftreg) -> None:
    listed = {entry["name"]: entry for entry in lftreg("metrics", "--json").document}
    assert list(listed) == list(Host(external=False).metrics())
    assert listed["perplexity"]["needs"] == ["losses"]
    assert (listed["perplexity"]["better"], listed["perplexity"]["unit"]) == ("lower", "number")
    assert listed["bleu"]["own_test"] is True
    assert listed["distinct_1"]["better"] is None
    assert lftreg("metrics", "--quiet").out.split() == list(listed)
    shown = lftreg("metrics").out
    assert all(name in shown for name in listed)


def test_a_metric_is_explained_with_its_source(lftreg: Lftreg) -> None:
    told = lftreg("metrics", "response_consistency").out
    assert "other wordings of the prompts" in told
    assert 'To answer "yes" to everything scores 100%' in " ".join(told.split())
    assert "lower is better" in lftreg("metrics", "perplexity").out
    assert "neither way is better" in lftreg("metrics", "distinct_2").out
    for entry in lftreg("metrics", "--json").document:
        assert entry["how"], entry["name"]


def test_a_metric_that_is_not_there_is_told_with_one_that_is(lftreg: Lftreg) -> None:
    error = lftreg("metrics", "chfr", "--json", code=3).error
    assert (error["code"], error["message"]) == (
        "unknown-metric",
        "unknown metric 'chfr'. Did you mean 'chrf'?",
    )


def test_a_metric_of_another_package_is_one_like_ours(lftreg: Lftreg, own: Path) -> None:
    found = lftreg("metrics", "full_stops", "--json", PYTHONPATH=path(own)).document
    assert found["distribution"] == "lftreg-stops 0.2"
    assert found["how"] == "Answers that end in a full stop.\nA second paragraph."
    listed = {entry["name"]: entry for entry in lftreg("plugins", "--json", PYTHONPATH=path(own)).document}
    assert listed["stops"]["metrics"] == ["full_stops"]
    assert listed["metrics"]["metrics"][0] == "perplexity"
    assert "full_stops" in lftreg("plugins", PYTHONPATH=path(own)).out
    assert lftreg("plugins", "check", "stops", PYTHONPATH=path(own)).err == "1 plugin keeps the rules\n"


def test_check_finds_a_metric_that_reads_what_it_did_not_ask_for(lftreg: Lftreg, own: Path) -> None:
    (own / "stops_plugin.py").write_text(OWN.replace("outputs.answers)", "[s[0] for s in outputs.samples])"))
    done = lftreg("plugins", "check", "stops", PYTHONPATH=path(own), code=6)
    assert "it gave 0 values for 4 items" in " ".join(done.out.split())
