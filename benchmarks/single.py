"""How fast one adapter trains, beside the tools of the field, on one GPU.

    python benchmarks/single.py [--only a,b,f] [--shape 1b] [--seconds 10] [--results FILE.jsonl] [--unsloth FOLDER]
    python benchmarks/single.py --only f --shape 8b                              # a larger base, by lftreg alone
    python benchmarks/single.py --only f --shape 8b --quantize nf4 --rows 2 --tokens 2048     # the peak of QLoRA
    python benchmarks/single.py --table FILE.jsonl                               # what was measured before
    python benchmarks/single.py --shape tiny --seconds 1                         # a rehearsal, on any machine

Every contestant trains one adapter in a process of its own, on the same rows of random ids (24 to 1,024 tokens, 164 on
average) in the same order, over the same base of random numbers, and learns every token. A line of JSON is kept for
each as soon as it ends; one that fails or hangs is told, and ends no other. Told are

    tokens a second once it is warm, of rows' own tokens, without what a tool fills up with
    their share of the rate of a matrix product in the same process, at 4 N operations a token: what an adapter on a
    frozen base of N numbers takes
    the peak of memory, and the loss over the first tokens, which has to be lftreg's to within 1 %

The contestants are

    a  Trainer of transformers as tutorials show it: 4 rows filled up, factors for queries and values alone
    b  TRL's SFTTrainer as it is, 8 rows filled up        c  TRL, packed by cutting (rows see their neighbours)
    d  c with Liger's kernels                              e  unsloth, packed as c
    f  lftreg                                              g  TRL, packed with rows kept apart, by scaled_dot_product
    h  g by flex_attention, where it is asked for          i  f, a step in three passes: less memory
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from single_inside import CONTESTANTS
from single_watch import Asked
from training_bases import SHAPES

CLOSE = 0.01  # of a loss
COMPARED = 2  # steps of ours whose tokens losses are compared over
ORDER = "fidcebagh"  # what matters most comes first, should the machine be taken away


def run(letter: str, asked: Asked, given: argparse.Namespace, left: float) -> dict[str, Any]:
    """What a contestant tells within so many seconds, or how it failed."""
    told: dict[str, Any] = {"contestant": letter, "name": CONTESTANTS[letter][0], "asked": vars(asked)}
    if left <= 0:
        return told | {"error": "left out: the deadline is over"}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "result.json", Path(folder) / "log"
        command = [sys.executable, str(Path(__file__).with_name("single_inside.py")), letter]
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*command, json.dumps(vars(asked)), str(result)], stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, env=environment(letter, given), start_new_session=True,
            )  # fmt: skip
            try:
                code: int | str = child.wait(min(given.timeout, left))
            except subprocess.TimeoutExpired:
                code = f"a kill, after {min(given.timeout, left):.0f} s"
            finally:
                end(child)
        told |= read(result)
        if code != 0:
            told.setdefault("error", f"ended with {code}")
            told["log"] = log.read_text(errors="replace")[-3000:]
    told["wall_seconds"] = time.perf_counter() - began
    return told


def read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):  # it was killed before it could write
        return {}
    return found


def end(child: subprocess.Popen[bytes]) -> None:
    """The process and whatever it started."""
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def environment(letter: str, given: argparse.Namespace) -> dict[str, str]:
    """Offline; with unsloth's own versions of what it needs before the others, for it alone."""
    env = dict(os.environ) | {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "disabled",
    }
    source = str(Path(__file__).resolve().parents[1] / "src")
    paths = [str(given.unsloth.resolve())] if letter == "e" and given.unsloth else []
    env["PYTHONPATH"] = os.pathsep.join([*paths, source, *filter(None, [env.get("PYTHONPATH")])])
    return env


def loss_over(told: dict[str, Any], tokens: int) -> tuple[float, int]:
    """The mean loss over the first steps that have so many tokens together, and how many they have."""
    total, count = 0.0, 0
    for loss, size in told["losses"]:
        total, count = total + loss * size, count + size
        if count >= tokens:
            break
    return total / count, count


def share(told: dict[str, Any]) -> float:
    """Of the matrix rate."""
    return float(4 * told["parameters"] * told["tokens_a_second"] / told["matrix_rate"])


def listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def table(results: list[dict[str, Any]], asked: Asked) -> None:
    whole = [told for told in results if "tokens_a_second" in told]
    mine = next((told for told in whole if told["contestant"] == "f"), None)
    compared = COMPARED * asked.tokens_a_step
    if whole:
        names = listed(whole[0]["versions"])
        rate = statistics.median(told["matrix_rate"] for told in whole)
        print(f"\n{whole[0]['machine']}; {names}\nbase {asked.shape} of {whole[0]['parameters']:,} numbers"
              f"{', ' + asked.quantize if asked.quantize else ''}, rank {asked.rank}; "
              f"a matrix product: {rate / 1e12:,.1f} TFLOP/s")  # fmt: skip
        for told in whole[1:]:
            other = dict(told["versions"].items() - whole[0]["versions"].items())
            if other:
                print(f"{told['contestant']} has {listed(other)}")
    print(
        f"\n{'':42} {'tokens/s':>9} {'of rate':>8} {'lftreg':>8} {'GiB':>6} {'loss':>8} {'':>9} {'attention':>10}"
    )
    for told in sorted(results, key=lambda one: -one.get("tokens_a_second", 0.0)):
        line = f"{told['contestant']}  {told['name']:39} "
        if "tokens_a_second" not in told:
            print(f"{line}{told['error']}")
            continue
        loss, count = loss_over(told, compared)
        ahead, gate = "", ""
        if mine is not None:
            ahead = f"{mine['tokens_a_second'] / told['tokens_a_second']:.2f} x"
            off = loss / loss_over(mine, compared)[0] - 1
            gate = (
                f"{off:+.2%}" + ("" if abs(off) <= CLOSE else " OFF") + ("" if count >= compared else " few")
            )
        print(f"{line}{told['tokens_a_second']:>9,.0f} {share(told):>8.1%} {ahead:>8} {told['peak_gib']:>6.1f} "
              f"{loss:>8.4f} {gate:>9} {told['attention']:>10}")  # fmt: skip
        if told.get("shrunk"):
            print(
                f"   memory ran out: {told['shrunk']} (rows at once, whether activations are computed again)"
            )
        if told["slowest_step"] > 3 * told["median_step"]:
            print(
                f"   its slowest step took {told['slowest_step']:.2f} s, the median {told['median_step']:.2f} s"
            )
    print("\nlftreg: how many times as many tokens a second lftreg learns. Loss: over the first "
          f"{compared:,} tokens, and its distance from lftreg's.")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=None, help="letters, with or without commas; a to g, or f where the base is not 1b"
    )
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--quantize", choices=["nf4"], help="of lftreg's base alone")
    parser.add_argument("--rows", type=int, help="lines of a step")
    parser.add_argument("--tokens", type=int, help="of every row, instead of 24 to 1,024")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured, of each")
    parser.add_argument("--warm-steps", type=int, default=5)
    parser.add_argument("--warm-seconds", type=float, default=3.0)
    parser.add_argument("--timeout", type=float, default=150.0, help="of each, all counted")
    parser.add_argument("--deadline", type=float, default=480.0, help="seconds of all together")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="of what was measured before")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "single.jsonl")
    parser.add_argument("--unsloth", type=Path, help="a folder with unsloth and the versions that it needs")
    given = parser.parse_args()
    if given.table:
        kept_lines = [json.loads(line) for line in given.table.read_text(encoding="utf-8").splitlines()]
        last = {told["contestant"]: told for told in kept_lines}
        table(list(last.values()), Asked(**kept_lines[-1]["asked"]))
        return
    small = given.shape == "tiny"
    asked = Asked(
        shape=given.shape, rank=given.rank, quantize=given.quantize, seconds=given.seconds,
        warm_steps=given.warm_steps, warm_seconds=given.warm_seconds, rows=200 if small else 4000,
        lines=given.rows or (2 if small else 8), length=given.tokens or (256 if small else 1024),
        even=given.tokens is not None,
    )  # fmt: skip
    whole = given.shape in ("tiny", "1b") and given.quantize is None
    letters = (given.only or ("abcdefg" if whole else "f")).replace(",", "")
    if unknown := set(letters) - set(CONTESTANTS):
        parser.error(f"no contestant {', '.join(sorted(unknown))}")
    given.results.parent.mkdir(parents=True, exist_ok=True)
    results, began = [], time.perf_counter()
    for letter in sorted(set(letters), key=ORDER.index):
        told = run(letter, asked, given, given.deadline - (time.perf_counter() - began))
        results.append(told)
        with given.results.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(told) + "\n")
        found = told.get("error") or f"{told['tokens_a_second']:,.0f} tokens/s, {told['peak_gib']:.1f} GiB"
        print(f"{letter}  {told['name']}: {found} ({told.get('wall_seconds', 0):.0f} s in all)", flush=True)
        if "error" in told:
            print("\n".join((told.get("traceback") or told.get("log", "")).splitlines()[-12:]), flush=True)
    table(results, asked)


if __name__ == "__main__":
    main()
