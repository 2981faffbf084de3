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
NOTHING = object()
"""The person gave no answer: the input has ended."""
SKIPPED = object()
"""The person leaves this question open."""
ALL = object()
"""The person agrees to this and to everything that follows."""
_MORE = ", [s]kip, [a]ll"
_SKIP, _EVERY = ("s", "skip"), ("a", "all")


def is_interactive() -> bool:
    """Whether a person can read and answer a question."""
    stdin: Any = sys.stdin  # None where the process was started without one
    return stdin is not None and stdin.isatty() and sys.stderr.isatty()


def ask(questions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The answers by the ids of their questions; None: the person gave none."""
    answers: dict[str, Any] = {}
    for one in questions:
        answer = ask_one(one["question"], one["schema"], str(one["node_path"]))
        if answer is NOTHING:
            break
        answers[one["id"]] = answer
    return answers or None


def ask_one(question: Any, schema: Any, node_path: str, *, of_many: bool = False) -> Any:
    """The answer to one question, or NOTHING. `of_many`: SKIPPED and ALL are offered as well."""
    from aideon_agents.runner.resume_state import is_approval

    if is_approval(schema) and isinstance(question, dict):
        return _ask_approval(cast("dict[str, Any]", question), of_many=of_many)
    return _ask_other(question, schema, node_path, of_many=of_many)


def show_result(question: Mapping[str, Any], *, whole: bool = False) -> None:
    """Print what a person must agree to; only its beginning if it is long."""
    found = str(question.get("result", "")).splitlines() or [""]
    shown = found if whole else found[:_SHOWN]
    output.note(f"{question.get('question')}\n")
    for text in shown:
        output.note(f"{_INDENT}{text}".rstrip())
    if len(shown) < len(found):
        output.note(f"{_INDENT}({len(found) - len(shown):,} more lines: v shows all)")
    output.note("")


def _ask_approval(question: Mapping[str, Any], *, of_many: bool) -> Any:
    show_result(question)
    while True:
        reply = line(f"[y]es, [n]o, [e]dit, [v]iew{_MORE if of_many else ''}: ")
        if reply is None:
            return NOTHING
        word, _, rest = reply.strip().partition(" ")
        match word.rstrip(",.:;!").casefold():
            case "y" | "yes" if not rest:
                return {"approved": True}
            case "n" | "no":
                wanted = rest or line("What should change? (empty: end the run) ")
                return NOTHING if wanted is None else declined(wanted)
            case "e" | "edit":
                if (content := edited(question)) is not None:
                    return {"approved": True, "content": content}
            case "v" | "view":
                show_result(question, whole=True)
            case short if of_many and short in _SKIP:
                return SKIPPED
            case short if of_many and short in _EVERY:
                return ALL
            case _:
                also = ", s, a" if of_many else ""
                output.note(f"answer with y, n, e or v{also}; Ctrl-D leaves the question open")


def declined(feedback: str | None) -> dict[str, Any]:
    """The answer of a person who declines."""
    wanted = (feedback or "").strip()
    return {"approved": False, "feedback": wanted} if wanted else {"approved": False}


def _ask_other(question: Any, schema: Any, node_path: str, *, of_many: bool) -> Any:
    from aideon_agents.runner.resume_state import answer_to, from_text, is_yes_or_no, misfit

    show_question(question, node_path, output.note)
    is_short = is_yes_or_no(question, schema)
    prompt = "[y]es, [n]o" if is_short else "answer"
    more = "" if not of_many else _MORE if is_short else " (empty: skip)"
    while (typed := line(f"{prompt}{more}: ")) is not None:
        reply = typed.strip()
        if not reply:
            return SKIPPED if of_many else NOTHING
        if of_many and is_short and reply.casefold() in (*_SKIP, *_EVERY):
            return SKIPPED if reply.casefold() in _SKIP else ALL
        try:
            answer = answer_to(from_text(reply), question, schema)
        except ValueError as error:
            output.note(f"this is no JSON: {error}")
            continue
        if (wrong := misfit(answer, schema)) is None:
            return answer
        output.note(f"this does not fit: {wrong}")
    return NOTHING


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


def line(prompt: str) -> str | None:
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
        show_question(one["question"], str(one["node_path"]), write, which)
    if all(is_approval(one["schema"]) for one in questions):
        node = " NODE" if len(questions) > 1 else ""
        write(
            f"approve with: aideon runs approve {run_id}{node}, or: aideon runs decline "
            f"{run_id}{node} --feedback TEXT"
        )
    write(f"answer with: {command} --answer {shlex.quote(_example(questions))}")


def show_question(
    question: Any, node_path: str, write: Callable[[str], None], which: str = ""
) -> None:
    """Print what one node asks. `which` distinguishes several questions of one run."""
    write(f"{output.printable(node_path) or 'a node'} asks{which}:")
    for text in _lines(question):
        write(f"{_INDENT}{text}".rstrip())


def _lines(question: Any) -> Iterator[str]:
    """Format a question: text as it is, an object by its keys, other values as JSON."""
    if isinstance(question, str):
        for text in output.printable(question).splitlines():
            yield from textwrap.wrap(text, _WIDTH - len(_INDENT)) or [""]
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
            yield from (f"{_INDENT}{text}" for text in inside)


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
