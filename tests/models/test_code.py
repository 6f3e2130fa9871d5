"""Bases that bring Python of their own: never run unasked, whole when trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lftreg.errors import Unavailable
from lftreg.models.base import find_base
from lftreg.models.generate import Speaker
from lftreg.models.load import load_base
from lftreg.models.targets import list_modules
from lftreg.registry import Registry
from lftreg.training import train
from tests.training.test_families import parrot

CONFIGURATION = """
from pathlib import Path
from transformers import LlamaConfig

Path({ran!r}).touch()

class HomemadeConfig(LlamaConfig):
    model_type = "homemade"
"""
MODEL = """
from transformers import LlamaForCausalLM
from .configuration_homemade import HomemadeConfig

class HomemadeForCausalLM(LlamaForCausalLM):
    config_class = HomemadeConfig
"""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that is there once the base's code has run."""
    return tmp_path / "ran"


@pytest.fixture
def homemade(tiny_llama: Path, tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LLaMA under a type that transformers does not know, with the code that does."""
    import shutil

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "homemade"
    shutil.copytree(tiny_llama, folder)
    (folder / "configuration_homemade.py").write_text(CONFIGURATION.format(ran=str(ran)))
    (folder / "modeling_homemade.py").write_text(MODEL)
    config = json.loads((folder / "config.json").read_text())
    classes = {
        "AutoConfig": "configuration_homemade.HomemadeConfig",
        "AutoModelForCausalLM": "modeling_homemade.HomemadeForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "homemade", "auto_map": classes}))
    return folder


def test_its_code_is_not_run_unasked(homemade: Path, ran: Path, registry: Registry) -> None:
    with pytest.raises(Unavailable, match="needs Python code that comes with it") as caught:
        train(parrot(), base=str(homemade), registry=registry)
    assert caught.value.code == "remote-code"
    assert "--trust-remote-code" in str(caught.value.hint)
    assert not ran.exists()
    assert registry.list() == []


def test_trusted_it_trains_and_answers(homemade: Path, ran: Path, registry: Registry) -> None:
    version = train(parrot(), base=str(homemade), registry=registry, trust_code=True, max_steps=10, lr=1e-2)
    assert ran.exists()
    assert version.base.model_type == "homemade"
    with pytest.raises(Unavailable):
        Speaker(["parrot"], registry)
    assert Speaker(["parrot"], registry, trust_code=True).answer("parrot", ["Who?"])


def test_a_base_that_no_longer_needs_its_code_does_without(
    homemade: Path, ran: Path, registry: Registry
) -> None:
    """Many on the hub still bring the code they had before transformers knew them."""
    path = homemade / "config.json"
    path.write_text(path.read_text().replace('"homemade"', '"llama"'))
    for trusted in (False, True):
        base = find_base(str(homemade), registry, trust_code=trusted)
        assert not base.code
        assert type(load_base(base).model).__name__ == "LlamaForCausalLM"
        assert list_modules(base.config)
    assert not ran.exists()


def test_changed_code_is_another_base(homemade: Path) -> None:
    before = find_base(str(homemade), trust_code=True).record.fingerprint
    (homemade / "modeling_homemade.py").write_text(MODEL + "\n# other\n")
    assert find_base(str(homemade), trust_code=True).record.fingerprint != before
