"""A run's figures as annotations of its graph and as JSON.

Amounts, tokens and times are formatted here in as few characters as a card has room for. In JSON,
money is an exact decimal string and unknown values are null.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from aideon_agents.drawing.annotations import Annotations, Badge, EdgeKey, Note, Tone
from aideon_agents.drawing.figures import BadgeWord, NodeFigures, RunFigures
from aideon_agents.drawing.folding import holders
from aideon_agents.graphs.topology import Topology, one_line
from aideon_agents.ledger.money import usd_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_PENNY = Decimal("0.01")
_MILLION = 1_000_000
_SECOND, _MINUTE, _HOUR = 1_000, 60_000, 3_600_000


def money(usd: Decimal | None, *, complete: bool = True) -> str:
    """Format an amount of US dollars."""
    if usd is None:
        return "?"
    return _dollars(usd) if complete else f">= {_dollars(usd)}"


def tokens(count: int | None, *, counted: bool = True) -> str:
    """Format a number of tokens."""
    if count is None:
        return "? tok"
    shown = f"{count:,} tok" if count < _MILLION else f"{count / _MILLION:,.1f}M tok"
    return shown if counted else f">= {shown}"


def time(milliseconds: int | None) -> str:
    """Format a duration."""
    if milliseconds is None:
        return ""
    if milliseconds < _MINUTE:
        return f"{milliseconds / _SECOND:.2f} s"
    if milliseconds < _HOUR:
        return f"{milliseconds // _MINUTE} min {milliseconds % _MINUTE // _SECOND} s"
    return f"{milliseconds // _HOUR:,} h {milliseconds % _HOUR // _MINUTE} min"


def percent(share: float) -> str:
    """Format a share as a percentage."""
    return "< 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")  # noqa: PLR2004


def counted(count: int, name: str) -> str:
    """Format a count with its noun."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _dollars(usd: Decimal) -> str:
    if usd >= 1:
        return f"${usd:,.2f}"
    if not usd:
        return "$0"
    if usd >= _PENNY:
        return f"${usd:.4f}"
    return f"${usd:.{max(6, -usd.adjusted())}f}"


_TONES: Mapping[BadgeWord, Tone] = {
    "failed": "bad",
    "over_budget": "bad",
    "waiting": "busy",
    "running": "busy",
    "cut_off": "warning",
    "truncated": "warning",
    "fallback": "warning",
    "retry": "warning",
    "cached": "good",
    "not_run": "quiet",
}
_WORDS: Mapping[BadgeWord, str] = {
    "over_budget": "over budget",
    "cut_off": "cut off",
    "not_run": "not run",
    "truncated": "met max_tokens",
}
_MOST_MODELS = 2


def annotated(
    figures: RunFigures,
    topology: Topology,
    drawn: Topology,
    *,
    name: str | None = None,
    tools: Mapping[str, Mapping[str, int]] | None = None,
) -> Annotations:
    """Annotate a graph with what its runs cost, which edges they took, and which tools.

    `tools` are the calls of tools by node path and name.
    """
    taken, unknown = _ways(figures, topology, drawn)
    ends = {node.id for node in drawn.nodes}
    return Annotations(
        title=_title(figures, name),
        caption=_caption(figures),
        notes={
            one: _note(node, figures, is_node=one in ends) for one, node in figures.nodes.items()
        }
        | dict(_with_tools(figures, drawn, tools or {})),
        taken=taken if figures.run_ids else None,
        unknown=unknown,
    )


def _with_tools(
    figures: RunFigures, drawn: Topology, tools: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[str, Note]]:
    """The notes of the nodes that called tools, with these calls."""
    for node in drawn.nodes:
        called, known = tools.get(node.path), figures.nodes.get(node.id)
        if called and known and known.calls:
            note = _note(known, figures, is_node=True)
            named = (f"{one_line(name)} x{count:,}" for name, count in called.items())
            yield node.id, dataclasses.replace(note, foot=" · ".join([note.foot, *named]))


def _ways(
    figures: RunFigures, topology: Topology, drawn: Topology
) -> tuple[frozenset[EdgeKey], frozenset[EdgeKey]]:
    """The drawn edges that were taken, and those that may have been."""
    place = holders(topology, drawn)

    def shown(edges: Iterable[EdgeKey]) -> frozenset[EdgeKey]:
        ends = ((source, target, place[source], place[target]) for source, target in edges)
        return frozenset((out, into) for a, b, out, into in ends if out != into or a == b)

    taken = shown(figures.taken)
    known = {node.id for node in topology.nodes}
    # an edge from a folded group to itself looks like an edge within the group
    loops = {
        (edge.source, edge.target)
        for edge in drawn.edges
        if edge.source == edge.target and edge.source not in known
    }
    return taken, (shown(figures.unknown) | loops) - taken


def _note(node: NodeFigures, figures: RunFigures, *, is_node: bool) -> Note:
    several = len(figures.run_ids) > 1
    badges = tuple(_badges(node, several=several))
    if not node.calls:
        is_idle = "not_run" in node.badges
        return Note(badges=badges, emphasis="faint" if is_idle else "plain")
    spent, used = money(node.usd, complete=node.complete), _used(node)
    took = _took(node.duration_ms, figures)
    if not is_node:  # the group's inside shows it
        share = "" if node.share is None else percent(node.share)
        return Note(figures=tuple(filter(None, (spent, share, used, "" if several else took))))
    return Note(
        subtitle=_models(node),
        figures=tuple(filter(None, (spent, used, took))),
        share=node.share,
        badges=badges,
        foot=" · ".join(_foot(node, several=several)),
    )


def _used(node: NodeFigures) -> str:
    """A node's tokens."""
    known = [one for one in (node.input_tokens, node.output_tokens) if one is not None]
    return tokens(sum(known) if known else None, counted=node.counted)


def _models(node: NodeFigures) -> str:
    """The model that answered, after those that it replaced."""
    names = [_short(model) for model in node.models]
    if len(names) > _MOST_MODELS:
        return f"{len(names)} models"
    before = [_short(model) for model in node.gave_way]
    is_fallback = "fallback" in node.badges and len(before) == 1
    return (f"{before[0]} → " if is_fallback else "") + ", ".join(names)


def _short(model: str) -> str:
    """A model's name without its provider and owner."""
    return one_line(model.partition(":")[2].rpartition("/")[2])


def _foot(node: NodeFigures, *, several: bool) -> Iterator[str]:
    if node.share is not None:
        yield percent(node.share)
    if several:
        yield f"median {money(node.median_usd)}"
    failed = f", {node.failed_calls:,} failed" if node.failed_calls else ""
    yield counted(node.calls, "call") + failed
    if node.rounds > 1:
        yield counted(node.rounds, "round")


def _badges(node: NodeFigures, *, several: bool) -> Iterator[Badge]:
    for word in get_args(BadgeWord):
        if word in node.badges:
            times = f" ({node.badges[word]:,})" if several and word != "not_run" else ""
            yield Badge(_WORDS.get(word, word) + times, _TONES[word])


def _title(figures: RunFigures, name: str | None) -> str:
    """The status of what ran, and where it ended unless it completed."""
    parts = [one_line(name or figures.workflow)]
    if figures.rehearsed:
        parts.append("rehearsed")
    if figures.simulated:
        parts.append("simulated")
    if len(figures.run_ids) > 1:
        parts.append(counted(len(figures.run_ids), "run"))
    if set(figures.statuses) - {"completed"}:
        parts.append(", ".join(_ended(figures)))
    return " · ".join(parts)


def _ended(figures: RunFigures) -> Iterator[str]:
    for status, count in figures.statuses.items():
        reason = f" ({figures.stop_reason})" if figures.stop_reason else ""
        yield f"{count:,} {status}" if len(figures.run_ids) > 1 else status + reason


def _caption(figures: RunFigures) -> str:
    whole = figures.totals
    paid = "would have cost" if figures.rehearsed else "total"
    parts = [
        f"{paid} {money(whole.usd, complete=whole.complete)}" if whole.calls else "no call",
        _used(whole) if whole.calls else "",
        f"median {money(whole.median_usd)} a run" if len(figures.run_ids) > 1 else "",
        _took(figures.duration_ms, figures),
        # A rehearsal can be repeated with the same result, so its id is not shown.
        f"run {figures.run_ids[0]}" if len(figures.run_ids) == 1 and not figures.rehearsed else "",
    ]
    return " · ".join(filter(None, parts))


def _took(milliseconds: int | None, figures: RunFigures) -> str:
    """Format a duration; a rehearsal calls no model, so its times mean nothing."""
    if figures.rehearsed or milliseconds is None:
        return ""
    return ("median " if len(figures.run_ids) > 1 else "") + time(milliseconds)


_SHARE_PLACES = 6


def spent_document(
    figures: RunFigures, drawn: Topology, annotations: Annotations
) -> dict[str, Any]:
    """The plain model of a drawn graph, with what runs cost on it."""
    known = annotations.taken or ()
    times = Counter((edge.source, edge.target) for edge in drawn.edges)

    def taken(edge: EdgeKey) -> bool | None:
        if edge in annotations.unknown or (edge in known and times[edge] > 1):
            return None
        return edge in known

    def parts(some: Any) -> list[dict[str, Any]]:
        return [{**vars(one), "figures": _figures(figures.nodes.get(one.id))} for one in some]

    return {
        "name": drawn.name,
        "nodes": parts(drawn.nodes),
        "groups": parts(drawn.groups),
        "edges": [
            {**vars(edge), "taken": taken((edge.source, edge.target))} for edge in drawn.edges
        ],
        "legs": [dataclasses.asdict(segment) for segment in drawn.legs],
        "run": {
            "title": annotations.title,
            "run_ids": list(figures.run_ids),
            "workflow": figures.workflow,
            "statuses": dict(figures.statuses),
            "stop_reason": figures.stop_reason,
            "rehearsed": figures.rehearsed,
            "simulated": figures.simulated,
            "duration_ms": figures.duration_ms,
            "totals": _figures(figures.totals),
        },
    }


def _figures(node: NodeFigures | None) -> dict[str, Any] | None:
    if node is None:
        return None
    return {
        **vars(node),
        "usd": _money(node.usd),
        "median_usd": _money(node.median_usd),
        "share": None if node.share is None else round(node.share, _SHARE_PLACES),
        "models": list(node.models),
        "gave_way": list(node.gave_way),
        "badges": dict(node.badges),
    }


def _money(usd: Decimal | None) -> str | None:
    return None if usd is None else usd_text(usd)
