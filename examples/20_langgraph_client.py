"""A workflow as a node of a LangGraph graph elsewhere: `aideon serve`, asked with `RemoteGraph`.

LangGraph's SDKs and Agent Chat UI connect in the same way, with the address and a key.
"""

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_sync_client

SERVE = [sys.executable, "-m", "aideon_agents", "serve", "--port", "0", "--workflow", "brief=brief"]


@contextmanager
def service() -> Generator[str]:
    """The address of a service. On loopback it needs no key until the first one is made."""
    process = subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
    with process as serving:
        lines = serving.stderr or ()
        yield next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
        serving.terminate()


with service() as address, get_sync_client(url=address, api_key=None) as client:
    builder = StateGraph(MessagesState)
    builder.add_node("brief", RemoteGraph("brief", sync_client=client))
    builder.add_edge(START, "brief")
    graph = builder.compile()
    state = graph.invoke(MessagesState(messages=[HumanMessage("heat pumps")]))
    print(state["messages"][-1].text)
