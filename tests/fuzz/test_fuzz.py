"""Inputs that nobody thought of: good ones, changed at random in ways that a parser would mind.

Each is either let in, and then behaves as its readers expect, or refused by an error with a code. Anything else, an
exception that nobody named among it, is a bug. `make fuzz` tries 100,000; LFTREG_FUZZ_CASES says how many.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lftreg.errors import LftregError
from lftreg.paths import Home
from lftreg.registry import Registry
from lftreg.remotes.manifest import read_manifest
from lftreg.remotes.tar import members, read_member
from lftreg.tensors import read_header
from lftreg.tensors.gate import check_adapter
from lftreg.tensors.rules import check_settings, read_config
from lftreg.tensors.shapes import Shapes
from tests.hostile.bundles import Draft, draft_of, member
from tests.hostile.inputs import CONFIG, SHAPES, WEIGHTS, write_good

CASES = int(os.environ.get("LFTREG_FUZZ_CASES", "400"))  # of all four together
FINGERPRINT = "a" * 64
KNOWN = {f"model.layers.{n}.self_attn.{name}": shape for n in (0, 1) for name, shape in SHAPES.items()}
told: Counter[str] = Counter()


def fuzzed(share: float) -> Callable[[Any], Any]:
    return settings(
        max_examples=max(20, int(CASES * share)),
        deadline=None,
        database=None,
        derandomize=CASES < 10_000,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


# What a value becomes: something else of its kind, of another kind, or a nest of them.
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.integers(), st.floats(),
    st.sampled_from(["", "q_proj", "../x", "/etc/passwd", "\x00", "a" * 2000, "NaN", "(a+)+$", "\u202e", "\ud800"]),
    st.sampled_from([2**31, 2**48, 2**63, 2**64, -1, 1e308, 10**30]), st.text(max_size=20),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["r", "lora_alpha", "target_modules", "modules_to_save", "rank_pattern", "alpha_pattern", "use_dora", "bias",
     "peft_type", "task_type", "init_lora_weights", "layer_replication", "auto_mapping", "megatron_core", "eva_config",
     "dtype", "shape", "data_offsets", "__metadata__", "files", "base", "recipe", "schema", "digest", "name"],
) | st.text(max_size=12)  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """A document with one to three changes at random places of it."""
    made = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(made))
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["value", "value", "drop", "add", "swap", "rename"]))
        if how == "value":
            holder[key] = draw(VALUES)
        elif how == "drop":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[draw(KEYS)] = draw(VALUES)
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(KEYS)] = holder.pop(key)
        else:
            other, at = draw(st.sampled_from(places))
            if at in range(len(other)) if isinstance(other, list) else at in other:
                holder[key] = json.loads(json.dumps(other[at]))
        if not list(_places(made)):
            break
    return made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes as they are, mostly, or with a few of them changed, cut out, doubled or put in."""
    if draw(st.integers(0, 3)):
        return content
    made = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(made) - 1)))
        how = draw(st.sampled_from(["flip", "cut", "put", "double", "end"]))
        if how == "flip" and made:
            made[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del made[at : at + draw(st.integers(1, 64))]
        elif how == "put":
            made[at:at] = draw(st.binary(max_size=16))
        elif how == "double":
            made[at:at] = made[at : at + draw(st.integers(1, 64))]
        else:
            del made[at:]
    return bytes(made)


def text(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_good(tmp_path_factory.mktemp("good") / "adapter", "some-base")


@pytest.fixture(autouse=True)
def count(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say how many there were, and what became of them."""
    told.clear()
    began = time.monotonic()
    yield
    words = ", ".join(f"{number} {code}" for code, number in told.most_common(40))
    print(f"\n{request.node.name}: {sum(told.values())} cases in {time.monotonic() - began:.1f} s: {words}")


def tried(call: Callable[[], Any]) -> Any:
    """What a reader gives, or None where it refuses by an error with a code and a sentence."""
    try:
        made = call()
    except LftregError as error:
        assert error.code and error.code != "bug" and error.message and error.exit_code in (1, 2, 3), error
        told[error.code] += 1
        return None
    told["let in"] += 1
    return made


def test_headers(good: Path) -> None:
    content = (good / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    base = Shapes(KNOWN, lambda: None)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / WEIGHTS

        @fuzzed(0.3)
        @given(st.data())
        def try_one(data: st.DataObject) -> None:
            raw = text(data.draw(changed(header)))
            whole = data.draw(damaged(struct.pack("<Q", len(raw)) + raw + body))
            place.write_bytes(whole)
            checked = tried(lambda: check_adapter(place, good / CONFIG, base))
            if checked is not None:
                _loads(place, checked.sha256)

        try_one()


def _loads(place: Path, sha256: str) -> None:
    """What is let in is a file that safetensors reads, of just the tensors that were checked."""
    from safetensors.numpy import load_file

    assert hashlib.sha256(place.read_bytes()).hexdigest() == sha256
    loaded = load_file(place)
    assert {name: array.shape for name, array in loaded.items()} == {
        name: info.shape for name, info in read_header(place).tensors.items()
    }


def test_configurations(good: Path) -> None:
    from peft import LoraConfig

    config = json.loads((good / CONFIG).read_text()) | {
        "rank_pattern": {"v_proj": 4},
        "modules_to_save": None,
    }

    base = Shapes(KNOWN, lambda: None)

    @fuzzed(0.3)
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        raw = data.draw(damaged(text(data.draw(changed(config)))))

        if tried(lambda: check_settings(read_config(raw)) or True):
            with tempfile.TemporaryDirectory() as name:
                (Path(name) / CONFIG).write_bytes(raw)
                checked = tried(lambda: check_adapter(good / WEIGHTS, Path(name) / CONFIG, base))
                if checked is not None:
                    LoraConfig(**{key: value for key, value in checked.config.items() if key != "peft_type"})

    try_one()


def test_manifests(good: Path) -> None:
    manifest = draft_of(good, FINGERPRINT).manifest | {
        "recipe": {"method": "cat", "options": {"engine": "peft"}, "relative_error": 1e-8,
                   "parents": [{"ref": "a@1", "digest": "sha256:" + "b" * 64, "weight": 0.5}]},
        "run": {"seed": 1}, "scores": [{"suite": "s"}], "tags": {"a": "b"}, "domain": "desk",
    }  # fmt: skip

    @fuzzed(0.3)
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        raw = data.draw(damaged(text(data.draw(changed(manifest)))))
        read = tried(lambda: read_manifest(raw))
        if read is not None:
            again = read_manifest(read.to_bytes())
            assert (again.files, again.digest, again.base) == (read.files, read.digest, read.base)
            assert all("/" not in file.name and ".." not in file.name.split("/") for file in read.files)

    try_one()


def test_bundles(good: Path, tiny_llama: Path, tmp_path: Path) -> None:
    from lftreg.models.base import find_base
    from lftreg.remotes.bundle import import_bundle

    with Registry(Home(tmp_path / "home")) as registry:
        base = find_base(str(tiny_llama), registry).record
        whole = draft_of(good, base.fingerprint)

        @fuzzed(0.1)
        @given(st.data())
        def try_one(data: st.DataObject) -> None:
            draft = Draft(data.draw(changed(whole.manifest) | st.just(whole.manifest)), list(whole.members))
            if data.draw(st.booleans()):
                at = data.draw(st.integers(0, len(draft.members)))
                name = data.draw(st.sampled_from(["x", "../x", "/x", WEIGHTS, CONFIG.upper(), "a/b"]))
                kind = data.draw(
                    st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, b"x", b"L", b"S"])
                )
                draft.members.insert(at, member(name, data.draw(st.binary(max_size=600)), kind))
            place = tmp_path / "x.lftreg"
            draft.write(place)
            place.write_bytes(data.draw(damaged(place.read_bytes())))
            made = tried(lambda: import_bundle(registry, place))
            if made is not None:
                assert registry.weights(made[0]) and _names(place)
            assert not [path for path in (tmp_path / "home" / "scratch").glob("*") if path.is_dir()]

        try_one()
        assert registry.verify() == []


def _names(place: Path) -> list[str]:
    """The members of a bundle as tarfile sees them: what was let in means the same to others."""
    content = place.read_bytes()
    with place.open("rb") as file, tarfile.open(fileobj=io.BytesIO(content)) as tar:
        ours = {one.name: read_member(file.fileno(), one) for one in members(file.fileno(), len(content))}
        for name, held in ours.items():
            other = tar.extractfile(name)
            assert other is not None and other.read() == held
        assert sorted(tar.getnames()) == sorted(ours)
    return sorted(ours)
