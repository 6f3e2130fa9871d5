"""What may come out of a hook, and what the plugin's own code may do after it has been accepted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from lftreg.errors import LftregError, NotFound
from lftreg.plugins.host import Host
from lftreg.plugins.types import Outputs

from .conftest import Install, domain

BUILT_IN_DOMAINS = {"customer_support", "financial_advisor", "code_generation", "creative_writing"}
BUILT_IN_FAMILIES = {"gpt2", "llama", "phi3", "gpt_neox", "falcon", "t5", "bert"}


def _yields(expression: str, hook: str = "lftreg_domains") -> str:
    return domain("unused").partition("@hookimpl")[0] + (
        "from lftreg import Method, Targets\ngood = Domain('good', 'good', build)\n"
        f"@hookimpl\ndef {hook}():\n    return {expression}\n"
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("None", "TypeError: lftreg_domains gave nothing (None); it must yield Domain values"),
        ("good", "TypeError: lftreg_domains gave a Domain; it must yield Domain values"),
        ("[good, 'legal']", "TypeError: lftreg_domains yielded a str, not a Domain"),
        ("[good, Domain('Legal!', 's', build)]", "ValueError: domain 'Legal!': not a name"),
        ("[good, Domain('legal', '', build)]", "ValueError: domain 'legal': it has no summary"),
        ("[good, Domain('legal', 's', [])]", "ValueError: domain 'legal': build is not a function"),
        ("[good, Domain('legal', 's', build, 'a?')]", "ValueError: domain 'legal': prompts is not a tuple"),
        ("[good, Domain('legal', 's', build, (), 3)]", "ValueError: domain 'legal': defaults is not"),
        ("[good, Domain('legal')]", "TypeError: Domain.__init__() missing 2 required"),
    ],
)
def test_a_value_that_cannot_be_used_costs_the_whole_hook(
    install: Install, expression: str, message: str
) -> None:
    install("lftreg-legal", _yields(expression))
    host = Host(off=())
    assert set(host.domains()) == BUILT_IN_DOMAINS
    (fault,) = host.faults
    assert fault.message.startswith(message)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("[Targets('opt', 'opt', {'mlp': ('fc1',)})]", "target family 'opt': model_types is not"),
        ("[Targets('opt', (), {'mlp': ('fc1',)})]", "target family 'opt': model_types is not"),
        ("[Targets('opt', ('opt',), {})]", "target family 'opt': presets is not"),
        ("[Targets('opt', ('opt',), {'mlp': 'fc1'})]", "target family 'opt': preset 'mlp' is not"),
        ("[Targets('opt', ('opt',), {'mlp': ('fc1',)}, 'fc1')]", "target family 'opt': optional is not"),
    ],
)
def test_target_maps_are_checked(install: Install, expression: str, message: str) -> None:
    install("lftreg-opt", _yields(expression, "lftreg_targets"))
    host = Host(off=())
    assert set(host.targets()) == BUILT_IN_FAMILIES
    assert message in host.faults[0].message


@pytest.mark.parametrize(
    ("merge", "message"),
    [("3", "merge is not a function"), ("lambda model: None", "merge does not take (model, adapters,")],
)
def test_methods_are_checked(install: Install, merge: str, message: str) -> None:
    install("lftreg-mix", _yields(f"[Method('mix', 's', {merge})]", "lftreg_methods"))
    host = Host(off=())
    assert "mix" not in host.methods()
    assert message in host.faults[0].message


# After loading: a failure inside build or merge names the plugin, not lftreg.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    {}['x']\n", "KeyError: 'x'"),
        ("    yield 3\n", "TypeError: train row 1 is an int, not an Example"),
        ("    raise SystemExit(2)\n", "it called sys.exit(2)"),
        ("    return None\n", "TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_domain_that_fails_to_build_is_blamed_on_its_plugin(
    install: Install, body: str, message: str
) -> None:
    returned = '    return [Example.pair(f"{split} question", "answer")]\n'
    assert returned in domain("legal")
    install("lftreg-legal", domain("legal").replace(returned, body))
    with pytest.raises(LftregError) as caught:
        list(Host(off=()).domain("legal").build("train", 0))
    assert caught.value.message == (f"domain 'legal' of plugin 'legal' (lftreg-legal 0.2) failed: {message}")
    assert (caught.value.code, caught.value.exit_code) == ("plugin-failed", 1)


def test_an_error_that_a_plugin_raises_on_purpose_passes(install: Install) -> None:
    source = domain("legal").replace(
        "    return [", "    raise NotFound('no inbox', 'set INBOX')\n    return ["
    )
    install("lftreg-legal", "from lftreg.errors import NotFound\n" + source)
    with pytest.raises(NotFound, match=r"^no inbox$"):
        list(Host(off=()).domain("legal").build("train", 0))


def test_a_method_keeps_its_options_and_is_blamed_too(install: Install) -> None:
    source = (
        "from lftreg import Method, hookimpl\n"
        "def merge(model, adapters, weights, name, *, density=0.5): raise ValueError(f'at {density}')\n"
        "@hookimpl\ndef lftreg_methods(): yield Method('mix', 'mixes', merge)\n"
    )
    install("lftreg-mix", source)
    merge = Host(off=()).method("mix").merge
    assert inspect.signature(merge).parameters["density"].default == 0.5
    with pytest.raises(LftregError, match=r"method 'mix' of plugin 'mix' .*ValueError: at 0.1"):
        merge(None, [], [], "name", density=0.1)


_METRICS = """
from lftreg import Measured, Metric, hookimpl

def measure(outputs):
    if outputs.answers == ("fail",):
        raise KeyError("judge")
    if outputs.answers == ("exit",):
        raise SystemExit(3)
    if outputs.answers == ("short",):
        return Measured(())
    if outputs.answers == ("none",):
        return None
    return Measured((1.0,), total=lambda places: {}["sum"])

@hookimpl
def lftreg_metrics():
    yield Metric("judged", "s", measure, test=lambda one, other: {}["p"])
"""


def _said(answer: str) -> Outputs:
    return Outputs(("?",), ("",), (answer,), ("",))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda metric: metric.measure(_said("fail")), "KeyError: 'judge'"),
        (lambda metric: metric.measure(_said("exit")), r"it called sys.exit\(3\)"),
        (lambda metric: metric.measure(_said("short")), "ValueError: it gave 0 values for 1 items"),
        (
            lambda metric: metric.measure(_said("none")),
            r"TypeError: it gave nothing \(None\), not a Measured",
        ),
        (lambda metric: metric.measure(_said("good")).total([0]), "KeyError: 'sum'"),
        (lambda metric: metric.test(_said("good"), _said("good")), "KeyError: 'p'"),
    ],
)
def test_a_metric_that_fails_names_its_plugin(
    install: Install, call: Callable[[Any], object], reason: str
) -> None:
    install("lftreg-judge", _METRICS)
    metric = Host(off=()).metric("judged")
    with pytest.raises(
        LftregError, match=rf"metric 'judged' of plugin 'judge' \(lftreg-judge 0.2\) failed: {reason}"
    ):
        call(metric)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("'Judged!', 's', measure", "not a name"),
        ("'judged', ' ', measure", "it has no summary"),
        ("'judged', 's', 3", "measure is not a function of (outputs)"),
        ("'judged', 's', measure, needs=('sample',)", "needs is not a tuple of base, embeddings, losses"),
        ("'judged', 's', measure, needs='samples'", "needs is not a tuple of base, embeddings, losses"),
        ("'judged', 's', measure, better='more'", "better is neither 'higher', 'lower' nor None"),
        ("'judged', 's', measure, unit='%'", "unit is none of share, points, number"),
        ("'judged', 's', measure, test=0.05", "test is not a function of (one, other)"),
    ],
)
def test_a_metric_with_a_wrong_field_is_refused(install: Install, fields: str, message: str) -> None:
    head, _, _ = _METRICS.partition("    yield")
    install("lftreg-judge", f"{head}    yield Metric({fields})\n")
    host = Host(off=())
    assert "judged" not in host.metrics()
    (fault,) = host.faults
    assert message in fault.message
