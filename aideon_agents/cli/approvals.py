"""`aideon runs approve` and `decline`: answer what a run waits for, and resume the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.asking import declined
from aideon_agents.cli.execution import execute, load
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.ledger.rows import Run
    from aideon_agents.settings import Settings
    from aideon_agents.tasks.target import Target

Ref = Annotated[
    str, typer.Argument(metavar="RUN", help="A run id, a unique beginning of one, or `last`.")
]
_Node = Annotated[
    str, typer.Argument(metavar="[NODE]", help="The node whose result it is, if there are several.")
]
Feedback = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What to change: the node is run again.")
]


def approve(
    context: typer.Context,
    run: Ref,
    node: _Node = "",
    edit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Approve the content of this file instead; - for stdin."),
    ] = None,
    stream: options.Stream = False,
    as_json: options.AsJson = False,
) -> int:
    """Approve a result that a run waits with, and resume the run."""
    answer: dict[str, Any] = {"approved": True}
    if edit is not None:
        text = options.text_in(None if str(edit) == "-" else edit)
        answer["content"] = text.rstrip("\n")
    return _answer(run, node, answer, context, stream=stream, as_json=as_json)


def decline(
    context: typer.Context,
    run: Ref,
    node: _Node = "",
    feedback: Feedback = None,
    stream: options.Stream = False,
    as_json: options.AsJson = False,
) -> int:
    """Decline a result that a run waits with, and resume the run. Without feedback the run ends."""
    return _answer(run, node, declined(feedback), context, stream=stream, as_json=as_json)


def _answer(
    run: str,
    node: str,
    answer: dict[str, Any],
    context: typer.Context,
    *,
    stream: bool,
    as_json: bool,
) -> int:
    with options.ledger() as ledger:
        found = ledger.find_run(run)
    one = _chosen(found, questions_of(found), node)
    given = {one["id"]: fitted(one, answer, found.run_id)}
    return resume_run(found, given, context, stream=stream, as_json=as_json)


def questions_of(found: Run) -> Sequence[Mapping[str, Any]]:
    """What a run waits with."""
    from aideon_agents.runner import recall

    with options.ledger() as ledger:
        return recall(ledger, found).questions


def _chosen(found: Run, asked: Sequence[Mapping[str, Any]], node: str) -> Mapping[str, Any]:
    """The question about a node's result; without a name, the only one."""
    if found.status != "waiting" or not asked:
        raise InputError(f"run {found.run_id} is {found.status} and waits for no approval")
    paths = {_path(one): one for one in asked}
    names = ", ".join(paths)
    if not node:
        if len(asked) > 1:
            raise InputError(
                f"run {found.run_id} waits for {len(asked)} answers: name one: {names}"
            )
        return asked[0]
    if node in paths:
        return paths[node]
    ending = [one for path, one in paths.items() if path.rpartition("/")[2] == node]
    if len(ending) != 1:
        raise InputError(f"run {found.run_id} does not ask about {node!r}, but about {names}")
    return ending[0]


def _path(one: Mapping[str, Any]) -> str:
    """The node whose result a question is about; of another question, the node that asks."""
    asked = one["question"]
    about = cast("dict[str, Any]", asked).get("node_path") if isinstance(asked, dict) else None
    return about if isinstance(about, str) else str(one["node_path"])


def fitted(one: Mapping[str, Any], answer: dict[str, Any], run_id: str) -> Any:
    """The approval as the question takes it; a plain yes-no question takes nothing else."""
    from aideon_agents.runner.resume_state import answer_to, is_approval, is_yes_or_no

    question, schema = one["question"], one["schema"]
    if is_approval(schema):
        return answer
    if len(answer) > 1 or not is_yes_or_no(question, schema):
        raise InputError(
            f"{_path(one)} asks for another answer: see `aideon runs show {run_id}`, and give it "
            f"with `aideon runs resume {run_id} --answer ANSWER`"
        )
    return answer_to("yes" if answer["approved"] else "no", question, schema)


def resume_run(
    found: Run,
    answer: object,
    context: typer.Context,
    *,
    budget: str | None = None,
    stream: bool,
    as_json: bool,
) -> int:
    """Resume a run with an answer, print its result, and return the exit code."""
    from aideon_agents import runner

    settings = options.settings()
    runner.refuse_unless_resumable(found)
    target = target_of(found, settings)
    running = runner.prepare_resume(
        target.graph, found.run_id, answer=answer, budget=budget, stream=stream, settings=settings
    )
    note_if_changed(found, target)
    return execute(
        running,
        settings,
        why="as before" if found.rehearsed else None,
        stream=stream,
        as_json=as_json,
        debug=bool(context.obj),
    )


def target_of(found: Run, settings: Settings) -> Target:
    """The current version of the workflow that a run began with."""
    if found.target is None:
        raise InputError(
            f"run {found.run_id} was started in Python without an address: resume it in Python "
            f'with aideon_agents.resume(graph, "{found.run_id}")'
        )
    before = found.options or {}
    return load(found.target, settings, before.get("model", {}), before)


def note_if_changed(found: Run, target: Target) -> None:
    """Print that a run continues with another version of its workflow."""
    if found.target_hash not in (None, target.content_hash):
        output.note(
            f"{target.path} has changed since the run began; its nodes and edges are the same, "
            "so the run continues with the new version"
        )
