"""What a call's callbacks leave out: that it is made inside a chain.

LangChain's fallbacks give a model the callbacks that they were given themselves. Outside any graph
that is a plain list, and each attempt would count as a run of its own, with a budget of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import ensure_config
from langchain_core.runnables.config import var_child_runnable_config

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def nested(config: RunnableConfig | None) -> RunnableConfig:
    """A call's config, with the callbacks of the chain around it where those are the same."""
    given = ensure_config(config)
    listed: Any = given.get("callbacks")
    around: Any = (var_child_runnable_config.get() or {}).get("callbacks")
    known: list[Any] = getattr(around, "handlers", [])
    if isinstance(listed, list) and listed and all(one in known for one in listed):
        return cast("RunnableConfig", {**given, "callbacks": around})
    return given
