"""Ask the person at a terminal what a run waits for: an approval, or any other answer."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WIDTH = 78
_INDENT = "  "
_SHOWN = 20
"""Lines of a result that are shown at once."""
_NOTHING = object()
"""The person gave no answer."""


def is_interactive() -> bool:
    """Whether a person can read and answer a question."""
    stdin: Any = sys.stdin  # None where the process was started without one
    return stdin is not None and stdin.isatty() and sys.stderr.isatty()


def ask(questions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The answers by the ids of their questions; None: the person gave none."""
    answers: dict[str, Any] = {}
    for one in questions:
        answer = ask_one(one["question"], one["schema"], str(one["node_path"]))
        if answer is _NOTHING:
            break
        answers[one["id"]] = answer
    return answers or None


def was_given(answer: object) -> bool:
    """Whether `ask_one` returned an answer."""
    return answer is not _NOTHING


def ask_one(question: Any, schema: Any, node_path: str) -> Any:
    """The answer to one question. See `was_given`: at the end of input there is none."""
    from aideon_agents.runner.resume_state import is_approval

    if is_approval(schema) and isinstance(question, dict):
        return _ask_approval(cast("dict[str, Any]", question))
    return _ask_other(question, schema, node_path)


def show_result(question: Mapping[str, Any], *, whole: bool = False) -> None:
    """Print what a person must agree to; only its beginning if it is long."""
    lines = str(question.get("result", "")).splitlines() or [""]
    shown = lines if whole else lines[:_SHOWN]
    output.note(f"{question.get('question')}\n")
    for line in shown:
        output.note(f"{_INDENT}{line}".rstrip())
    if len(shown) < len(lines):
        output.note(f"{_INDENT}({len(lines) - len(shown):,} more lines: v shows all)")
    output.note("")


def _ask_approval(question: Mapping[str, Any]) -> Any:
    show_result(question)
    while True:
        reply = _line("[y]es, [n]o, [e]dit, [v]iew: ")
        if reply is None:
            return _NOTHING
        word, _, rest = reply.strip().partition(" ")
        match word.rstrip(",.:;!").casefold():
            case "y" | "yes" if not rest:
                return {"approved": True}
            case "n" | "no":
                wanted = rest or _line("What should change? (empty: end the run) ")
                return _NOTHING if wanted is None else _declined(wanted)
            case "e" | "edit":
                if (content := edited(question)) is not None:
                    return {"approved": True, "content": content}
            case "v" | "view":
                show_result(question, whole=True)
            case _:
                output.note("answer with y, n, e or v; Ctrl-D leaves the question open")


def _declined(feedback: str) -> dict[str, Any]:
    wanted = feedback.strip()
    return {"approved": False, "feedback": wanted} if wanted else {"approved": False}


def _ask_other(question: Any, schema: Any, node_path: str) -> Any:
    from aideon_agents.runner.resume_state import answer_to, from_text, is_yes_or_no, misfit

    output.note(f"{node_path or 'a node'} asks:")
    for line in _lines(question):
        output.note(f"{_INDENT}{line}".rstrip())
    prompt = "[y]es, [n]o: " if is_yes_or_no(question, schema) else "answer: "
    while reply := (_line(prompt) or "").strip():
        try:
            answer = answer_to(from_text(reply), question, schema)
        except ValueError as error:
            output.note(f"this is no JSON: {error}")
            continue
        if (wrong := misfit(answer, schema)) is None:
            return answer
        output.note(f"this does not fit: {wrong}")
    return _NOTHING


def edited(question: Mapping[str, Any]) -> str | None:
    """The result as the person has changed it in their editor; None: they have not."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    editor = editor or shutil.which("nano") or shutil.which("vi")
    if not editor:
        output.note("there is no editor: set EDITOR, or answer later with --edit FILE")
        return None
    data = question.get("data")
    text = json.dumps(data, indent=2, ensure_ascii=False) if data else str(question["result"])
    to_terminal = None if sys.stdout.isatty() else sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"result.{'json' if data else 'md'}"
        file.write_text(text, encoding="utf-8")
        try:
            command = [*shlex.split(editor), str(file)]
            subprocess.run(command, check=True, stdout=to_terminal)  # noqa: S603 - the user's editor
            changed = file.read_text("utf-8")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            output.note(f"{editor} has not changed the result: {error}")
            return None
    if changed.rstrip("\n") == text.rstrip("\n"):
        output.note("nothing was changed")
        return None
    return changed if text.endswith("\n") else changed.rstrip("\n")


def _line(prompt: str) -> str | None:
    """A line that the person types; None: the end of input."""
    output.begin(prompt)
    typed = sys.stdin.readline()
    if not typed:
        output.note("")
        return None
    return typed.removesuffix("\n")


def show_questions(
    questions: Sequence[Mapping[str, Any]], run_id: str, write: Callable[[str], None]
) -> None:
    """Print the questions of a run; without questions it is at a breakpoint."""
    from aideon_agents.runner.resume_state import is_approval

    command = f"aideon runs resume {run_id}"
    if not questions:
        write(f"the run is at a breakpoint; continue with: {command}")
        return
    for one in questions:
        which = f" ({one['id']})" if len(questions) > 1 else ""
        write(f"{output.printable(one['node_path']) or 'a node'} asks{which}:")
        for line in _lines(one["question"]):
            write(f"{_INDENT}{line}".rstrip())
    if all(is_approval(one["schema"]) for one in questions):
        node = " NODE" if len(questions) > 1 else ""
        write(
            f"approve with: aideon runs approve {run_id}{node}, or: aideon runs decline "
            f"{run_id}{node} --feedback TEXT"
        )
    write(f"answer with: {command} --answer {shlex.quote(_example(questions))}")


def _lines(question: Any) -> Iterator[str]:
    """Format a question: text as it is, an object by its keys, other values as JSON."""
    if isinstance(question, str):
        for line in output.printable(question).splitlines():
            yield from textwrap.wrap(line, _WIDTH - len(_INDENT)) or [""]
        return
    if not isinstance(question, Mapping):
        yield from _lines(json.dumps(question, ensure_ascii=False))
        return
    for key, value in cast("Mapping[str, Any]", question).items():
        inside = list(_lines(value))
        if len(inside) == 1 and len(key) + len(inside[0]) < _WIDTH - 2 * len(_INDENT):
            yield f"{output.printable(key)}: {inside[0]}"
        else:
            yield f"{output.printable(key)}:"
            yield from (f"{_INDENT}{line}" for line in inside)


def _example(questions: Sequence[Mapping[str, Any]]) -> str:
    """An answer that fits the questions, for the user to change."""
    answers = {one["id"]: _fitting(one["schema"]) for one in questions}
    answer = answers if len(answers) > 1 else next(iter(answers.values()))
    return json.dumps(answer, ensure_ascii=False)


def _fitting(schema: Any) -> Any:
    from aideon_agents.models.answers.instance import instance

    if not isinstance(schema, dict):
        return "..."
    try:
        return instance(cast("dict[str, Any]", schema), "...")
    except Exception:  # noqa: BLE001 - any schema of a user may be here, and this is only an example
        return {}
