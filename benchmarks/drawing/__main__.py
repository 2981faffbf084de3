"""Whether drawings are true, readable and quick: `python benchmarks/drawing`.

Random nested workflows are run with every route forced, and the edges that really ran are held
against those in the SVG, in the Mermaid source as Mermaid's own parser reads it, and in LangGraph's
own drawing of the same graphs. Leaves with 1 where one of ours misses an edge, invents one, cannot
be parsed, or has anything on top of anything else.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collisions import label_collisions, lines_across, overlapping_boxes
from drawn import conditions_in_langgraph, in_langgraph, in_mermaid, in_svg
from executed import taken, traced
from page import show_page
from random_workflows import workflows
from sizes import show_sizes

from aideon_agents.drawing.layout import laid_out
from aideon_agents.drawing.mermaid import mermaid
from aideon_agents.drawing.svg import svg
from aideon_agents.graphs.topology import read

if TYPE_CHECKING:
    from random_workflows import Workflow

    from aideon_agents.graphs.topology import Topology

Way = tuple[str, str]

JUDGE = Path(__file__).parents[2] / "tests" / "drawing" / "mermaid"
SHOWN = 10


@dataclass
class Drawn:
    """What was found of one workflow, as far as it is known before Mermaid's parser has run."""

    topology: Topology
    ran: set[Way]
    source: str
    theirs: str | None
    """LangGraph's Mermaid source; None when it could not be drawn."""


@dataclass
class Tally:
    """What was found of one way of drawing."""

    edges: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    complaints: list[str] = field(default_factory=list[str])

    def compare(self, ran: set[Way], shown: set[Way], what: str) -> None:
        """Hold what was shown against what ran."""
        self.edges += len(ran)
        self.counts["missing"] += len(ran - shown)
        self.counts["false"] += len(shown - ran)
        self.complaints += [f"{what}: misses {way}" for way in sorted(ran - shown)]
        self.complaints += [f"{what}: invents {way}" for way in sorted(shown - ran)]

    def found(self, kind: str, complaints: list[str], what: str) -> None:
        """Count complaints of a kind."""
        self.counts[kind] += len(complaints)
        self.complaints += [f"{what}: {complaint}" for complaint in complaints]


def main() -> int:
    """Print the figures; 1 where something of ours is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["all", "page"], default="all")
    parser.add_argument("--calls", type=int, default=10_000, help="of the run on the page")
    parser.add_argument("--workflows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sizes", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    if given.what == "page":
        show_page(given.calls)
        return 0
    ours, sources, langgraph = Tally(), Tally(), Tally()
    began = time.perf_counter()
    runs = 0
    drawings: list[Drawn] = []
    for number, made in enumerate(workflows(given.workflows, given.seed)):
        drawn, count = draw(made, f"workflow {number}", ours, langgraph)
        drawings.append(drawn)
        runs += count
    judge(drawings, sources, langgraph)
    print(
        f"{given.workflows:,} random workflows, {sum(len(d.topology.nodes) for d in drawings):,} "
        f"nodes, {runs:,} runs in {time.perf_counter() - began:.0f} s"
    )
    show("svg", ours, ["missing", "false", "boxes", "labels", "lines"])
    show("mermaid", sources, ["missing", "false", "unparsed"])
    show("langgraph", langgraph, ["missing", "false", "conditions", "undrawn", "unparsed"])
    for complaint in [*ours.complaints, *sources.complaints][:SHOWN]:
        print(f"wrong: {complaint}", file=sys.stderr)
    if given.sizes:
        show_sizes()
        show_page(given.calls)
    return 1 if ours.complaints or sources.complaints else 0


def draw(made: Workflow, what: str, ours: Tally, langgraph: Tally) -> tuple[Drawn, int]:
    """Run a workflow in every way there is and hold the drawings against that."""
    topology = read(made.graph)
    runs = [traced(made.graph, inputs) for inputs in made.runs()]
    nodes = {node.id for node in topology.nodes}
    ran = {way for run in runs for way in taken(run, nodes)}
    ours.compare(ran, in_svg(svg(topology)), what)
    picture = laid_out(topology)
    ours.found("boxes", overlapping_boxes(picture), what)
    ours.found("labels", label_collisions(picture), what)
    ours.found("lines", lines_across(picture), what)
    return Drawn(topology, ran, mermaid(topology), _theirs(made.graph, runs, langgraph)), len(runs)


def _theirs(graph: Any, runs: list[Any], tally: Tally) -> str | None:
    """LangGraph's drawing, judged by the nodes that it shows itself."""
    try:
        nodes, shown = in_langgraph(graph)
        source = graph.get_graph(xray=True).draw_mermaid()
        shown_conditions = conditions_in_langgraph(graph)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no drawing
        tally.found("undrawn", [repr(error)], "langgraph")
        return None
    tally.compare({way for run in runs for way in taken(run, nodes)}, shown, "langgraph")
    there = sum(leg.conditional for leg in read(graph).legs)
    tally.counts["conditions"] += max(0, there - shown_conditions)
    return source


def judge(drawings: list[Drawn], sources: Tally, langgraph: Tally) -> None:
    """Let Mermaid read every source, in one Node process."""
    sys.path.insert(0, str(JUDGE))
    from mermaid_judge import parsed  # noqa: PLC0415 - it lies with the tests that need it too

    answers = parsed([drawn.source for drawn in drawings])
    for number, (drawn, answer) in enumerate(zip(drawings, answers, strict=True)):
        what = f"workflow {number}, Mermaid"
        if "error" in answer:
            sources.found("unparsed", [answer["error"]], what)
        else:
            sources.compare(drawn.ran, in_mermaid(answer, drawn.topology), what)
    theirs = [drawn.theirs for drawn in drawings if drawn.theirs is not None]
    for answer in parsed(theirs):
        if "error" in answer:
            langgraph.found("unparsed", [answer["error"]], "langgraph")


def show(name: str, tally: Tally, kinds: list[str]) -> None:
    """Print one line of figures."""
    words = {
        "missing": "edges missing",
        "false": "false edges",
        "conditions": "conditions missing",
        "boxes": "boxes overlapping",
        "labels": "label collisions",
        "lines": "lines across boxes",
        "undrawn": "not drawn",
        "unparsed": "not parsed by Mermaid",
    }
    figures = ", ".join(f"{tally.counts[kind]:,} {words[kind]}" for kind in kinds)
    print(f"{name:10} {tally.edges:,} edges ran: {figures}")


if __name__ == "__main__":
    sys.exit(main())
