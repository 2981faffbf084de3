"""The calls of a run, for people: a line of figures each, and below it whatever else is known.

Where the lines are too long for the terminal, node and model stand in lines of their own.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from aideon_agents.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

    from aideon_agents.ledger.rows import Call, Content

_TITLES = ("node", "model", "status", "try", "in", "out", "cost", "time")
_NAMES = 2
"""Columns that are as long as somebody's names."""
_WORDS = 3
"""Columns before the figures."""
_GAP, _INDENT = "  ", "    "


def show(
    calls: Sequence[Call],
    contents: Sequence[Content] = (),
    worst: Mapping[str, Decimal] | None = None,
) -> None:
    """Print calls on stdout, in their order."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    rows = [_TITLES, *(_cells(call) for call in calls)]
    title, *lines = _aligned(rows, _WORDS)
    narrow = width is not None and max(map(len, (title, *lines))) > width
    if narrow:
        title, *lines = (_INDENT + line for line in _aligned([row[_NAMES:] for row in rows], 1))
    said = {content.call_id: content for content in contents}
    output.line(title)
    for call, cells, line in zip(calls, rows[1:], lines, strict=True):
        if narrow:
            output.line(cells[0])
        output.line(line)
        for more in _details(call, (worst or {}).get(call.call_id), with_model=narrow):
            _show_wrapped(more, width)
        if content := said.get(call.call_id):
            _show_content(content)


def _show_wrapped(text: str, width: int | None) -> None:
    """Print an indented text; what reads a pipe wraps lines as it likes."""
    room = len(text) if width is None else width - len(_INDENT)
    for line in textwrap.wrap(text, room, break_on_hyphens=False):
        output.line(_INDENT + line)


def _cells(call: Call) -> tuple[str, ...]:
    return (
        call.node_path + (f" (round {call.round})" if call.round > 1 else ""),
        call.response_model or call.requested_model,
        call.status if not call.error_type else f"{call.status}: {call.error_type}",
        f"{call.candidate + 1}.{call.attempt}",
        "-" if call.input_tokens is None else f"{call.input_tokens:,}",
        "-" if call.output_tokens is None else f"{call.output_tokens:,}",
        output.money(call.usd),
        output.duration(call.duration_ms),
    )


def _aligned(rows: Sequence[Sequence[str]], words: int) -> Iterator[str]:
    """Rows as lines of columns of the same width; those after the words are figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if index < words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield _GAP.join(cells).rstrip()


def _details(call: Call, worst: Decimal | None, *, with_model: bool) -> Iterator[str]:
    """What the figures leave out: one line of facts, and the error."""
    asked = f"{call.provider}:{call.requested_model}"
    is_other = call.response_model not in {None, call.requested_model}
    facts = {
        asked: with_model or is_other,
        f"answered by {call.response_model}": is_other,
        f"finished: {call.finish_reason}": call.finish_reason,
        f"{call.cache_read_tokens or 0:,} of the input cached": call.cache_read_tokens,
        f"{call.cache_creation_tokens or 0:,} of the input put into the cache": (
            call.cache_creation_tokens
        ),
        f"{call.reasoning_tokens or 0:,} of the output reasoning": call.reasoning_tokens,
        f"first token after {output.duration(call.time_to_first_token_ms)}": (
            call.time_to_first_token_ms is not None
        ),
        "tokens estimated": call.usage_source == "estimated",
        "no usage reported": call.usage_source == "none" and call.status in {"ok", "truncated"},
        "shortened to fit a budget": call.shortened,
        "a cheaper model, because a budget was nearly used up": call.economized,
        f"counts in budgets as its worst case, {output.money(worst)}": worst is not None,
    }
    if known := [fact for fact, is_known in facts.items() if is_known]:
        yield ", ".join(known)
    if call.error and call.error != call.error_type:
        yield call.error


def _show_content(content: Content) -> None:
    asked = content.prompt if isinstance(content.prompt, list) else [content.prompt]
    said = [] if content.answer is None else [content.answer]
    for message in [*asked, *said]:
        role, text = _read(message)
        output.line(f"{_INDENT}[{role}]")
        output.line(textwrap.indent(text, _INDENT))


def _read(message: Any) -> tuple[str, str]:
    """Who says what in a chat message; a plain text is a completion's."""
    if not isinstance(message, dict):
        return "text", str(message)
    text = str(message.get("content") or "")
    made = [
        f"calls {call['function']['name']}({call['function']['arguments']})"
        for call in message.get("tool_calls") or ()
    ]
    return str(message.get("role", "?")), "\n".join(filter(None, [text, *made]))
