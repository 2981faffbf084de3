"""Nodes that call other nodes themselves, through whichever door the run came in."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.runnables import RunnableLambda

from aideon_agents.graphs.enclosing import Enclosing


def synchronous(state):
    return {**state, "by": "invoke"}


async def asynchronous(state):
    return {**state, "by": "ainvoke"}


INSIDE = RunnableLambda(synchronous, asynchronous)


async def test_the_node_inside_is_called_as_the_run_was():
    async def work(state, config, door):
        return await door.call(INSIDE, state, config)

    node = Enclosing(work, [INSIDE], "around")
    assert node.invoke({"a": 1}) == {"a": 1, "by": "invoke"}
    assert await node.ainvoke({"a": 1}) == {"a": 1, "by": "ainvoke"}


def test_what_the_node_inside_raises_can_be_caught():
    def fail(state):
        raise ValueError("no luck")

    async def work(state, config, door):
        try:
            return await door.call(RunnableLambda(fail), state, config)
        except ValueError as error:
            return str(error)

    assert Enclosing(work, [], "around").invoke({}) == "no luck"


def test_a_node_that_waits_for_a_loop_in_a_synchronous_run_is_an_error():
    async def work(state, config, door):
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited for an event loop"):
        Enclosing(work, [], "around").invoke({})
