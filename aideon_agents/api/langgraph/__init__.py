"""The subset of LangGraph's server that its SDKs, `RemoteGraph` and Agent Chat UI use.

Each registered workflow is an assistant, and a conversation is a thread. A client sends messages and
gets messages; what a workflow asks a person comes as an interrupt.
"""

from __future__ import annotations

from fastapi import APIRouter

from aideon_agents.api.langgraph import assistants, runs, store, threads

router = APIRouter()
for _one in (assistants.router, threads.router, runs.router, store.router):
    router.include_router(_one)
for _one in (runs.router, runs.on_thread):
    router.include_router(_one, prefix="/threads/{thread_id}")
