"""A thread keeps the state of the runs before; a pattern starts anew all the same."""

from __future__ import annotations

from langgraph.checkpoint.memory import InMemorySaver

from aideon_agents import Context, creative, iterative, validator
from aideon_agents.state import Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel


def test_a_second_run_of_a_loop_on_a_thread_has_all_its_rounds():
    failed = Verdict(passed=False, score=0.5, feedback="More.")
    passed = Verdict(passed=True, score=1, feedback="")
    writer = ScriptedChatModel(answers=["one", "two", "three", "four"])
    judge = ScriptedChatModel(answers=[failed, passed, failed, passed])
    context = Context(models=GivenModels(writer, roles={"validator": judge}))
    graph = iterative(creative(), validator())
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    for contents in (["one", "two"], ["three", "four"]):
        values = graph.invoke({"task": "Write."}, config, context=context)
        own = values["results"]["iterative"]
        assert [one.content for one in own.data.rounds] == contents
        assert (own.data.stop_reason, own.round) == ("passed", 2)
    assert "Feedback" not in writer.requests[2].messages[-1].text
    assert values["results"]["creative"].round == 2
