"""`lftreg`: the table of its commands, and the one place where errors end.

Nothing here imports a command, a database or a model; `lftreg --help` costs little more than click.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from lftreg import __version__
from lftreg.cli.command import Common
from lftreg.cli.context import Context
from lftreg.cli.lazy import LazyGroup, Stub
from lftreg.errors import INTERNAL_BUG, INTERRUPTED, STORAGE_CODES, LftregError, StorageError, UsageError
from lftreg.scrub import scrub

COMPLETE = "_LFTREG_COMPLETE"
BROKEN_PIPE = 141  # what a shell reports for a program that a closed pipe ended


def _stub(name: str, section: str, help: str, module: str = "") -> Stub:
    return Stub(name, f"lftreg.cli.commands.{module or name}:command", section, help)


STUBS = (
    _stub("train", "Make", "Train an adapter on a domain or on your own data."),
    _stub("sweep", "Make", "Search training settings, and register what holds up."),
    _stub("compose", "Make", "Mix adapters of one base into a new one."),
    _stub("eval", "Make", "Measure adapters against their base, with intervals."),
    _stub("data", "Make", "Check your own data before training on it."),
    _stub("advise", "Plan", "Fine-tune, retrieve, both or neither: advice with reasons."),
    _stub("compare", "Plan", "Measure fine-tuning against retrieval on your own questions."),
    _stub("cost", "Plan", "What training and answering cost, before and after."),
    _stub("generate", "Use", "Answer prompts with an adapter, or with several side by side."),
    _stub("chat", "Use", "Talk with an adapter."),
    _stub("serve", "Use", "Answer over HTTP with every adapter of a base."),
    _stub("list", "Find", "List adapters, the newest first."),
    _stub("show", "Find", "Show everything known about a version."),
    _stub("diff", "Find", "Show what changed from one version to another."),
    _stub("runs", "Find", "List training runs: running, interrupted, failed, done."),
    _stub("search", "Find", "Find versions by words, conditions and figures."),
    _stub("leaderboard", "Find", "Rank what was evaluated, as far as it can be told apart."),
    _stub("lineage", "Find", "Show what a version was made from."),
    _stub("log", "Find", "Show who did what to which adapter, and when."),
    _stub("domains", "Find", "List the domains that adapters can be trained on."),
    _stub("targets", "Find", "List the model families and their presets of target modules."),
    _stub("methods", "Find", "List the ways to compose adapters, or explain one."),
    _stub("metrics", "Find", "List the ways to score answers, or explain one."),
    _stub("tag", "Label", "Show, set or remove the tags of a version."),
    _stub("alias", "Label", "Name a version, such as prod, and move the name later."),
    _stub("verify", "Keep", "Check stored files and scores against their digests."),
    _stub("rm", "Keep", "Remove a version, or all of an adapter's."),
    _stub("restore", "Keep", "Bring back what rm removed."),
    _stub("gc", "Keep", "Delete what nobody needs: the bin, stray files, dead runs."),
    _stub("stats", "Keep", "Show how much is stored, and how much is shared."),
    _stub("push", "Share", "Send an adapter to the Hub, or to a folder."),
    _stub("pull", "Share", "Take in an adapter from the Hub, or from a folder."),
    _stub("export", "Share", "Write an adapter for others to use."),
    _stub("import", "Share", "Take in an adapter from a PEFT folder, or from a bundle.", "import_"),
    _stub("bases", "House", "List the base models that adapters were made for."),
    _stub("keys", "House", "Let others ask your server, and say what they may."),
    _stub("db", "House", "Look after the registry's database."),
    _stub("config", "House", "Show and change settings."),
    _stub("plugins", "House", "List plugins, enable and check them, and begin a new one."),
    _stub("doctor", "House", "Check this installation, or diagnose a training run."),
    _stub("completion", "House", "Print the completion script of a shell."),
)

# What other tools call our commands.
HABITS = {
    "ls": "list",
    "info": "show",
    "inspect": "show",
    "find": "search",
    "merge": "compose",
    "mix": "compose",
    "remove": "rm",
    "delete": "rm",
    "run": "generate",
    "ask": "generate",
    "finetune": "train",
    "fit": "train",
    "tune": "sweep",
    "optimize": "sweep",
    "check": "verify",
    "prune": "gc",
    "clean": "gc",
    "du": "stats",
    "history": "log",
    "audit": "log",
    "jobs": "runs",
    "resume": "train",
    "evaluate": "eval",
    "score": "eval",
    "rank": "leaderboard",
    "add": "import",
    "upload": "push",
    "publish": "push",
    "share": "push",
    "download": "pull",
    "fetch": "pull",
    "advice": "advise",
    "recommend": "advise",
    "estimate": "cost",
    "price": "cost",
}


def _silence_libraries() -> None:
    """What libraries warn each other of is noise to whoever typed a command; -W brings it back."""
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")


@click.pass_context
def _without_command(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        if ctx.obj.given.get("json"):
            raise UsageError("which command?", "`lftreg --help` lists them")
        ctx.obj.out.raw(ctx.get_help() + "\n")


def _print_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj.out.raw(f"lftreg {__version__}\n")
        ctx.exit()


cli = LazyGroup(
    STUBS,
    HABITS,
    name="lftreg",
    help="Keep, make, mix and share LoRA adapters.",
    invoke_without_command=True,
    callback=_without_command,
    params=[
        Common(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Show the version and exit.",
            callback=_print_version,
        )
    ],
)

# Where the disk or its permissions are to blame, wherever it surfaces.
_STORAGE = {
    errno.ENOSPC: "free some space, or choose another folder with --home",
    errno.EDQUOT: "free some space, or choose another folder with --home",
    errno.EROFS: "choose a folder that can be written with --home",
    errno.EACCES: "check the permissions, or choose another folder with --home",
    errno.EPERM: "check the permissions, or choose another folder with --home",
    errno.ENOTDIR: "a file is in the way; choose another folder with --home",
    errno.EIO: "the disk reports an error; check it before you go on",
}


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    code = _run(sys.argv[1:])
    gc.freeze()  # the process ends here: collecting all of its modules costs a fifth of `lftreg list`
    return code


def _run(words: Sequence[str]) -> int:
    _open_closed_streams()
    if "LFTREG_LAUNCHED" in os.environ:
        _follow()
    _silence_libraries()
    if COMPLETE in os.environ:
        from lftreg.cli.complete import answer

        return answer(cli, os.environ[COMPLETE])
    context = Context(json="--json" in (words[: words.index("--")] if "--" in words else words))
    try:
        status = _invoke(context, words)
        context.out.finish()
        return status
    except BrokenPipeError:
        return _hang_up()
    except (KeyboardInterrupt, EOFError, Exception) as error:  # noqa: BLE001 the one place that catches all
        return _fail(context, error)


def _invoke(context: Context, words: Sequence[str]) -> int:
    try:
        with cli.make_context("lftreg", list(words), obj=context) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code
    finally:
        context.close()
    return 0


def _fail(context: Context, error: BaseException) -> int:
    """Tell of an error in the form that was asked for, and return its exit code."""
    told = _as_ours(context, error)
    if told.told:
        return told.exit_code
    if "LFTREG_LAUNCHED" in os.environ:
        _let_speak()
    try:
        if told.exit_code == INTERRUPTED and sys.stderr.isatty():
            sys.stderr.write("\n")  # ends the line with the terminal's ^C
        if context.given.get("verbose") and not context.given.get("json"):
            import traceback

            sys.stderr.write(scrub("".join(traceback.format_exception(error))))
        context.out.error(told)
        context.out.flush()
    except OSError:
        _hang_up()
    return told.exit_code


def _as_ours(context: Context, error: BaseException) -> LftregError:
    """Any exception as one of ours."""
    if isinstance(error, LftregError):
        return error
    if isinstance(error, KeyboardInterrupt | EOFError | click.Abort):
        return _numbered(LftregError("interrupted", code="interrupted"), INTERRUPTED)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "lftreg"
        return UsageError(error.format_message(), f"`{path} --help` explains it")
    if isinstance(error, click.ClickException):
        return LftregError(error.format_message())
    if isinstance(error, OSError) and error.errno in _STORAGE:
        where = f"{error.filename}: " if error.filename else ""
        code = STORAGE_CODES.get(error.errno)
        return StorageError(f"{where}{error.strerror}", _STORAGE[error.errno], code=code)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UsageError(
            f"{str(error.filename)[:80]!r}... is too long a name", "give a shorter one", code="name-too-long"
        )
    return _numbered(
        LftregError(
            scrub(f"lftreg has a bug: {type(error).__name__}: {error}"),
            f"please report it with {_save_traceback(context, error)}",
            code="bug",
        ),
        INTERNAL_BUG,
    )


def _numbered(error: LftregError, exit_code: int) -> LftregError:
    error.exit_code = exit_code
    return error


def _save_traceback(context: Context, error: BaseException) -> Path:
    """Write the traceback to the home's logs, or to the temporary folder where that fails."""
    import tempfile
    import time
    import traceback

    text = f"lftreg {__version__}, Python {sys.version}\n$ lftreg {' '.join(sys.argv[1:])}\n\n"
    text = scrub(text + "".join(traceback.format_exception(error)))
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        folder = context.logs
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except Exception:  # noqa: BLE001 the bug may be in what finds the home
        folder = Path(tempfile.mkdtemp(prefix="lftreg-"))
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder / name


def _hang_up() -> int:
    """Whoever read our output is gone: say nothing more, not even at Python's own exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    return BROKEN_PIPE


def _follow() -> None:
    """Of several processes that run one command, the first one speaks."""
    from lftreg.cli.launching import follows

    if follows():
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _let_speak() -> None:
    """A process that fails has the others ended: the one that speaks for all may be about to say the same."""
    from lftreg.cli.launching import follows

    if follows():
        import time

        time.sleep(5)


def _open_closed_streams() -> None:
    """Give streams that were closed by the caller somewhere to go, and names any encoding."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 for the process's life
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
