from __future__ import annotations

from pathlib import Path

from lftreg.registry import Registry
from tests.cli.conftest import Lftreg, Publish
from tests.cli.html_pages import Page, needs_browser, screenshot
from tests.evaluation.test_leaderboard import record, values


def fill(registry: Registry) -> None:
    for name, mean in (("a", 0.6), ("b", 0.58), ("c", 0.3)):
        record(registry, name, values(mean, seed=ord(name)))
    record(registry, "d", values(0.5, n=20), suite="own <b>data</b>", suite_digest="6" * 64)


def test_rankings_are_told_apart_by_suite(lftreg: Lftreg, registry: Registry) -> None:
    fill(registry)
    desk, other = lftreg("leaderboard", "--json").document
    assert (other["n"], len(other["places"])) == (20, 1)
    assert [(place["refs"], place["rank"]) for place in desk["places"]] == [
        (["a@1 (removed)"], 1), (["b@1 (removed)"], 1), (["c@1 (removed)"], 3)
    ]  # fmt: skip
    assert desk["places"][0]["base"] == {"id": "starter", "fingerprint": "f" * 64}
    told = lftreg("leaderboard", "--suite", "desk").out
    assert "desk (555555555555) by rouge_l: 100 items, greedy, up to 64 tokens" in told
    assert "+10.0%" in told and "+0.0% to +20.0%" in told
    assert "20 items" not in told


def test_trials_are_folded_until_they_are_asked_for(lftreg: Lftreg, registry: Registry) -> None:
    fill(registry)
    told = lftreg("leaderboard").out
    assert "20 items" not in told and "and 1 smaller ranking of under 50 items: --all shows them" in told
    for words in (("--all",), ("-v",), ("--suite", "own <b>data</b>"), ("--suite", "6666")):
        assert "20 items" in lftreg("leaderboard", *words).out
    quiet = lftreg("leaderboard", "-q").out
    assert [line.split()[0] for line in quiet.splitlines()] == ["ADAPTER", "a@1", "b@1", "c@1"]


def test_a_trial_alone_is_shown(lftreg: Lftreg, registry: Registry) -> None:
    record(registry, "d", values(0.5, n=20), facts={"contaminated": [3, 4]})
    told = lftreg("leaderboard").out
    assert "20 items" in told and "--all" not in told
    assert "d@1 (removed) was trained on 2 of the 20 questions" in told


def test_a_suite_is_named_by_the_beginning_of_its_digest(lftreg: Lftreg, registry: Registry) -> None:
    fill(registry)
    record(registry, "e", values(0.5), suite="near", suite_digest="66667" + "7" * 59)
    assert [r["suite"] for r in lftreg("leaderboard", "--suite", "5555", "--json").document] == ["desk"]
    for start, known in (("555", "555555555555"), ("6666", "666666666666, 666677777777")):
        error = lftreg("leaderboard", "--suite", start, "--json", code=2).error
        assert error["code"] == "ambiguous" and known in error["hint"]
    error = lftreg("leaderboard", "--suite", "inbox", "--json", code=3).error
    assert "near" in error["hint"]


def test_a_content_is_called_by_all_of_its_names(
    lftreg: Lftreg, registry: Registry, publish: Publish
) -> None:
    made = [publish("one"), publish("two")]
    record(registry, "a", values(0.6), digest=made[0].digest)
    (ranking,) = lftreg("leaderboard", "--json").document
    assert ranking["places"][0]["refs"] == ["one@1", "two@1"]


def test_nothing_to_rank_and_names_that_are_none(lftreg: Lftreg, registry: Registry) -> None:
    assert lftreg("leaderboard", "--json", code=3).error["code"] == "no-scores"
    fill(registry)
    assert lftreg("leaderboard", "--suite", "x", "--json", code=3).error["code"] == "no-scores"
    assert lftreg("leaderboard", "--metric", "rouge_m", "--json", code=3).error["code"] == "unknown-metric"


def test_the_page_stands_alone_and_shows_every_interval(
    lftreg: Lftreg, registry: Registry, tmp_path: Path
) -> None:
    fill(registry)
    lftreg("leaderboard", "--html", "board.html")
    text = (tmp_path / "board.html").read_text()
    page = Page(text)
    assert page.stands_alone()
    assert "<b>data</b>" not in text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 2
    assert [kind for tag, kind in page.tags if tag == "th" and "by" in (kind.get("class") or "")]
    assert sum("+10.0% (+0.0% to +20.0%)" in words for words in page.words) >= 4
    assert "1 smaller ranking of under 50 items" in page.words
    assert lftreg("leaderboard", "--html", "board.html", "--json", code=2).error["code"] == "exists"


def test_few_items_are_never_marked_as_sure(lftreg: Lftreg, registry: Registry, tmp_path: Path) -> None:
    for name, n in (("few", 20), ("many", 60)):
        score = record(registry, name[0], values(0.9, n=n), suite_digest=name[0] * 64)
        figure = dict(score.metrics["rouge_l"], ci95=[0.1, 0.2])
        record(registry, name[0], values(0.9, n=n), suite_digest=name[0] * 64, metrics={"rouge_l": figure})
        lftreg("leaderboard", "--suite", name[0] * 64, "--html", f"{name}.html")
    assert ('class="sure"' in (tmp_path / "many.html").read_text()) and (
        'class="sure"' not in (tmp_path / "few.html").read_text()
    )


def test_a_page_needs_its_folder(lftreg: Lftreg, registry: Registry, tmp_path: Path) -> None:
    fill(registry)
    error = lftreg("leaderboard", "--html", "nope/board.html", "--json", code=3).error
    assert error["code"] == "unknown-folder" and error["hint"]
    assert not (tmp_path / "nope").exists()


@needs_browser
def test_a_browser_draws_the_intervals(lftreg: Lftreg, registry: Registry, tmp_path: Path) -> None:
    from PIL import Image

    fill(registry)
    lftreg("leaderboard", "--html", "board.html")
    for dark in (False, True):
        picture = Image.open(screenshot(tmp_path / "board.html", tmp_path, dark=dark)).convert("RGB")
        assert len(set(picture.resize((300, 200)).tobytes())) > 20
