"""Neither test can pay: the model answers in this process, and no key is read."""

from pathlib import Path

import pytest

from aideon_agents import Context
from aideon_agents.tasks import load
from aideon_agents.testing import GivenModels, SchemaChatModel

HERE = Path(__file__).parent


@pytest.mark.parametrize("file", ["workflow.py", "brief.yaml"])
def test_every_step_gives_a_result(file: str) -> None:
    graph = load(str(HERE / file)).graph
    context = Context(models=GivenModels(SchemaChatModel()))
    results = graph.invoke({"task": "Heat pumps move heat."}, context=context)["results"]
    assert {"gather/facts", "gather/angle", "refine/draft", "refine"} <= results.keys()
    assert all(result.content for result in results.values())
