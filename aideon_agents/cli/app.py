"""The command `aideon`: its subcommands, its exit codes, and its one-line errors.

Each command imports what it needs when it runs, because LangChain takes a second to import and
`--help` must answer at once.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import typer
from typer.exceptions import TyperException

from aideon_agents.cli import (
    artifacts,
    audit,
    backup,
    batch,
    batches,
    budget,
    cache,
    costs,
    doctor,
    flags,
    graph,
    keys,
    media,
    models,
    models_choose,
    models_learn,
    models_status,
    new,
    provider_keys,
    quotas,
    run,
    runs,
    serve,
    simulate,
    users,
)
from aideon_agents.cli.options import DONE, FAILED, INTERRUPTED, MISTAKE, STOPPED
from aideon_agents.cli.output import complain, finish, prepare, trace
from aideon_agents.errors import LimitError, RunError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="aideon",
    help="Compose agent workflows, run them, and see what every node cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Add --debug to any command to see the traceback of an error.",
)
app.command("run")(run.run)
app.add_typer(runs.app, name="runs")
app.command("batch")(batch.batch)
app.add_typer(batches.app, name="batches")
app.command("worker")(batch.worker)
app.command("image")(media.image)
app.command("speak")(media.speak)
app.command("transcribe")(media.transcribe)
app.command("video")(media.video)
app.add_typer(artifacts.app, name="artifacts")
app.command("serve")(serve.serve)
app.command("graph")(graph.graph)
app.command("costs")(costs.costs)
app.add_typer(budget.app, name="budget")
models.app.command("learn")(models_learn.learn)
models.app.command("choose")(models_choose.choose)
models.app.command("status")(models_status.status)
app.add_typer(models.app, name="models")
app.add_typer(cache.app, name="cache")
app.command("schema")(new.schema)
app.command("new")(new.new)
app.command("simulate")(simulate.simulate)
app.command("workflows")(new.workflows)
app.add_typer(users.app, name="users")
keys.app.command("reseal")(provider_keys.reseal)
keys.app.add_typer(provider_keys.app, name="provider")
app.add_typer(keys.app, name="keys")
app.add_typer(quotas.app, name="quotas")
app.add_typer(flags.app, name="flags")
app.add_typer(audit.app, name="audit")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("doctor")(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    prepare()
    code = _command(arguments)
    return FAILED if finish() and code == DONE else code


def _command(arguments: Sequence[str] | None) -> int:
    typed = [_decoded(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    debug = "--debug" in typed
    try:
        # Typer's own `main` would hide interrupts and broken pipes from us.
        command = typer.main.get_command(app)
        words = [word for word in typed if word != "--debug"]
        with command.make_context("aideon", words, obj=debug) as context:  # commands read `obj`
            returned = command.invoke(context)
    except typer.Exit as left:
        return left.exit_code
    except SystemExit:  # rich exits when the reader of its help has closed the pipe
        return DONE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the user gets one line, whatever the error is
        if debug:
            trace(error)
        return _explain(error)
    return returned if isinstance(returned, int) else DONE


def _decoded(word: str) -> str:
    """A word in UTF-8 that Python could not decode, as in the locale C."""
    try:
        return word if word.isascii() else os.fsencode(word).decode("utf-8")
    except UnicodeError:
        return word


def _explain(error: Exception) -> int:
    """Print the error in one line and return the exit code."""
    if isinstance(error, TyperException):
        message = error.format_message()
        if message:  # empty when help was shown instead
            where = getattr(getattr(error, "ctx", None), "command_path", "aideon")
            plain = re.sub(r"Value error, |, unable to parse.*|\.$", "", message)
            plain = re.sub(r" \(Possible options: (.+)\)", r"; did you mean \1?", plain)
            complain(f"{plain} (see {where} --help)")
        return MISTAKE
    if isinstance(error, UserError):
        complain(str(error))
        return MISTAKE
    if isinstance(error, LimitError):
        complain(str(error))
        return STOPPED
    known = isinstance(error, RunError | OSError)
    complain(
        str(error)
        if known
        else f"{type(error).__name__}: {error} (add --debug to see the traceback)"
    )
    return FAILED
