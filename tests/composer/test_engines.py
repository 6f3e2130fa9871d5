"""Who computes what, and what must hold of the factors engine whatever it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lftreg import Registry, Version, compose
from lftreg.composer import factors_engine, wide
from lftreg.composer.composition import prepare
from lftreg.composer.inspection import inspect
from lftreg.composer.kitchen import Kitchen as Opened
from lftreg.composer.layers import Pair, Part, Stack
from lftreg.errors import CheckFailed, LftregError
from lftreg.plugins.host import Host
from lftreg.registry import WEIGHTS
from lftreg.tensors import Source

from .conftest import Kitchen, distance
from .test_composition import run_python

pytestmark = pytest.mark.slow

Two = tuple[Version, Version]
ENGINES = ("peft", "factors")


def choice(kitchen: Kitchen, *words: str, **how: Any) -> tuple[str, str | None]:
    options = {key: how.pop(key) for key in list(how) if key in ("rank", "max_error", "density")}
    named = {
        "weights": None,
        "name": "x",
        "method": "cat",
        "normalise": False,
        "dtype": "auto",
        "engine": "auto",
    }
    plan = prepare(
        words, **{**named, **how}, registry=kitchen.registry, host=Host(external=False), options=options
    )
    return plan.engine, plan.why


def test_who_computes_and_why(kitchen: Kitchen, pair: Two) -> None:
    kitchen.parent("rs", 3, use_rslora=True)
    kitchen.parent("regex", 4, target_modules=".*q_proj")
    for n in range(9):
        kitchen.parent(f"p{n}", n)
    many = [f"p{n}" for n in range(9)]
    assert choice(kitchen, "a", "b") == ("peft", None)
    assert choice(kitchen, "a", "b", method="linear") == ("peft", None)
    assert choice(kitchen, "a", "b", engine="factors") == ("factors", None)
    for words, how, why in (
        (("a", "rs"), {}, "rsLoRA"),
        (("a", "b"), {"method": "svd"}, "minutes"),
        (("a", "regex"), {}, "first parent"),
        (many, {}, "all 9 adapters"),
        (("a", "b"), {"weights": "crossfade"}, "one weight for all layers"),
        (("a", "b"), {"method": "svd", "max_error": 0.1}, "takes no"),
        (("a", "b"), {"method": "ties_core"}, "this engine only"),
    ):
        engine, reason = choice(kitchen, *words, **how)
        assert engine == "factors"
        assert why in str(reason)
    for how, code in (
        ({"engine": "factors", "method": "linear"}, "engine-method"),
        ({"engine": "peft", "method": "knots"}, "engine-method"),
        ({"engine": "steam"}, "unknown-engine"),
        ({"engine": "peft", "method": "svd", "rank": "full"}, "engine-method"),
        ({"method": "svd", "rank": 4, "max_error": 0.1}, "rank-and-error"),
    ):
        with pytest.raises(LftregError) as refusal:
            choice(kitchen, "a", "b", **how)
        assert refusal.value.code == code


MADE = """
import sys
from lftreg import compose
print(compose(["a:0.7", "b:0.3"], **eval(sys.argv[1])).digest)
heavy = {"torch", "peft", "transformers", "matplotlib", "safetensors"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy and "factors" in sys.argv[1] else 0)
"""
HOWS: tuple[dict[str, Any], ...] = (
    {"method": "cat"},
    {"method": "svd", "rank": 3},
    {"method": "svd", "rank": "auto"},
    {"method": "ties_core"},
    {"method": "knots"},
    {"method": "dare_core"},
)


def digests(how: dict[str, Any], *threads: int) -> set[str]:
    """What processes of so many threads make of a and b."""
    found = set()
    for number in threads:
        done = subprocess.run(
            [sys.executable, "-c", MADE, repr(how)],
            env=os.environ | {"OMP_NUM_THREADS": str(number), "MKL_NUM_THREADS": str(number)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    return found


@pytest.mark.parametrize("how", HOWS, ids=lambda how: "-".join(map(str, how.values())))
def test_no_torch_and_the_same_bytes_from_any_number_of_threads(pair: Two, how: dict[str, Any]) -> None:
    assert len(digests(how | {"engine": "factors"}, 1, 2, 7)) == 1


def test_peft_too_makes_the_same_bytes_from_any_number_of_threads(kitchen: Kitchen) -> None:
    """On layers large enough for torch to share them out: at 16 x 16 nobody would notice."""
    from lftreg.registry import Draft

    first = kitchen.parent("small", 1)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        tensors = {f"{stem}A.weight": torch.randn(8, 512), f"{stem}B.weight": torch.randn(512, 8)}
        save_file(tensors, kitchen.registry.home.root / "file")
        config = kitchen.registry.config(first) | {"r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}
        file = kitchen.registry.home.root / "file"
        kitchen.registry.publish(Draft(name, "trained", first.base, file, config))
    assert len(digests({"method": "ties_svd", "engine": "peft"}, 1, 2)) == 1


def test_adapters_too_wide_for_memory_give_the_same_bytes(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a hundred large adapters, on small ones: in blocks of three rows."""
    words = [f"{kitchen.parent(f'p{n}', n, r=n + 1).ref}:{0.5 - n / 3}" for n in range(4)]
    ways: list[str] = []
    write_cat = wide.write_cat

    def counted(path: str, *args: Any, **options: Any) -> Any:
        ways.append(path)
        return write_cat(path, *args, **options)

    for dtype in ("float32", "bfloat16"):
        ways.clear()
        made = compose(words, registry=kitchen.registry, engine="factors", dtype=dtype, name="small")
        with monkeypatch.context() as patch:
            patch.setattr(factors_engine, "WIDE", 0)
            patch.setattr(wide, "write_cat", counted)
            patch.setattr(wide, "BLOCK", 3 * made.rank)
            again = compose(words, registry=kitchen.registry, engine="factors", dtype=dtype, name="wide")
        assert again.digest == made.digest
        assert len(ways) == 6
        assert made.recipe is not None
        assert again.recipe is not None
        # Random vectors against Gram matrices: the same error, to a third on so few layers.
        assert again.recipe.relative_error == pytest.approx(made.recipe.relative_error, rel=0.35)


def test_more_files_than_may_be_open(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"{kitchen.parent(f'p{n}', n, r=1).ref}:{n}" for n in range(1, 5)]
    made = compose(words, registry=kitchen.registry, engine="factors", name="open")
    opened: list[Path] = []
    really = Source._open
    monkeypatch.setattr("lftreg.composer.kitchen.MOST_OPEN", 2)
    monkeypatch.setattr(Source, "_open", lambda self: (opened.append(self.path), really(self))[1])
    assert compose(words, registry=kitchen.registry, engine="factors", name="closed").digest == made.digest
    assert len(opened) == 2 * 4 * 6  # each factor of each parent in each layer


def test_what_is_measured_is_what_is_there(kitchen: Kitchen, pair: Two) -> None:
    """Norm, error, cosine and conflict of a layer against its full matrices in float64."""
    host = Host(external=False)
    plan = prepare(
        ["a:0.7", "b:-0.3"], weights=None, name="x", method="cat", normalise=False, dtype="auto",
        engine="factors", registry=kitchen.registry, host=host, options={},
    )  # fmt: skip
    from contextlib import ExitStack

    deltas = [kitchen.deltas(version) for version in pair]
    with ExitStack() as files:
        opened = Opened(plan, files)
        for path in plan.layers:
            stack = opened.read(path)
            one, two = (d[path].numpy() for d in deltas)
            whole = 0.7 * one - 0.3 * two
            made = Pair(stack.b + np.float32(0.01), stack.a * stack.c.astype(np.float32)[:, None])
            found = inspect(stack, made, 2)
            off = made.b.astype(float) @ made.a.astype(float) - whole
            assert found.norm == pytest.approx(np.linalg.norm(whole), rel=1e-6)
            assert found.error == pytest.approx(np.linalg.norm(off), rel=1e-6)
            inner = [[(x * y).sum() for y in (one, two)] for x in (one, two)]
            assert np.allclose(found.inner, inner, rtol=1e-6, atol=1e-7)
            assert found.conflict == pytest.approx((np.sign(one) != np.sign(two)).mean(), abs=1e-9)
            assert found.spectrum is not None
            s = np.linalg.svd(whole, compute_uv=False)
            assert np.allclose(found.spectrum.values[: len(s)], s[:8], atol=1e-6)


# Bad input: a named error, no version, no stray file


def stray(registry: Registry) -> list[Path]:
    """Files of the home that no version owns."""
    owned = {f.sha256 for version in registry.list(all_versions=True) for f in version.files}
    return [
        path
        for folder in (registry.home.blobs, registry.home.scratch)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in owned and path != registry.blobs.owner
    ]


def spoil(registry: Registry, version: Version, how: str) -> None:
    path = registry.file(version, WEIGHTS)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    if how == "one bit":
        content[-3] ^= 1
    elif how == "a NaN":
        content[-4:] = b"\xff\xff\xff\x7f"
    elif how == "cut":
        content = content[:-40]
    elif how == "header":
        content[9] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["one bit", "a NaN", "cut", "header"])
def test_a_file_that_is_not_what_was_registered(kitchen: Kitchen, pair: Two, engine: str, how: str) -> None:
    spoil(kitchen.registry, pair[1], how)
    with pytest.raises(LftregError) as told:
        compose(["a", "b"], registry=kitchen.registry, engine=engine)
    assert isinstance(told.value, CheckFailed)
    assert told.value.code == "changed-file"
    assert "b@1" in told.value.message
    assert len(kitchen.registry.list()) == 2
    assert stray(kitchen.registry) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("factor", ["lora_A", "lora_B"])
def test_a_number_that_is_none(kitchen: Kitchen, engine: str, value: float, factor: str) -> None:
    def poison(config: dict[str, Any], tensors: dict[str, Any]) -> None:
        key = [key for key in tensors if factor in key][-1]
        tensors[key][-1, -1] = value

    kitchen.parent("a", 1)
    kitchen.parent("b", 2, change=poison)
    for method in ("cat", "svd"):
        with pytest.raises(LftregError) as told:
            compose(["a", "b"], registry=kitchen.registry, engine=engine, method=method)
        assert told.value.code == "not-finite"
        assert "b@1" in told.value.message
    assert len(kitchen.registry.list()) == 2
    assert stray(kitchen.registry) == []


NO_ROOM = """
import resource, sys
from lftreg import Registry, compose
from lftreg.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, 2**19))
try:
    compose(["a", "b"], engine=sys.argv[1])
except StorageError as error:
    assert error.hint
    raise SystemExit(0 if len(Registry().list()) == 2 else "something was registered")
raise SystemExit("not refused")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_in_mid_write(kitchen: Kitchen, engine: str) -> None:
    for seed, name in enumerate("ab"):
        kitchen.parent(name, seed, r=1024)
    done = run_python(NO_ROOM, engine)
    assert done.returncode == 0, done.stderr
    assert stray(kitchen.registry) == []


def test_the_store_hears_of_a_full_disk(kitchen: Kitchen, registry: Registry) -> None:
    """/dev/full takes nothing: whoever writes is told, and the hashing thread ends."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from lftreg.registry.staging import Stream

    with Path("/dev/full").open("wb") as full:
        stream = Stream(full, None)  # type: ignore[arg-type]  # never kept
        with pytest.raises(OSError, match="No space"):
            for _ in range(100):
                stream.write(bytes(1 << 20))
        stream.stop()
        assert not stream._thread.is_alive()


def test_a_write_that_fails_in_the_background_is_told(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lftreg.registry import staging

    monkeypatch.setattr(staging, "SENT_AT_ONCE", 10)
    calls: list[int] = []

    def fails_once(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(staging.os, "fsync", fails_once)
    failing = pytest.raises(LftregError, match="Input/output")
    with failing, registry.blobs.staging() as stage, stage.streaming() as stream:
        stream.write(b"some twenty bytes of content")
        stream.keep()
    assert stray(registry) == []


def test_two_at_once_share_one_thread_of_blas() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    from lftreg.composer.kitchen import one_blas_thread

    def threads() -> set[int]:
        np.ones(2) @ np.ones(2)
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        before = threads()
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}  # the second still computes
        second.__exit__(None, None, None)
        assert threads() == before


def test_the_error_of_large_layers_is_not_made_up() -> None:
    """A layer too large for a QR, of a result that does not keep the parents' B."""
    dice = np.random.default_rng(0)
    b = dice.standard_normal((4096, 128)).astype(np.float32)
    a = dice.standard_normal((128, 4096)).astype(np.float32)
    parts = (Part(slice(0, 64), 0, "a", 0.7, 2.0), Part(slice(64, 128), 1, "b", 0.3, 2.0))
    stack = Stack("layer", b, a, np.repeat([1.4, 0.6], 64), parts)
    turned = Pair(b[:, ::-1].copy(), a[::-1].copy(), stack.c[::-1].copy())
    report = inspect(stack, turned, 2)
    assert report.error <= 1e-7 * report.norm


@pytest.mark.parametrize("how", HOWS, ids=lambda how: "-".join(map(str, how.values())))
def test_a_layer_that_every_parent_leaves_alone(kitchen: Kitchen, how: dict[str, Any]) -> None:
    def untrained(config: dict[str, Any], tensors: dict[str, Any]) -> None:
        for key in tensors:
            if "layers.0" in key and "lora_B" in key:
                tensors[key].zero_()

    versions = [kitchen.parent(name, seed, change=untrained) for seed, name in enumerate("ab")]
    made = compose(["a:0.7", "b:0.3"], registry=kitchen.registry, engine="factors", **how)
    deltas = kitchen.deltas(made)
    assert not any(delta.any() for path, delta in deltas.items() if ".0." in path)
    assert all(delta.any() for path, delta in deltas.items() if ".1." in path)
    assert versions


def test_weights_that_cancel_but_for_rounding(kitchen: Kitchen, pair: Two) -> None:
    with pytest.raises(LftregError) as told:
        compose(["a:0.1", "a:0.2", "a:-0.3"], registry=kitchen.registry)
    assert told.value.code == "nothing-left"


# The method's side


def test_a_mix_of_a_plugin(kitchen: Kitchen, pair: Two) -> None:
    from lftreg.plugins.types import Method

    def louder(stack: Any, *, gain: float = 2.0) -> Pair:
        return Pair(stack.b * np.float32(gain), stack.a, stack.c)

    class Mine(Host):
        def method(self, name: str) -> Method:
            return Method(name, "louder", mix=self.mix, truncates=True)

    host = Mine(external=False)
    host.mix = louder  # type: ignore[attr-defined]
    made = compose(
        ["a:0.7", "b:0.3"], registry=kitchen.registry, host=host, method="louder", gain=3.0, rank=8
    )
    wanted = {path: 3 * d for path, d in kitchen.expected((pair[0], 0.7), (pair[1], 0.3)).items()}
    assert distance(kitchen.deltas(made), wanted) <= 1e-6
    for wrong in (lambda stack: None, lambda stack: Pair(stack.b[:1], stack.a)):
        host.mix = wrong  # type: ignore[attr-defined]
        with pytest.raises(LftregError, match="gave"):
            compose(["a", "b"], registry=kitchen.registry, host=host, method="louder")


def test_the_report_is_kept(kitchen: Kitchen, pair: Two) -> None:
    from lftreg.composer.report import ATTACHMENT, Report

    for engine in ENGINES:
        made = compose(["a:0.7", "b:0.3"], registry=kitchen.registry, engine=engine)
        content = kitchen.registry.read(made, ATTACHMENT)
        report = Report.from_bytes(content)
        assert report.to_bytes() == content
        assert report.parents == ("a@1", "b@1")
        assert len(report.layers) == 6
        assert report.cosines[0][0] == pytest.approx(1)
        assert json.loads(content)["format"] == 1
        assert list(report.energy.values()) == sorted(report.energy.values())
        assert report.energy["8"] == pytest.approx(1, abs=1e-6)
