"""`lftreg serve`"""

from __future__ import annotations

import logging
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.arguments import COUNT
from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.options import QUANTIZE, TRUST
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.serving.desk import Desk
    from lftreg.serving.server import Listening


ORIGIN = re.compile(r"https?://[^/\s]+")


@define(
    "serve",
    examples=(
        "lftreg serve",
        "lftreg serve --base Qwen/Qwen3-0.6B --port 8080 --rows 32 --slots 64",
        "lftreg keys add website && lftreg serve --host 0.0.0.0",
        "lftreg serve --selftest",
    ),
)
@click.option("--base", default="starter", show_default=True, help="The base; its adapters are served.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0: everywhere.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one."
)
@click.option(
    "--rows", type=COUNT, default=16, show_default=True, metavar="N", help="Answers that go on together."
)
@click.option(
    "--slots", type=COUNT, default=32, show_default=True, metavar="N", help="Adapters in memory at once."
)
@click.option(
    "--slot-rank",
    type=COUNT,
    default=16,
    show_default=True,
    metavar="N",
    help="Rank of a slot; what has more takes several.",
)
@click.option("--max-length", type=COUNT, metavar="N", help="Tokens of a prompt and its answer.")
@click.option(
    "--queue", type=COUNT, default=256, show_default=True, metavar="N", help="Requests that may wait."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Seconds that an answer may take.",
)
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds for answers to end, when stopped.",
)
@click.option("--adapter-per-minute", type=COUNT, metavar="N", help="Requests a minute for each adapter.")
@click.option("--adapter-concurrent", type=COUNT, metavar="N", help="Requests at once for each adapter.")
@click.option("--log-requests", is_flag=True, help="A line of JSON on stderr for each request.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Let pages of this origin ask; repeatable.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True
)
@click.option(
    "--selftest",
    type=COUNT,
    is_flag=False,
    flag_value=500,
    metavar="[N]",
    help="Ask N random requests (500), compare each answer with a model of its own, and end.",
)
@QUANTIZE
@TRUST
def command(
    context: Context,
    base: str,
    host: str,
    port: int,
    trust_remote_code: bool,
    selftest: int | None,
    **options: Any,
) -> None:
    """Answer over HTTP with every adapter of a base.

    Speaks as OpenAI's API does, with adapters as models: NAME, NAME@3, NAME@prod, or a sum such as
    support:0.7+finance:0.3. The first Ctrl-C lets answers end, a second one does not.
    """
    from lftreg.serving.extras import check_extras

    check_extras()
    for origin in options["cors"]:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise UsageError(
                f"--cors {origin!r} is no origin", "https://desk.example, without a path; * is any"
            )
    from lftreg.models.base import find_base
    from lftreg.serving.desk import Desk
    from lftreg.serving.server import listen, serve

    if selftest is not None:
        from lftreg.cli.selftesting import run_selftest

        found = find_base(base, context.registry, trust_code=trust_remote_code)
        run_selftest(context, found, _options(options), selftest)
        return
    listening = listen(host, port)
    if not listening.local and not context.registry.keys.any():
        listening.socket.close()
        raise UsageError(
            f"{host} can be reached from elsewhere, and there is no API key",
            "`lftreg keys add NAME` makes one; --host 127.0.0.1 needs none",
            code="needs-key",
        )
    found = find_base(base, context.registry, trust_code=trust_remote_code)
    if options["log_requests"]:
        _log_requests()
    desk = Desk(found, context.registry, _options(options), local=listening.local)
    context.out.note(f"loading {found.record.id}")
    serve(desk, listening, partial(_tell, context, desk, listening), partial(_tell_of_end, context, desk))
    context.out.note("stopped")


def _log_requests() -> None:
    """Bare lines, so that other programs can read them."""
    lines = logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("lftreg.requests")
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False


def _tell_of_end(context: Context, desk: Desk, count: int) -> None:
    """Who waits for the server to end knows what for, and how not to."""
    answers = f"{count} answer{'' if count == 1 else 's'}"
    context.out.note(f"waiting for {answers}, {desk.options.drain:g} s at most; Ctrl-C stops at once")


def _options(given: dict[str, Any]) -> Any:
    from lftreg.serving.desk import Options

    return Options(
        rows=given["rows"],
        slots=given["slots"],
        rank=given["slot_rank"],
        longest=given["max_length"],
        queue=given["queue"],
        timeout=given["timeout"],
        drain=given["drain"],
        dtype=given["dtype"],
        quantize=given["quantize"],
        origins=tuple(given["cors"]),
        per_minute=given["adapter_per_minute"],
        concurrent=given["adapter_concurrent"],
    )


def _tell(context: Context, desk: Desk, listening: Listening) -> None:
    """What is served, and where, once it is."""
    engine, record = desk.ready(), desk.base.record
    names = len({version.name for version in context.registry.listed(record.fingerprint)})
    keyed = context.registry.keys.any()
    document = {
        "url": listening.url,
        "host": listening.host,
        "port": listening.port,
        "pid": os.getpid(),
        "base": {"id": record.id, "fingerprint": f"sha256:{record.fingerprint}"},
        "adapters": names,
        "rows": desk.options.rows,
        "slots": desk.options.slots,
        "slot_rank": desk.options.rank,
        "max_length": engine.longest,
        "together": engine.batched,
        "keys": keyed,
    }

    def render(console: Console) -> None:
        what = f"{record.id} and {names} adapter{'' if names == 1 else 's'}"
        console.print(f"serving {what} at {listening.url}" + (", for those with a key" if keyed else ""))

    context.out.result(document, render)
    context.out.flush()
