"""The playground in a real browser: chosen by keyboard, mixed by sliders, answered in streams; and the registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lftreg.registry import WEIGHTS, Draft

from ..conftest import save_tiny
from . import served
from .chromium import CTRL, SHIFT, Page, browser, needs_browser
from .shop import EVIL, stock

pytestmark = needs_browser

PROMPT = "How long is the way?"
DONE = "[...document.querySelectorAll('.answer')].every((one) => one.ariaBusy === 'false' && one.textContent)"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A whole server over a base with room for long answers."""
    folder = tmp_path_factory.mktemp("shop")
    base = save_tiny("llama", tmp_path_factory.mktemp("small"), max_position_embeddings=served.LONG)
    stock(folder, base).close()
    with served.serving(folder / "home", base) as found:
        yield found


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """A fresh page, which may not have complained when the test is over."""
    tab.open("about:blank")
    tab.look(1400)
    tab.errors.clear()
    yield tab
    assert tab.errors == []


def opened(page: Page, url: str, at: str = "") -> None:
    page.open(f"{url}/{at}")
    page.wait("document.getElementById('base').textContent")


def tab_to(page: Page, what: str, *, back: bool = False) -> None:
    """With the Tab key alone to the element of a selector."""
    for _ in range(60):
        if page.run(f"document.activeElement.matches({json.dumps(what)})"):
            return
        page.press("Tab", modifiers=SHIFT if back else 0)
    raise AssertionError(f"Tab does not lead to {what}")


def answers(page: Page) -> dict[str, str]:
    """The text of each card by its heading."""
    return dict(zip(page.texts(".card h3"), page.texts(".card .answer"), strict=True))


def said(shop: Any, model: str, **more: Any) -> str:
    """What the API says to the prompt."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "seed": 0}
    told = shop.post("/v1/chat/completions", body | {"max_tokens": 24} | more).json()
    return str(told["choices"][0]["message"]["content"]) or "(nothing)"


def choose(page: Page, name: str) -> None:
    """Search for a name and take the first that is found."""
    before = len(page.texts("#chosen li"))
    page.focus("#search")
    page.type(name)
    page.wait(f"document.querySelector('#found [aria-selected=true]')?.textContent.includes('{name}')")
    page.press("Enter")
    page.wait(f"document.querySelectorAll('#chosen li').length === {before + 1}")


def ask(page: Page, tokens: int = 24) -> None:
    page.run(f"document.getElementById('max-tokens').value = {tokens}")
    page.focus("#prompt")
    page.run("document.getElementById('prompt').select()")
    page.type(PROMPT)
    page.press("Enter", modifiers=CTRL)


def test_adapters_are_chosen_and_mixed_by_the_keyboard_alone(page: Page, shop: Any) -> None:
    opened(page, shop.url)
    page.run(
        "window.pieces = 0; new MutationObserver((all) => (window.pieces += all.length))"
        ".observe(document.getElementById('answers'), { characterData: true, subtree: true })"
    )
    tab_to(page, "#search")
    page.press("ArrowDown")
    page.wait("document.querySelectorAll('#found [role=option]').length === 3")
    page.wait("document.activeElement.getAttribute('aria-activedescendant') === 'found-0'")
    page.press("ArrowDown", "ArrowDown")  # from both over beta to alpha
    assert page.run("document.activeElement.getAttribute('aria-activedescendant')") == "found-2"
    page.press("Enter")
    page.wait("document.querySelectorAll('#chosen li').length === 1")
    page.type("beta")
    page.wait("document.querySelectorAll('#found [role=option]').length === 1")
    page.press("Enter")
    page.wait("document.querySelectorAll('#chosen li').length === 2")
    assert page.text("#said") == "beta@1 is chosen, with weight 1."
    tab_to(page, "[aria-label='Weight of beta@1']")
    page.press(*["ArrowLeft"] * 6)
    tab_to(page, "[aria-label='Weight of alpha@1, as a number']", back=True)
    page.run("document.activeElement.select()")
    page.type("-0.5")
    tab_to(page, "#prompt")
    page.type(PROMPT)
    tab_to(page, "#max-tokens")
    page.run("document.activeElement.select()")
    page.type("24")
    page.press("Enter")
    page.wait(DONE)
    told = answers(page)
    base = page.run("document.querySelector('.card h3').textContent")
    mix = "alpha@1:-0.5+beta@1:0.7"
    assert list(told) == [base, "alpha@1", "beta@1", "The mix"]
    assert told["alpha@1"] == said(shop, "alpha@1")
    assert told["beta@1"] == said(shop, "beta@1")
    assert told["The mix"] == said(shop, mix)
    assert told[base] == said(shop, f"base:{shop.desk.base.folder.name}")
    assert len(set(told.values())) == 4
    assert page.run("window.pieces") > 40, "the answers did not come in pieces"
    assert all("tokens/s" in meta for meta in page.texts(".card .meta"))
    page.wait(f"decodeURIComponent(location.hash) === '#play/{mix}'")


def test_keys_that_come_quickly_wait_for_the_list(page: Page, shop: Any) -> None:
    opened(page, shop.url)
    page.focus("#search")
    page.press("ArrowDown", "ArrowDown", "Enter")
    page.wait("document.querySelectorAll('#chosen li').length === 1")
    assert page.texts("#chosen .name") == ["beta@1"]
    page.type("alpha@pr")
    page.press("Enter", "Escape")
    page.wait("document.querySelectorAll('#chosen li').length === 2")
    assert page.texts("#chosen .name") == ["beta@1", "alpha@prod"]
    assert page.run("document.getElementById('popup').hidden")


def test_the_mix_is_asked_again_when_a_weight_moves(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#play/alpha@1:1+beta@1:1")
    ask(page)
    page.wait(DONE)
    before = answers(page)
    page.focus("[aria-label='Weight of beta@1']")
    page.press("Home")  # as far to the left as it goes
    page.wait("document.querySelector('.card[data-colour=mix] .who').textContent === 'alpha@1:1+beta@1:-2'")
    page.wait(f"{DONE} && !document.querySelector('.card.stale')")
    after = answers(page)
    assert after.pop("The mix") == said(shop, "alpha@1:1+beta@1:-2") != before.pop("The mix")
    assert after == before


def test_a_seed_decides_what_is_drawn(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#play/alpha@prod:1")
    page.run("document.getElementById('temperature').value = 1; document.getElementById('seed').value = 5")
    ask(page)
    page.wait(DONE)
    assert answers(page)["alpha@prod"] == said(shop, "alpha", temperature=1, seed=5)


@pytest.fixture
def endless(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that do not end while a person finds the button: no end of text, and a pause after each step."""
    engine = shop.desk.ready()
    step = engine._step
    monkeypatch.setattr(engine, "stops", frozenset())
    monkeypatch.setattr(engine, "_step", lambda: (step(), time.sleep(0.02)))


@pytest.mark.usefixtures("endless")
def test_what_is_stopped_is_off_the_engine(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#play/alpha@1:1")
    ask(page, 4000)
    page.wait("[...document.querySelectorAll('.answer')].every((one) => one.textContent.length > 20)")
    tab_to(page, "#stop")
    page.press("Enter")
    page.wait("document.getElementById('stop').disabled")
    assert all("stopped" in meta for meta in page.texts(".card .meta"))
    assert page.run("document.activeElement.id") == "ask"
    shop.settle()


def test_commands_do_what_the_page_does(page: Page, shop: Any) -> None:
    opened(page, shop.url)
    choose(page, "alpha")
    choose(page, "beta")
    page.run("document.getElementById('max-tokens').value = 24")
    page.focus("#prompt")
    page.type("What's it?")
    assert page.text("#compose") == "lftreg compose alpha@1:1 beta@1:1"
    curl = page.text("#curl")
    assert "'\\''" in curl
    if shutil.which("curl"):
        told = subprocess.run(["sh", "-c", curl], capture_output=True, check=True, timeout=60).stdout
        body = {"messages": [{"role": "user", "content": "What's it?"}]}
        assert json.loads(told)["choices"][0]["message"]["content"] == said(shop, "alpha:1+beta:1", **body)


def test_the_registry_shows_losses_lineage_and_scores(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#browse")
    page.wait("document.querySelectorAll('#rows a').length === 3")
    tab_to(page, "#rows a")
    page.press("Enter")
    page.wait("document.querySelector('#detail h2')?.textContent === 'both@1'")
    assert page.texts(".lineage .weight") == ["× 0.7", "× 0.3"]
    tab_to(page, ".lineage a.node")
    page.press("Enter")
    page.wait("document.querySelector('#detail h2')?.textContent === 'alpha@1'")
    points = page.run("document.querySelector('.curve .mean').getAttribute('points').split(' ').length")
    assert points == 60
    assert page.run("document.querySelectorAll('.curve circle').length") == 4
    assert "-5 to -3" in page.texts("#detail td")
    assert page.run("document.querySelectorAll('.forest .good rect').length") == 1
    assert "@prod" in page.texts("#detail .badge")
    tab_to(page, "#detail .button")
    page.press("Enter")
    page.wait("document.querySelectorAll('#chosen li').length === 1")


def test_what_strangers_write_stays_text(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#browse/alpha@1")
    page.wait("document.querySelector('#detail h2')")
    assert EVIL in page.text(".tags")
    assert EVIL in page.text(".sample")
    page.run("document.getElementById('filter').value = 'img'")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.title") == "lftreg registry"
    refused = page.run(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } })()"
    )
    assert refused, "the policy lets text become HTML"
    assert page.errors.pop()  # which the browser has noted


def test_a_server_with_keys_says_so_and_takes_one(page: Page, shop: Any) -> None:
    token, _ = shop.registry.keys.add("desk", per_minute=1)
    try:
        page.open(f"{shop.url}/")
        page.wait("document.querySelector('#alert p')")
        assert page.text("#alert p") == "This server wants an API key: type it into the field at the top."
        tab_to(page, "#key")
        page.type("lft-wrong")
        page.wait(
            "document.querySelector('#alert p')?.textContent === 'The server does not accept this API key.'"
        )
        page.run("document.activeElement.select()")
        page.type(token)
        page.wait("document.getElementById('base').textContent && !document.querySelector('#alert p')")
        assert page.run("sessionStorage.getItem('lftreg-api-key')") == token
        assert token not in page.text("#curl")
        choose(page, "alpha")
        ask(page)
        page.wait(DONE)
        told = list(answers(page).values())
        assert sum(one.startswith("The server has too much to do.") for one in told) == 1
        assert any("Try again in" in one and "seconds." in one for one in told)
    finally:
        shop.registry.keys.remove("desk")
        page.run("sessionStorage.clear()")
    complained = [error for error in page.errors if "40" in error or "429" in error]
    assert page.errors == complained  # the browser notes each refusal
    page.errors.clear()


def test_what_goes_wrong_is_said_in_sentences(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#play/alhpa:1")
    ask(page)
    page.wait(DONE)
    assert answers(page)["alhpa"].startswith("Unknown adapter 'alhpa'. Did you mean 'alpha'?")
    page.call(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    try:
        ask(page)
        page.wait(DONE + " && document.querySelectorAll('.card.failed').length === 2")
        assert set(answers(page).values()) == {
            "The server cannot be reached. Is `lftreg serve` still running?"
        }
    finally:
        page.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )  # fmt: skip
    page.errors.clear()


def test_tab_leads_through_everything_and_everything_has_a_name(page: Page, shop: Any) -> None:
    opened(page, shop.url, "#play/alpha@1:0.5+beta@1:1")
    seen = []
    mark = "document.activeElement === document.body ? '' : (document.activeElement.dataset.seen ??= Math.random())"
    for _ in range(80):
        page.press("Tab")
        seen.append(page.run(mark))
        if seen[-1] and seen.count(seen[-1]) > 1:
            break
    else:
        raise AssertionError("Tab does not come around")
    wanted = page.run(
        "[...document.querySelectorAll('button, a[href], input, textarea, summary')]"
        ".filter((one) => !one.disabled && one.checkVisibility()).filter((one) => !one.dataset.seen)"
        ".map((one) => one.id || one.outerHTML)"
    )
    assert wanted == []
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    for node in nodes:
        focusable = any(one["name"] == "focusable" for one in node.get("properties", []))
        if focusable and node["role"]["value"] not in ("RootWebArea", "main", "article", "StaticText"):
            assert node.get("name", {}).get("value"), node


@pytest.mark.parametrize("width", [360, 800, 1400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_every_window(page: Page, shop: Any, width: int, dark: bool, tmp_path: Path) -> None:
    page.look(width, dark=dark)
    opened(page, shop.url, "#play/alpha@1:0.7+beta@1:0.3")
    tops = "[...document.querySelectorAll('.card')].map((one) => one.getBoundingClientRect().top + scrollY)"
    before = page.run(tops)
    ask(page)
    page.wait(DONE)
    assert page.run(tops) == before, "the layout jumped"
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(tmp_path / "play.png")
    page.run("location.hash = '#browse/alpha@1'")
    page.wait("document.querySelector('#detail h2')")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(tmp_path / "browse.png")


def test_a_long_list_comes_in_pages(page: Page, shop: Any) -> None:
    alpha = shop.registry.get("alpha")
    weights, config = shop.registry.file(alpha, WEIGHTS), shop.registry.config(alpha)
    for number in range(60):  # a number alone may stand in the base's path too
        shop.registry.publish(Draft(f"many-no{number}", "imported", alpha.base, weights, config))
    opened(page, shop.url, "#browse")
    page.wait("document.getElementById('list-count').textContent === '50 of 63'")
    page.focus("#more")
    page.press("Enter")
    page.wait("document.getElementById('list-count').textContent === '63 of 63'")
    assert page.run("document.activeElement === document.querySelectorAll('#rows a')[50]")
    assert page.run("document.getElementById('more').hidden")
    page.focus("#filter")
    page.type("many-no7")
    page.wait("document.querySelectorAll('#rows a').length === 1")
    assert page.texts("#rows .name") == ["many-no7@1"]
    page.type("0")
    page.wait("document.getElementById('list-count').textContent === 'No adapter matches.'")
    page.focus("#to-play")
    page.press("Enter")
    page.wait("!document.getElementById('play').hidden")
    page.focus("#search")
    page.type("many-no1")
    page.wait("document.getElementById('found-count').textContent === '11 of 11'")
