"""The host's rules: whatever a plugin does, only the plugin is lost."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

import lftreg
from lftreg.errors import NotFound
from lftreg.plugins.host import BUILT_IN, Host
from lftreg.plugins.types import Domain, Targets

from .conftest import Install, domain

OURS = f"lftreg {lftreg.__version__}"
BUILT_IN_DOMAINS = {"customer_support", "financial_advisor", "code_generation", "creative_writing"}
BUILT_IN_FAMILIES = {"gpt2", "llama", "phi3", "gpt_neox", "falcon", "t5", "bert"}


def external(host: Host) -> set[str]:
    return set(host.domains()) - BUILT_IN_DOMAINS


# What is built in uses the same hooks.


def test_built_in_plugins_give_domains_and_families(site: Path) -> None:
    host = Host(off=())
    assert set(host.domains()) == BUILT_IN_DOMAINS
    assert set(host.targets()) == BUILT_IN_FAMILIES
    assert host.domains()["customer_support"].plugin == "customer_support"
    assert host.domains()["customer_support"].distribution == OURS
    assert host.faults == ()


def test_a_built_in_plugin_that_fails_is_a_bug_and_raises(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("lftreg-ours", "raise OSError('ours')", entry_points="")
    monkeypatch.setitem(BUILT_IN, "ours", "lftreg_ours")
    with pytest.raises(OSError, match="ours"):
        Host(off=()).domains()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "domain 'customer_support' is already given"),
        ("    raise OSError('gone')\n", "OSError: gone"),
        ("@hookimpl\ndef lftreg_domain(): return []\n", "unknown hook 'lftreg_domain'"),
    ],
)
def test_a_built_in_plugin_with_a_fault_is_a_bug_and_raises(
    install: Install, monkeypatch: pytest.MonkeyPatch, more: str, message: str
) -> None:
    install("lftreg-ours", domain("customer_support") + more, entry_points="")
    monkeypatch.setitem(BUILT_IN, "ours", "lftreg_ours")
    with pytest.raises(RuntimeError, match=message):
        Host(off=()).domains()


def test_an_installed_plugin_is_found_with_its_distribution(install: Install) -> None:
    install("lftreg-legal", domain("legal"))
    host = Host(off=())
    found = host.domains()["legal"]
    assert (found.plugin, found.distribution) == ("legal", "lftreg-legal 0.2")
    assert host.domain("legal").summary == "of lftreg_legal"
    assert host.faults == ()
    assert {p.name: p.hooks for p in host.plugins()}["legal"] == ("lftreg_domains",)


# Rule 1: loading and registering are guarded, and undone; the distribution's name is kept.


class _Broken:
    """Sources that fail while they load, and the fault that each must become."""

    MISSING = "import legalbench"
    SYNTAX = "def build(:\n"
    RAISES = "raise RuntimeError('no licence\\nsecond line')"
    UNPRINTABLE = "class E(Exception):\n    def __str__(self): raise ValueError\nraise E"
    EXITS = "import sys; sys.exit(3)"
    SKIPS = "import pytest; pytest.skip('not here', allow_module_level=True)"  # a BaseException
    SIGNATURE = domain("legal") + "\n@hookimpl\ndef lftreg_targets(split): yield\n"
    WRAPPER = domain("legal") + "\n@hookimpl(wrapper=True)\ndef lftreg_targets(): return (yield)\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (_Broken.MISSING, "No module named 'legalbench'"),
        (_Broken.SYNTAX, "SyntaxError: invalid syntax (lftreg_legal.py, line 1)"),
        (_Broken.RAISES, "RuntimeError: no licence"),
        (_Broken.UNPRINTABLE, "E"),
        (_Broken.EXITS, "it called sys.exit(3)"),
        (_Broken.SKIPS, "Skipped: not here"),
        (
            _Broken.SIGNATURE,
            "Argument(s) {'split'} are declared in the hookimpl but can not be found in the hookspec",
        ),
        (_Broken.WRAPPER, "TypeError: lftreg_targets is a wrapper; a plugin answers for itself only"),
    ],
)
def test_a_plugin_that_fails_to_load_costs_only_itself(install: Install, source: str, message: str) -> None:
    install("lftreg-legal", source)
    install("lftreg-medical", domain("medical"))
    host = Host(off=())
    assert external(host) == {"medical"}
    (fault,) = host.faults
    assert (fault.plugin, fault.distribution, fault.loaded) == ("legal", "lftreg-legal 0.2", False)
    assert fault.message == message
    assert str(fault) == f"plugin 'legal' (lftreg-legal 0.2) did not load: {message}"
    assert {p.name: p.state for p in host.plugins() if not p.builtin} == {
        "legal": "failed",
        "medical": "loaded",
    }


@pytest.mark.parametrize(
    "value", ["lftreg_legal:missing", "lftreg_legal.missing", "not a module!", "lftreg_legal:build.x.y"]
)
def test_an_entry_point_that_leads_nowhere_is_a_fault(install: Install, value: str) -> None:
    install("lftreg-legal", domain("legal"), entry_points=f"[lftreg]\nlegal = {value}\nmore = lftreg_legal\n")
    host = Host(off=())
    assert external(host) == {"legal"}  # through the second entry point of the same package
    assert [fault.plugin for fault in host.faults] == ["legal"]


def test_an_interrupt_during_loading_stops_everything(install: Install) -> None:
    install("lftreg-legal", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Host(off=()).domains()


@pytest.mark.parametrize("text", [b"[lftreg]\nno equals sign\n", b"[lftreg]\nx = \xff\xfe\n"])
def test_a_damaged_package_does_not_hide_the_others(install: Install, site: Path, text: bytes) -> None:
    install("lftreg-medical", domain("medical"))
    install("aaa-broken", "")
    (site / "aaa_broken-0.2.dist-info" / "entry_points.txt").write_bytes(text)
    with pytest.raises((TypeError, ValueError)):  # what every tool that asks for all of them gets
        importlib.metadata.entry_points(group="lftreg")
    host = Host(off=())
    assert external(host) == {"medical"}
    assert [fault.plugin for fault in host.faults] == ["aaa-broken"]
    silenced = Host(off=["aaa-broken"])
    assert external(silenced) == {"medical"}
    assert silenced.faults == ()


def test_a_package_without_metadata_still_gives_its_plugins(install: Install, site: Path) -> None:
    install("lftreg-medical", domain("medical"))
    (site / "lftreg_medical-0.2.dist-info" / "METADATA").unlink()
    assert external(Host(off=())) == {"medical"}


# What a package says of the lftreg that it needs.


@pytest.mark.parametrize(
    ("requires", "wanted"),
    [
        (("lftreg<0.1",), "<0.1"),
        (("LFTREG (>=0.2, <1)",), "<1,>=0.2"),
        (("torch>=2", "lftreg[serve]==9.*"), "==9.*"),
        (("lftreg<0.1; python_version >= '3'",), "<0.1"),
    ],
)
def test_a_plugin_for_another_lftreg_is_not_imported(
    install: Install, requires: tuple[str, ...], wanted: str
) -> None:
    install("lftreg-legal", domain("legal"), requires=requires)
    install("lftreg-medical", domain("medical"))
    host = Host(off=())
    assert external(host) == {"medical"}
    assert "lftreg_legal" not in sys.modules
    (fault,) = host.faults
    assert fault.message == f"was written for lftreg {wanted}; this is {lftreg.__version__}"
    assert fault.run == "pip install --upgrade lftreg-legal"
    assert not fault.loaded
    assert {p.name: p.state for p in host.plugins()}["legal"] == "failed"


@pytest.mark.parametrize(
    "requires",
    [
        (),
        ("lftreg",),
        (f"lftreg=={lftreg.__version__}",),
        ("lftreg>=0.1",),
        ("lftreg-legal-data<0.1", "lftreg.other<0.1"),
        ("lftreg<0.1; extra == 'old'",),
        ("lftreg<0.1; python_version < '3'",),
        ("lftreg @ file:///somewhere/lftreg.whl",),
        ("lftreg is good",),
    ],
)
def test_a_plugin_for_this_lftreg_loads(install: Install, requires: tuple[str, ...]) -> None:
    install("lftreg-legal", domain("legal"), requires=requires)
    host = Host(off=())
    assert external(host) == {"legal"}
    assert host.faults == ()


# Rule 2: one implementation at a time, and all of what it yields or nothing.


def test_a_hook_that_fails_halfway_gives_nothing(install: Install) -> None:
    install("lftreg-legal", domain("legal") + "    raise KeyError('rest')\n")
    install("lftreg-medical", domain("medical"))
    host = Host(off=())
    assert external(host) == {"medical"}
    (fault,) = host.faults
    assert fault.message == "KeyError: 'rest'"
    assert fault.loaded
    assert str(fault) == "plugin 'legal' (lftreg-legal 0.2): KeyError: 'rest'"


def test_the_failure_of_one_hook_leaves_the_plugins_other_hooks(install: Install) -> None:
    source = domain("legal") + "\n@hookimpl\ndef lftreg_targets():\n    raise OSError('gone')\n"
    install("lftreg-legal", source)
    host = Host(off=())
    assert "llama" in host.targets()
    assert external(host) == {"legal"}
    assert [fault.message for fault in host.faults] == ["OSError: gone"]


# Rule 3: built-in plugins first, the first wins, a duplicate is a fault.


def test_a_built_in_name_cannot_be_taken(install: Install) -> None:
    install("aaa-legal", domain("customer_support", "legal"))
    host = Host(off=())
    assert host.domains()["customer_support"].distribution == OURS
    assert external(host) == {"legal"}
    (fault,) = host.faults
    expected = f"domain 'customer_support' is already given by plugin 'customer_support' ({OURS})"
    assert (fault.plugin, fault.message) == ("legal", expected)


def test_of_two_packages_the_first_by_name_wins_whatever_the_path(
    install: Install, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("zeta-law", domain("law"))
    install("alpha-law2", domain("law"))
    host = Host(off=())
    assert host.domains()["law"].distribution == "alpha-law2 0.2"
    assert [fault.plugin for fault in host.faults] == ["law"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in [*site.glob("zeta_law*")]:
        path.rename(elsewhere / path.name)
    monkeypatch.syspath_prepend(elsewhere)  # now zeta is found first
    assert Host(off=()).domains()["law"].distribution == "alpha-law2 0.2"


def test_a_model_type_belongs_to_one_family(install: Install) -> None:
    source = (
        "from lftreg import Targets, hookimpl\n@hookimpl\ndef lftreg_targets():\n"
        "    yield Targets('mine', ('mine', 'llama'), {'mlp': ('x',)})\n"
    )
    install("lftreg-mine", source)
    host = Host(off=())
    family = host.family("llama")
    assert family is not None
    assert family.family == "llama"
    assert host.family("mine") is None
    assert "model type 'llama' is already given by" in host.faults[0].message


def test_two_packages_cannot_share_a_plugin_name(install: Install) -> None:
    install("alpha-law", domain("one"))
    install("beta-law", domain("two"))
    install("gamma-methods", domain("three"))
    host = Host(off=())
    assert external(host) == {"one"}
    assert [(f.plugin, f.distribution) for f in host.faults] == [
        ("law", "beta-law 0.2"),
        ("methods", "gamma-methods 0.2"),
    ]
    assert f"an entry point of {OURS} has the name already" in host.faults[1].message


def test_one_module_behind_two_names_is_asked_once(install: Install) -> None:
    install("lftreg-legal", domain("legal"), entry_points="[lftreg]\na = lftreg_legal\nb = lftreg_legal\n")
    host = Host(off=())
    assert host.domains()["legal"].plugin == "a"
    assert [fault.plugin for fault in host.faults] == ["b"]


def test_a_package_that_is_on_the_path_twice_counts_once(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("lftreg-legal", domain("legal"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    host = Host(off=())
    assert external(host) == {"legal"}
    assert host.faults == ()


# Rule 4: misspelt hooks are reported. (For a wrong signature, see rule 1.)


def test_an_unknown_hook_is_reported_and_the_others_work(install: Install) -> None:
    install("lftreg-legal", domain("legal") + "\n@hookimpl\ndef lftreg_domain(): return []\n")
    host = Host(off=())
    assert external(host) == {"legal"}
    (fault,) = host.faults
    assert fault.message == "unknown hook 'lftreg_domain'. Did you mean 'lftreg_domains'?"
    assert fault.loaded


def test_an_optional_hook_of_a_later_lftreg_is_no_fault(install: Install) -> None:
    source = domain("legal") + "\n@hookimpl(optionalhook=True)\ndef lftreg_dreams(): return []\n"
    install("lftreg-legal", source)
    host = Host(off=())
    assert external(host) == {"legal"}
    assert host.faults == ()


# Rule 5: plugins can be left out, and are imported only when asked.


@pytest.mark.parametrize("name", ["legal", "lftreg-legal"])
def test_a_plugin_that_is_off_is_not_imported(install: Install, name: str) -> None:
    install("lftreg-legal", "raise RuntimeError")
    install("lftreg-medical", domain("medical"))
    host = Host(off=[name])
    assert external(host) == {"medical"}
    assert host.faults == ()
    assert {p.name: p.off for p in host.plugins() if not p.builtin} == {"legal": True, "medical": False}


def test_the_environment_turns_plugins_off(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("lftreg-legal", domain("legal"))
    monkeypatch.setenv("LFTREG_PLUGINS_OFF", "legal,other")
    assert external(Host()) == set()
    assert external(Host(off=())) == {"legal"}


def test_without_external_plugins_only_built_in_ones_are_asked(install: Install) -> None:
    install("lftreg-legal", "raise RuntimeError")
    host = Host(off=(), external=False)
    assert set(host.domains()) == BUILT_IN_DOMAINS
    assert host.faults == ()


def test_a_built_in_plugin_can_be_replaced(install: Install) -> None:
    install("lftreg-mine", domain("customer_support"))
    host = Host(off=["customer_support"])
    assert host.domains()["customer_support"].distribution == "lftreg-mine 0.2"
    assert host.faults == ()


def test_a_name_that_is_off_is_off_for_all_who_have_it(install: Install) -> None:
    install("alpha-law", domain("one"))
    install("beta-law", domain("two"))
    host = Host(off=["law"])
    assert external(host) == set()
    assert host.faults == ()


def test_nothing_is_imported_before_the_first_question(install: Install) -> None:
    install("lftreg-legal", domain("legal"))
    host = Host(off=())
    assert host.faults == ()
    assert "lftreg_legal" not in sys.modules
    host.targets()
    assert "lftreg_legal" in sys.modules


def test_a_hook_is_asked_once(install: Install) -> None:
    install("lftreg-legal", domain("legal") + "    asked.append(1)\n\nasked = []\n")
    host = Host(off=())
    for _ in range(3):
        host.domains()
    assert sys.modules["lftreg_legal"].asked == [1]


def test_an_answer_can_be_changed_without_changing_the_host(site: Path) -> None:
    host = Host(off=())
    host.domains().clear()
    assert set(host.domains()) == BUILT_IN_DOMAINS


# Rule 6: a host is an object; two of them know nothing of each other.


def test_hosts_share_nothing(install: Install) -> None:
    install("lftreg-legal", "import legalbench")
    install("lftreg-medical", domain("medical"))
    first = Host(off=())
    assert external(first) == {"medical"}
    assert len(first.faults) == 1
    second = Host(off=["legal", "medical"])
    assert external(second) == set()
    assert second.faults == ()
    assert external(first) == {"medical"}


# Rule 7: what is said. (The command's own words are in test_process.)


def test_an_unknown_name_suggests_a_near_one(site: Path) -> None:
    with pytest.raises(NotFound) as caught:
        Host(off=()).domain("customer_suport")
    assert caught.value.message == "unknown domain 'customer_suport'. Did you mean 'customer_support'?"
    assert caught.value.hint == "`lftreg domains` lists them"
    assert (caught.value.code, caught.value.exit_code) == ("unknown-domain", 3)


def test_an_unknown_name_tells_of_plugins_that_did_not_load(install: Install) -> None:
    install("lftreg-legal", "import legalbench")
    with pytest.raises(NotFound) as caught:
        Host(off=()).domain("legl")
    assert caught.value.message == ("unknown domain 'legl'. Did you mean 'legal'? (1 plugin failed to load)")
    assert caught.value.hint == "run: lftreg plugins check legal"
    install("lftreg-medical", "import nothing_here")
    with pytest.raises(NotFound) as caught:
        Host(off=()).method("medical")
    assert caught.value.message == "unknown method 'medical'. (2 plugins failed to load)"
    assert caught.value.hint == "run: lftreg plugins check medical"


def test_what_a_plugin_prints_stays_off_stdout(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    source = "print('loading')\n" + domain("legal").replace(
        "    return [", "    print('building')\n    return ["
    )
    install("lftreg-legal", source + "    print('asked')\n")
    list(Host(off=()).domain("legal").build("train", 0))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["loading", "asked", "building"]


def test_built_in_values_are_not_wrapped(site: Path) -> None:
    """A failure in ours is a bug with a traceback, not a sentence about a plugin."""
    from lftreg.plugins.builtin import customer_support, families

    host = Host(off=())
    (ours,) = customer_support.lftreg_domains()
    assert isinstance(ours, Domain)
    assert host.domain("customer_support").build.func is ours.build.func  # type: ignore[attr-defined]
    assert isinstance(host.family("mistral"), Targets)
    assert host.family("mistral") is families.LLAMA
