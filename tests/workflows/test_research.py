"""Research: what is searched, how passages are ranked, and which citations hold."""

from __future__ import annotations

import logging
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, create_retriever_tool, tool

from aideon_agents import UserError, mcp_server, run, workflow
from aideon_agents.state import Plan, PlanStep, StepResult
from aideon_agents.testing import ScriptedChatModel

QUESTION = "Do heat pumps work in the cold?"
FILE = Path(__file__).parents[2] / "workflows" / "research.py"
LIBRARY = mcp_server(sys.executable, [str(Path(__file__).with_name("mcp_search.py"))])
PLAN = Plan(
    steps=[
        PlanStep(id="s1", description="Cold?", agent="executor", complexity="low", depends_on=[])
    ]
)
PASSED = {"reasons": "It does.", "score": 10, "passed": True, "feedback": ""}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(FILE))


@tool
def search_web(query: str) -> list[dict[str, str]]:
    """Search the web."""
    return [{"url": "https://pumps.example/cold", "content": f"{query}: to -25 °C"}]


class Search(BaseTool):
    """A search tool as integrations write them."""

    name: str = "search_news"
    description: str = "Search the news."

    def _run(self, query: str) -> str:
        return f"{query}: they work down to -25 °C."


class Notes(BaseRetriever):
    """A retriever with one document."""

    def _get_relevant_documents(self, query, **_):
        return [Document(f"{query}: they work down to -25 °C.")]


NOTES = create_retriever_tool(Notes(), "search_notes", "Search the notes.")


def called(name):
    return AIMessage("", tool_calls=[tool_call(name=name, args={"query": "cold"}, id="c")])


def answered(messages):
    """An answer with the label of what the tool returned."""
    (result,) = [one for one in messages if isinstance(one, ToolMessage)]
    label = str(result.content).partition("\n")[0]
    return f"They work down to -25 °C {label}."


def copied(messages):
    """A report that copies the executor's answer."""
    return re.findall(r"They work down to -25 °C .*", messages[-1].text)[-1]


def played(tools, *answers, **given):
    model = ScriptedChatModel(answers=[PLAN, *answers])
    roles = ("planner", "executor", "creative", "validator")
    models = dict.fromkeys(roles, model)
    graph = workflow("research", tools=tools)
    return run(graph, QUESTION, model=models, **given), model


@pytest.mark.parametrize(
    ("search", "name"),
    [
        (search_web, "search_web"),
        (Search(), "search_news"),
        (NOTES, "search_notes"),
        (LIBRARY, "search_library"),
    ],
)
def test_what_a_search_tool_returned_may_be_cited_and_nothing_else(search, name, tmp_path):
    answers = [called(name), answered, "They freeze [search_web:000000].", PASSED, copied, PASSED]
    done, model = played([search], *answers, ledger=tmp_path / "ledger.db")
    assert (done.status, done.error) == ("completed", None)
    assert re.fullmatch(rf"They work down to -25 °C \[{name}:[0-9a-f]{{6}}\]\.", done.output)
    again = model.requests[-2].messages[-1].text
    assert "<feedback>\nThese citations name nothing that was found: search_web:000000." in again


def test_a_tool_searches_beside_local_sources(tmp_path):
    (tmp_path / "notes.md").write_text("Heat pumps work in the cold.\n", encoding="utf-8")
    label = f"[{tmp_path}/notes.md:1]"
    answers = [called("search_library"), answered, lambda seen: f"{copied(seen)} Yes {label}."]
    done, model = played(
        [LIBRARY],
        *[*answers, PASSED],
        inputs={"source": str(tmp_path / "notes.md")},
        ledger=tmp_path / "ledger.db",
    )
    assert done.status == "completed"
    assert label in done.output
    assert "search_library:" in done.output
    assert label in model.requests[1].messages[-1].text  # the executor sees the passages too


def test_an_address_that_a_tool_returned_is_a_citation(made):
    check = made["cites_its_sources"]
    sources = {"search_web:1f0c2a": '[{"url": "https://pumps.example/cold"}]'}
    found = StepResult(node_path="x", role="executor", content="", sources=sources)
    state = {"results": {"x": found}}
    assert check("Yes ([pumps](https://pumps.example/cold)).", state) is True
    assert check("Yes [search_web:1f0c2a].", state) is True
    assert "https://other.example" in check("Yes (https://other.example).", state)
    assert "search_web:2" in check("Yes [search_web:1f0c2a, search_web:2].", state)
    assert "Cite what was found" in check("Yes.", state)


def test_it_says_which_options_it_takes():
    with pytest.raises(UserError, match="research has no option 'tool': it takes tools"):
        workflow("research", tool=[search_web])
    with pytest.raises(UserError, match="brief has no option 'tools': it takes none"):
        workflow("brief", tools=[search_web])
    assert workflow("brief").get_name() == "brief"


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("Wie arbeiten Wärmepumpen bei Kälte?", "Eine Wärmepumpe braucht bei Kälte mehr Strom."),
        ("ヒートポンプは寒さに強いですか", "寒い地域でもヒートポンプは使える。"),
        ("Как работает тепловой насос?", "Тепловые насосы переносят тепло."),
        ("Is a heat pump noisy?", "Pumps are quiet."),
    ],
)
def test_the_passages_that_fit_best_come_first_in_any_language(made, tmp_path, task, text):
    others = ["Cats sleep all day.", "Kuchen backen wir morgen.", "猫は眠る。", "Кошки спят."]
    (tmp_path / "a.md").write_text("\n\n".join([*others, text]), encoding="utf-8")
    found = made["find"]({"task": task, "inputs": {"source": str(tmp_path)}})
    assert found.startswith(f"[{tmp_path}/a.md:9]\n{text}")


def test_what_is_not_read_is_named(made, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "aideon_agents.workflows")
    (tmp_path / "pumps.pdf").write_bytes(b"%PDF heat pumps\0")
    (tmp_path / "wide.txt").write_text("Heat pumps work.", encoding="utf-16")
    (tmp_path / "long.txt").write_text("cats sleep. " * 90_000, encoding="utf-8")
    found = made["find"]({"task": QUESTION, "inputs": {"source": [str(tmp_path)]}})
    assert f"[{tmp_path}/wide.txt:1]\nHeat pumps work." in found
    assert f"{tmp_path}/pumps.pdf (not a text file: convert it to text)" in found
    assert "pumps.pdf" in caplog.text
    assert f"the end of {tmp_path}/long.txt (longer than 1 MB)" in found
    assert max(map(len, found.split("\n\n"))) < 1000
