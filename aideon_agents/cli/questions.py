"""What a run waits for an answer to, for people: each question, and the command that answers."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WIDTH = 78
_INDENT = "  "


def show(questions: Sequence[Mapping[str, Any]], run_id: str, write: Callable[[str], None]) -> None:
    """Print what a run asks."""
    command = f"aideon runs resume {run_id}"
    if not questions:
        write(f"it stands at a breakpoint; go on with: {command}")
        return
    for one in questions:
        which = f" ({one['id']})" if len(questions) > 1 else ""
        write(f"{one['node_path'] or 'a node'} asks{which}:")
        for line in _lines(one["question"]):
            write(f"{_INDENT}{line}".rstrip())
    write(f"answer with: {command} --answer {shlex.quote(_example(questions))}")


def _lines(asked: Any) -> Iterator[str]:
    """A question as lines: text as it is, an object by its keys, anything else as JSON."""
    if isinstance(asked, str):
        for line in printable(asked).splitlines():
            yield from textwrap.wrap(line, _WIDTH - len(_INDENT)) or [""]
        return
    if not isinstance(asked, Mapping):
        yield from _lines(json.dumps(asked, ensure_ascii=False))
        return
    for key, value in cast("Mapping[str, Any]", asked).items():
        inside = list(_lines(value))
        if len(inside) == 1 and len(key) + len(inside[0]) < _WIDTH - 2 * len(_INDENT):
            yield f"{printable(key)}: {inside[0]}"
        else:
            yield f"{printable(key)}:"
            yield from (f"{_INDENT}{line}" for line in inside)


def _example(questions: Sequence[Mapping[str, Any]]) -> str:
    """An answer that fits, for people to change."""
    answers = {one["id"]: _fitting(one["schema"]) for one in questions}
    said = answers if len(answers) > 1 else next(iter(answers.values()))
    return json.dumps(said, ensure_ascii=False)


def _fitting(schema: Any) -> Any:
    from aideon_agents.models.answers.instance import instance  # noqa: PLC0415 - help must not wait

    if not isinstance(schema, dict):
        return "..."
    try:
        return instance(cast("dict[str, Any]", schema), "...")
    except Exception:  # noqa: BLE001 - somebody's schema, and only an example
        return {}
