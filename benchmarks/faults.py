"""What lftreg and TRL's SFTTrainer do with the faults that their users complain of: the cases of tests/faults.

Both get the same files and the same tiny base. lftreg is asked by its command; TRL by the script that a user would
write: load_dataset, SFTConfig, SFTTrainer, three steps. A case ends in one of these ways, by what is measured and
not by what is expected:

    right           it finished, and what it made has the property that the fault puts at risk
    caught          an error before the first step, whose words name the cause (the same pattern for both)
    cryptic         an error that does not, or one that came later than it could have
    warned, wrong   it finished without the property, and a warning named the cause
    silently wrong  it finished without the property

    python benchmarks/faults.py [--only WORD...] [--json FILE]

Cases without an equivalent in TRL are marked n/a, and count for neither.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tests.conftest import save_tiny  # noqa: E402
from tests.faults.cases import CASES  # noqa: E402
from tests.faults.kinds import Case, Seen, Setup  # noqa: E402

WAYS = ("right", "caught", "cryptic", "warned, wrong", "silently wrong")
GOOD = frozenset({"right", "caught"})


@dataclass(frozen=True)
class Outcome:
    """How a case ended, and the measurement or the words that say so."""

    way: str
    why: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name holds one of these")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    names = ("lftreg", "trl", "transformers", "peft", "datasets", "torch")
    versions = ", ".join(f"{name} {version_of(name)}" for name in names)
    print(f"# {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}")
    results: dict[str, tuple[Outcome, Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        make = cache(lambda kind: save_tiny(kind, folder_in(Path(name), f"tiny-{kind}")))
        for case in CASES:
            if not any(word in case.name for word in asked.only):
                continue
            folder = folder_in(Path(name), case.name)
            ours, theirs = both(case, folder, make)
            results[case.name] = ours, theirs
            print(
                f"{case.name}\n    lftreg  {ours.way:14} {ours.why}\n    TRL     {theirs.way:14} {theirs.why}",
                flush=True,
            )
    show(results)
    if asked.json:
        told = {name: {"lftreg": asdict(a), "trl": asdict(b)} for name, (a, b) in results.items()}
        asked.json.write_text(json.dumps(told, indent=2) + "\n")


def both(case: Case, folder: Path, make: object) -> tuple[Outcome, Outcome]:
    nothing = Outcome("n/a", "")
    setup = case.build(folder, make)  # type: ignore[arg-type]
    return by_lftreg(case, setup, folder), nothing if case.trl is None else by_trl(case, setup, folder)


def show(results: dict[str, tuple[Outcome, Outcome]]) -> None:
    compared = [(a.way, b.way) for a, b in results.values() if "n/a" not in (a.way, b.way)]
    print(f"\n{'':16}{'lftreg':>8}{'TRL':>8}   of {len(compared)} cases that both can be asked")
    ours, theirs = (Counter(pair[side] for pair in compared) for side in (0, 1))
    for way in WAYS:
        print(f"{way:16}{ours[way]:8}{theirs[way]:8}")
    alone = Counter(a.way for a, b in results.values() if b.way == "n/a" and a.way != "n/a")
    print("only lftreg can be asked: " + ", ".join(f"{alone[way]} {way}" for way in WAYS if alone[way]))
    worse = [n for n, (a, b) in results.items() if b.way in GOOD and a.way not in GOOD | {"n/a"}]
    print(f"where TRL does better: {', '.join(worse) or 'nowhere'}")


def judged(case: Case, setup: Setup, seen: Seen, warnings: str) -> Outcome:
    """The way of a run that finished."""
    assert case.holds is not None
    wrong = case.holds(seen, setup)
    if wrong is None:
        return Outcome("right", f"{len(seen.rows)} rows, loss {seen.losses[0]:.3f} to {seen.losses[-1]:.3f}")
    lines = (without_paths(line) for line in warnings.splitlines())
    warned = next((line for line in lines if case.clear and case.is_clear(line)), None)
    return Outcome(
        "warned, wrong" if warned else "silently wrong", wrong + (f" ({short(warned)})" if warned else "")
    )


def without_paths(text: str) -> str:
    return re.sub(r"/\S*/", "", text)


def at_a_step(case: Case) -> bool:
    """Whether a fault can show only when steps are made."""
    return case.expect is not None and case.expect.when == "step"


def short(text: str) -> str:
    flat = " ".join(without_paths(text).split())
    return flat if len(flat) <= 130 else flat[:127] + "..."


def by_lftreg(case: Case, setup: Setup, folder: Path) -> Outcome:
    """The command, in a process of its own, with a home of its own."""
    result = folder / "lftreg.json"
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom dataclasses import asdict\n"
        "from benchmarks.faults import case_of, made_again\nfrom tests.faults.seen import put_to_lftreg, registry_at\n"
        "name, setup, home, out = sys.argv[1:]\n"
        "ended = put_to_lftreg(case_of(name), made_again(setup), registry_at(Path(home)))\n"
        "Path(out).write_text(json.dumps(asdict(ended)))\n"
    )
    home, path = (
        str(folder / "home"),
        os.pathsep.join(map(str, filter(None, (setup.site, ROOT / "src", ROOT)))),
    )
    done = subprocess.run(
        [sys.executable, "-c", code, case.name, as_text(setup), home, str(result)],
        env=os.environ | {"LFTREG_HOME": home, "PYTHONPATH": path, "LFTREG_PLUGINS": "lftreg-faults"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not result.exists():
        return Outcome("cryptic", short(done.stderr.strip().splitlines()[-1]))
    ended = json.loads(result.read_text())
    if ended["seen"] is not None:
        return judged(case, setup, Seen(**ended["seen"]), done.stderr)
    if not ended["exit"]:
        return Outcome("silently wrong", "it finished")
    at = re.search(r"at step (\d+)", ended["message"])
    late = at is not None and int(at[1]) > 1 and not at_a_step(case)
    clear = ended["code"] != "bug" and case.is_clear(f"{ended['message']}; {ended['hint']}")
    return Outcome(
        "caught" if clear and not late else "cryptic", short(f"{ended['code']}: {ended['message']}")
    )


def by_trl(case: Case, setup: Setup, folder: Path) -> Outcome:
    """The script, in a process of its own; twice where that is the question."""
    runs = [trl_run(case, setup, folder, number) for number in range(2 if "twice" in case.more else 1)]
    told, printed = runs[0]
    if "error" in told:
        words, steps = told["error"], told["steps"]
        clear = case.is_clear(without_paths(words)) and (not steps or at_a_step(case))
        after = f" after step {steps}" if steps else ""
        return Outcome("caught" if clear else "cryptic", short(words) + after)
    seen = Seen(**told["seen"])
    return judged(case, setup, replace(seen, again=runs[-1][0]["seen"]["digest"]), printed)


def trl_run(case: Case, setup: Setup, folder: Path, number: int) -> tuple[dict[str, object] | object, str]:
    assert case.trl is not None
    result = folder / f"trl-{number}.json"
    asked = {
        "base": str(setup.base), "data": str(setup.data), "out": str(folder / f"trl-{number}"),
        "result": str(result), "arguments": dict(case.trl), "more": sorted(case.more),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "faults_trl.py"), json.dumps(asked)],
        env=os.environ | {"HF_DATASETS_CACHE": str(folder / f"cache-{number}"), "HF_DATASETS_OFFLINE": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if not result.exists():  # killed, or sys.exit
        return {"error": done.stderr.strip().splitlines()[-1], "steps": 0}, ""
    return json.loads(result.read_text()), done.stdout + done.stderr


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def as_text(setup: Setup) -> str:
    return json.dumps(asdict(setup), default=str)


def made_again(text: str) -> Setup:
    told = json.loads(text)
    paths = {key: Path(told[key]) if told[key] else None for key in ("base", "data", "site")}
    return Setup(tuple(told["words"]), texts=tuple(told["texts"]), **paths)  # type: ignore[arg-type]


def folder_in(parent: Path, name: str) -> Path:
    folder = parent / name.replace(" ", "-")
    folder.mkdir()
    return folder


def version_of(name: str) -> str:
    import lftreg

    return lftreg.__version__ if name == "lftreg" else importlib.metadata.version(name)


if __name__ == "__main__":
    main()
