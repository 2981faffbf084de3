"""A run on its way at the command line: interruptible, shown, and ended with its exit code."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from aideon_agents.cli import output, questions
from aideon_agents.cli.interrupting import interruptible
from aideon_agents.cli.quiet import tell_ledger_errors_once
from aideon_agents.cli.result import show
from aideon_agents.cli.watching import Watching
from aideon_agents.cli.words import rehearsing
from aideon_agents.errors import BudgetExceeded, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aideon_agents.ledger.reports import Cost
    from aideon_agents.runner import RunResult
    from aideon_agents.runner.running import Running
    from aideon_agents.settings import Settings
    from aideon_agents.tasks.target import Target

_EXIT = {"completed": 0, "failed": 1, "stopped": 3, "waiting": 4, "cancelled": 130}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Showing:
    """How a run is shown."""

    why: str | None
    """Why answers are worked out by rule; None: they are not."""
    watched: bool
    as_json: bool
    debug: bool
    estimate: Callable[[], Cost] | None = None
    """What a rehearsal says the run costs at most; None: nobody asked."""

    def beginning(self) -> None:
        """Say at once what a watcher has to know."""
        if self.watched:
            self._rehearsing()

    def end(self, result: RunResult) -> int:
        """Print what came of it, and say what the exit code is."""
        if not self.watched:
            self._rehearsing()
        if self.as_json:
            from aideon_agents.runner import document  # noqa: PLC0415 - help must not wait

            output.document(document(result))
        else:
            show(result)
        if self.estimate and result.status == "completed":
            least, most = result.cost, self.estimate()
            output.note(
                f"estimate: {output.money(least.usd, complete=least.complete)} as rehearsed, "
                f"at most {output.money(most.usd if most.complete else None)} "
                "(every round, every max_tokens; the same routes, no retries)"
            )
        if self.debug and result.exception:
            output.trace(result.exception)
        if result.status == "cancelled":
            output.complain(
                f"interrupted: run {result.run_id} is cancelled; "
                f"`aideon runs show {result.run_id}` shows its calls"
            )
        elif result.error or result.status == "stopped":
            output.complain(result.error or str(result.exception))
        if not self.as_json:  # a program knows from the document
            _tell_what_now(result)
        return _EXIT[result.status]

    def _rehearsing(self) -> None:
        if self.why:
            output.note(rehearsing(self.why))


def load(address: str, settings: Settings, chosen: Collection[str]) -> Target:
    """Find the workflow of a run.

    Args:
        address: As `tasks.load` takes it.
        settings: Say which models are known.
        chosen: Roles whose models the run replaces: a task file's are not checked then.

    Returns:
        The workflow.

    Raises:
        UserError: There is none, its file does not give a graph, or it names an unknown model.
    """
    from aideon_agents import tasks  # noqa: PLC0415 - help must not wait
    from aideon_agents.models import catalog  # noqa: PLC0415 - as above

    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in chosen:
            known.checked(name)

    tell_ledger_errors_once()
    with redirect_stdout(sys.stderr):  # what a workflow prints is no result
        return tasks.load(address, check_model=check)


def carry_out(running: Running, showing: Showing) -> int:
    """Run a workflow to its end, print what came of it, and say what the exit code is.

    Args:
        running: The run, about to begin or to go on.
        showing: How it is shown.

    Returns:
        The exit code.

    Raises:
        UserError: The caller's mistake; nothing was called.
        RunError: A node wanted to end this process.
    """
    showing.beginning()
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        interruption.ends(running.interrupt, on_loop.get_loop())
        try:
            with redirect_stdout(sys.stderr):
                result = on_loop.run(running.to_end(Watching() if showing.watched else None))
        except SystemExit as left:  # it would end this process with the node's code, 0 even
            raise RunError(
                f"a node of {running.start.target} called sys.exit({left.code}): let it raise"
            ) from left
        return showing.end(result)


def _tell_what_now(result: RunResult) -> None:
    if result.status == "waiting":
        questions.show(result.questions, result.run_id, output.note)
    elif (how := _how_to_go_on(result)) is not None:
        output.note(f"go on with: {how}")


def _how_to_go_on(result: RunResult) -> str | None:
    """The command that goes on with a run; None: nothing is left to do, or nothing can be."""
    if result.status == "completed" or result.stop_reason == "declined":
        return None
    command = f"aideon runs resume {result.run_id}"
    if not isinstance(result.exception, BudgetExceeded):
        return command
    if result.exception.scope == "run":
        return f"{command} --budget MORE"
    return f"{command}  (after: aideon budget set {result.exception.scope} MORE)"
