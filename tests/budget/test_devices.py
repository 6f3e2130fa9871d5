"""Devices are found by the names that torch gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lftreg.budget.devices import TABLE, find, known
from lftreg.config import user_file
from lftreg.errors import InvalidData, NotFound

ENTRY = '[[device]]\nname = "{name}"\nmemory = 10\nbfloat16 = 20\nfloat32 = 5\nutilisation = 0.4\n'


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's own table is, with none there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    table = user_file().with_name(TABLE)
    table.parent.mkdir(parents=True)
    return table


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("rtx-4090", "RTX 4090"),
        ("a100", "A100 80GB"),
    ],
)
def test_a_name_is_found(told: str, name: str) -> None:
    assert find(told).name == name


def test_every_price_says_where_and_when() -> None:
    for device in known():
        assert (device.price is None) == (device.seen is None)
        assert device.seen is None or device.seen[-10:-6] >= "2026"
        assert device.bfloat16 >= device.float32
        assert device.bandwidth is not None and 1e11 < device.bandwidth < 1e13
        assert 0 < device.utilisation < 1


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="RTX 4090") as caught:
        find("RTX 4080")
    assert caught.value.code == "unknown-device"


def test_this_machine_is_measured() -> None:
    device = find("cpu")
    assert not device.gpu
    assert 1e8 < device.float32 < 1e15
    assert device.memory is not None and device.memory > 1 << 28
    assert device.price is None


def test_a_users_table_is_asked_first(own: Path) -> None:
    own.write_text(ENTRY.format(name="H100") + ENTRY.format(name="Mine"), encoding="utf-8")
    assert find("H100").memory == 10 << 30
    assert find("H100").bandwidth == 3350e9  # what a user's entry leaves out
    assert find("Mine").bandwidth is None
    assert find("NVIDIA Mine 2").bfloat16 == 20e12
    assert find("H200").price is not None


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("[[device]\n", "is not TOML"),
        ("device = 1\n", "needs a name"),
        ("[[device]]\nmemory = 1\n", "needs a name"),
        (ENTRY.format(name="x") + "prise = 1\n", "unknown key 'prise'"),
        (ENTRY.format(name="x").replace("10", "-10"), "positive number as memory"),
        (ENTRY.format(name="x").replace("0.4", "true"), "positive number as utilisation"),
        (ENTRY.format(name="x") + "bandwidth = 0\n", "positive number as bandwidth"),
        (ENTRY.format(name="x") + "price = '2'\n", "price of x"),
        (ENTRY.format(name="x") + "match = [1]\n", "texts as match"),
        (ENTRY.format(name="x") + "match = 1\n", "texts as match"),
    ],
)
def test_a_table_that_is_none_is_refused(own: Path, text: str, flaw: str) -> None:
    own.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidData, match=flaw):
        find("H100")
