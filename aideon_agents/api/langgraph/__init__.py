"""The subset of LangGraph's server that its SDKs, `RemoteGraph` and Agent Chat UI use.

Each registered workflow is an assistant, and a conversation is a thread. A client sends messages and
gets messages; what a workflow asks a person comes as an interrupt.
"""

from __future__ import annotations

from fastapi import APIRouter

from aideon_agents.api.langgraph import assistants, runs, store, threads

router = APIRouter()
for _one in (assistants, threads, runs, store):
    router.include_router(_one.router)
