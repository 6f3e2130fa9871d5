"""`lftreg.testing`: each assertion passes what is right, and says of what is wrong why it is."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lftreg import testing
from lftreg.plugins.builtin import families
from lftreg.plugins.host import BUILT_IN, Host
from lftreg.plugins.types import Domain, Example, Method, Split, Targets

from .conftest import Install, domain

OPT = {
    "model_type": "opt",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_attention_heads": 4,
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


def _build(split: Split, seed: int) -> Iterator[Example]:
    yield Example.pair(f"{split}?", "yes")


def test_a_plugin_is_checked_by_name_or_by_module(install: Install) -> None:
    install("lftreg-legal", domain("legal"))
    testing.check_plugin("legal")
    testing.check_plugin(importlib.import_module("lftreg_legal"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_keeps_the_rules(name: str) -> None:
    testing.check_plugin(name)


def test_a_plugin_that_is_not_installed_is_told_how(site: Path) -> None:
    with pytest.raises(AssertionError, match=r"no plugin 'legal' is installed: look at \[project.entry-poi"):
        testing.check_plugin("legal")
    with pytest.raises(AssertionError, match="no plugin behind module 'subprocess'"):
        testing.check_plugin(subprocess)


def test_everything_that_is_wrong_with_a_plugin_is_said_at_once(install: Install) -> None:
    source = domain("legal").replace('f"{split} question"', '"same"')
    install("lftreg-legal", source + "\n@hookimpl\ndef lftreg_domain(): return []\n")
    install("lftreg-medical", "import nothing_here")  # somebody else's trouble
    with pytest.raises(AssertionError) as caught:
        testing.check_plugin("legal")
    assert str(caught.value).splitlines() == [
        "plugin 'legal' (lftreg-legal 0.2) breaks 4 rules:",
        "  unknown hook 'lftreg_domain'. Did you mean 'lftreg_domains'?",
        "  domain 'legal' has 1 prompts in both train and validation, such as 'same'",
        "  domain 'legal' has 1 prompts in both train and test, such as 'same'",
        "  domain 'legal' has 1 prompts in both validation and test, such as 'same'",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_here", "No module named 'nothing_here'"),
        (domain("legal").replace("@hookimpl", ""), "implements no hook: mark its functions with @hookimpl"),
        (
            domain("legal").replace("    return [", "    {}['inbox']\n    return ["),
            "domain 'legal' does not build: KeyError: 'inbox'",
        ),
    ],
)
def test_a_plugin_that_gives_nothing_breaks_a_rule(install: Install, source: str, said: str) -> None:
    install("lftreg-legal", source)
    with pytest.raises(AssertionError) as caught:
        testing.check_plugin("legal")
    assert str(caught.value) == f"plugin 'legal' (lftreg-legal 0.2) breaks a rule:\n  {said}"


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ({"learning_rate": 1e-3}, "refuses: 'learning_rate' is no training setting"),
        ({"rank": 0}, "refuses: --rank 0 makes no sense"),
        ({"rank": "16"}, "cannot read: '<=' not supported"),
    ],
)
def test_defaults_are_settings_of_training(defaults: dict[str, Any], said: str) -> None:
    testing.check_domain(Domain("good", "s", _build, defaults={"rank": 8, "epochs": 4}))
    with pytest.raises(AssertionError, match="domain 'bad' breaks a rule") as caught:
        testing.check_domain(Domain("bad", "s", _build, defaults=defaults))
    assert f"has defaults that `lftreg train` {said}" in str(caught.value)


def test_a_target_map_is_matched_against_a_model() -> None:
    presets = {"attention": ATTENTION, "all-linear": (*ATTENTION, "fc1", "fc2")}
    testing.check_targets(Targets("opt", ("opt",), presets))
    testing.check_targets(Targets("opt", ("opt",), presets), OPT)
    testing.check_targets(families.GPT2, {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 4})
    bert = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    testing.check_targets(families.T5, {"model_type": "t5", "num_layers": 2})  # with optional names
    testing.check_targets(families.BERT, {"model_type": "bert", **bert})


@pytest.mark.parametrize(
    ("presets", "said"),
    [
        (
            {"mlp": ("fc3",)},
            "has a preset 'mlp' that does not fit: no module of this opt model is called 'fc3'",
        ),
        ({"mlp": ("self_attn",)}, "'self_attn' takes model.decoder.layers.0.self_attn (OPTAttention)"),
        (
            {"all-linear": ATTENTION},
            "leaves 4 linear layers out of 'all-linear', such as model.decoder.layer",
        ),
        ({"mlp": ("mlp.f*",)}, "names 'mlp.f*' in preset 'mlp'"),
    ],
)
def test_a_target_map_that_does_not_fit_the_model_is_told_of(presets: Any, said: str) -> None:
    with pytest.raises(AssertionError) as caught:
        testing.check_targets(Targets("opt", ("opt",), presets), OPT)
    assert said in str(caught.value)


def test_a_target_map_is_not_judged_by_another_familys_model() -> None:
    with pytest.raises(AssertionError, match="does not claim the model type 'opt'"):
        testing.check_targets(Targets("mine", ("mine",), {"mlp": ("fc1",)}), OPT)


def test_a_methods_options_must_take_their_own_defaults() -> None:
    def good(m: Any, a: Any, w: Any, n: str, *, share: float = 0.5, sign: str | None = None) -> None: ...
    def bad(m: Any, a: Any, w: Any, n: str, *, share: float = "half") -> None: ...  # type: ignore[assignment]

    testing.check_method(Method("good", "s", good))
    with pytest.raises(AssertionError, match="refuses its own default: share cannot be 'half'"):
        testing.check_method(Method("bad", "s", bad))
    with pytest.raises(AssertionError, match=r"is refused: merge does not take \(model, adapters"):
        testing.check_method(Method("bad", "s", lambda model: None))


@pytest.mark.slow
def test_an_import_is_checked_by_name_or_by_module(install: Install) -> None:
    install("lftreg-heavy", "import torch.version as _\n")
    testing.check_import(sys)
    with pytest.raises(AssertionError, match=r"module 'lftreg_heavy' breaks .*\n  imports torch"):
        testing.check_import("lftreg_heavy")


def test_a_plugin_that_is_off_is_checked_all_the_same(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An author who has turned it off somewhere must not see green tests that tested nothing."""
    monkeypatch.setenv("LFTREG_PLUGINS_OFF", "legal")
    install("lftreg-legal", "import nothing_here")
    assert Host().faults == ()
    with pytest.raises(AssertionError, match="No module named 'nothing_here'"):
        testing.check_plugin("legal")


def test_it_loads_no_torch_and_no_command_pays_for_it() -> None:
    asked = "import sys, lftreg.testing; print([n for n in ('torch', 'transformers', 'peft') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    command = (
        "import sys; from lftreg.cli.main import main; sys.argv = ['lftreg', 'domains', '-q']; main()\n"
        "print([n for n in ('lftreg.testing', 'lftreg.plugins.check', 'lftreg.plugins.new', 'packaging')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
