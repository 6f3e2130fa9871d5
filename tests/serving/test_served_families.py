"""Bases of other kinds over HTTP: an encoder-decoder, one without a chat template, and what writes no text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lftreg.errors import Incompatible
from lftreg.models.base import find_base
from lftreg.models.batching import Decoding
from lftreg.models.generate import Speaker
from lftreg.registry import Registry
from lftreg.serving.desk import Desk, Options
from tests.conftest import Tiny
from tests.serving.served import publish, serving
from tests.serving.test_hostile import refused

ASKED = "Where is my parcel?"


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_a_base_of_another_family_answers_as_generate_does(tiny: Tiny, tmp_path: Path, family: str) -> None:
    base = tiny(family)
    with serving(tmp_path / "home", base) as served:
        model = f"base:{base.name}"
        speaker = Speaker([f"base:{base}"], served.registry)
        (said,) = speaker.answer(f"base:{base}", [ASKED], Decoding(max_tokens=8))
        messages = [{"role": "user", "content": ASKED}]
        client = served.client()
        asked = {"model": model, "messages": messages, "max_tokens": 8, "temperature": 0}
        done = client.chat.completions.create(**asked)  # type: ignore[call-overload]
        assert done.choices[0].message.content.strip() == said.text
        parts = client.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
        assert "".join(part.choices[0].delta.content or "" for part in parts).strip() == said.text
        whole = client.completions.create(model=model, prompt=ASKED, max_tokens=8, temperature=0)
        assert whole.usage is not None
        assert whole.usage.completion_tokens <= 8
        assert client.chat.completions.create(model=model, messages=messages).choices  # type: ignore[arg-type]
        assert served.post("/generate", {"prompt": ASKED, "max_length": 8}).json()["response"] == said.text
        served.settle()


def test_a_classifier_writes_no_text(tiny: Tiny, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(Incompatible, match="masked language model"):
        Desk(find_base(str(tiny("bert")), registry), registry, Options(), local=True)
    base = tiny("llama")
    with serving(tmp_path / "home", base) as served:
        publish(served.registry, base, "sorter", 1, task_type="SEQ_CLS")
        refused(served.post("/generate", {"prompt": ASKED, "adapter": "sorter"}), 400, "classifier")


def test_an_adapter_that_has_no_room_is_refused_and_one_that_changed_is_not_answered(
    tiny: Tiny, tmp_path: Path
) -> None:
    base = tiny("llama")
    with serving(tmp_path / "home", base, slots=2, rank=2) as served:
        version = publish(served.registry, base, "support", 1)
        publish(served.registry, base, "finance", 2)
        body = {"prompt": ASKED, "adapter": "support", "max_length": 2}
        assert served.post("/generate", body).status_code == 200
        refused(served.post("/generate", body | {"adapter": "support+finance"}), 400, "needs 4 slots")
        assert served.post("/generate", body | {"adapter": "finance"}).status_code == 200
        path = served.registry.file(version, "adapter_model.safetensors")
        path.chmod(0o644)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert refused(served.post("/generate", body), 500, "sha256 has changed")["code"] == "changed-file"
        refused(served.post("/v1/completions", {"model": "support", "prompt": "Hi", "stream": True}), 500)
        served.settle()
        assert served.post("/generate", body | {"adapter": "finance"}).status_code == 200


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("left", [None, 0, 90])
def test_what_is_damaged_on_disk_is_the_servers_fault_and_names_the_version(
    tiny: Tiny, tmp_path: Path, name: str, left: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    base = tiny("llama")
    with serving(tmp_path / "home", base) as served:
        path = served.registry.file(publish(served.registry, base, "support", 1), name)
        publish(served.registry, base, "finance", 2, lora_alpha=6)
        path.parent.chmod(0o755)
        if left is None:
            path.unlink()
        else:
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:left])
        body = {"prompt": ASKED, "adapter": "support", "max_length": 2}
        error = refused(served.post("/generate", body), 500, "support@1", name)
        assert error["code"] == ("missing-file" if left is None else "changed-file")
        assert str(tmp_path) not in json.dumps(error)
        assert error["message"] in caplog.text
        assert "Traceback" not in caplog.text
        refused(served.post("/generate", body | {"adapter": "support:0.5+finance:0.5"}), 500, "support@1")
        served.settle()
        assert served.post("/generate", body | {"adapter": "finance"}).status_code == 200
