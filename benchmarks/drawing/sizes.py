"""How long drawings take and how large they get, for 10, 100 and 1,000 nodes."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from drawn import in_langgraph
from langgraph.graph import START, StateGraph

from aideon_agents import parallel, sequential
from aideon_agents.drawing.mermaid import mermaid
from aideon_agents.drawing.png import png
from aideon_agents.drawing.svg import svg
from aideon_agents.drawing.text import text
from aideon_agents.graphs.topology import read
from aideon_agents.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (10, 100, 1_000)


def show_sizes() -> None:
    """Print a line for each graph and each form."""
    for made in (chain, rows, tangle):
        for size in SIZES:
            graph = made(size)
            topology, seconds = timed(read, graph)
            figures = [f"read {seconds:.2f} s"]
            for form, draw in FORMS.items():
                drawn, seconds = timed(draw, topology)
                kilobytes = len(drawn if isinstance(drawn, bytes) else drawn.encode()) / 1000
                figures.append(f"{form} {seconds:.2f} s {kilobytes:,.0f} kB")
            figures.append(langgraph(graph, {(one.source, one.target) for one in topology.edges}))
            print(f"{made.__name__:7}{size:6,} nodes  {', '.join(figures)}")


def langgraph(graph: Any, edges: set[tuple[str, str]]) -> str:
    """How long LangGraph takes for its Mermaid source, and how many edges that lacks."""
    try:
        source, seconds = timed(lambda: graph.get_graph(xray=True).draw_mermaid())
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no drawing
        return f"langgraph {type(error).__name__}"
    lost = len(edges - in_langgraph(graph)[1])
    return f"langgraph mermaid {seconds:.2f} s {len(source) / 1000:,.0f} kB {lost:,} edges lost"


FORMS: dict[str, Callable[[Any], Any]] = {"svg": svg, "png": png, "mermaid": mermaid, "text": text}


def timed(work: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    """A result and the seconds that it took."""
    began = time.perf_counter()
    return work(*given), time.perf_counter() - began


def chain(size: int) -> Any:
    """One step after another."""
    return sequential(*(step(number) for number in range(size)), name="chain")


def rows(size: int) -> Any:
    """Groups of ten branches, one group after another."""
    groups = [
        parallel(*(step(number) for number in range(10)), name=f"group {group}")
        for group in range(size // 10)
    ]
    return sequential(*groups, name="rows")


def tangle(size: int) -> Any:
    """A graph that nobody composed: every node leads to a few later ones, some lead back."""
    chance = random.Random(size)
    builder: Any = StateGraph(State)
    for number in range(size):
        builder.add_node(f"n{number}", step(number))
    builder.add_edge(START, "n0")
    for number in range(1, size):
        builder.add_edge(f"n{max(0, number - chance.randint(1, 12))}", f"n{number}")
    for number in chance.sample(range(size - 1), size // 2):
        builder.add_edge(f"n{number}", f"n{min(size - 1, number + chance.randint(1, 20))}")
    for number in chance.sample(range(1, size), size // 10):
        earlier = f"n{max(0, number - chance.randint(1, 20))}"
        builder.add_conditional_edges(
            f"n{number}", step(number), {"again": earlier, "on": f"n{size - 1}"}
        )
    return builder.compile(name="tangle")


def step(number: int) -> Callable[[Any], None]:
    """A function that does nothing."""

    def work(state: Any) -> None:
        del state

    work.__name__ = f"step {number}"
    return work
