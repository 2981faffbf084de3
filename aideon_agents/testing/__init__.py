"""Doubles to test workflows with, none of which can pay.

`ScriptedChatModel` says what a test wrote down, `SchemaChatModel` always answers validly,
`GivenModels` hands chat models to agents, and `SimulatedProvider` is an OpenAI-compatible server
on the loopback interface with faults by plan and a bill of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aideon_agents.testing.scripted import (
        Asked,
        GivenModels,
        OutOfAnswers,
        SchemaChatModel,
        ScriptedChatModel,
    )
    from aideon_agents.testing.simulated.bill import Bill, BilledCall, Rate, SeenRequest, Total
    from aideon_agents.testing.simulated.faults import ChatRequest, Fault, RandomFaults
    from aideon_agents.testing.simulated.reply import UsageDetails
    from aideon_agents.testing.simulated.server import SimulatedProvider

__all__ = [
    "Asked",
    "Bill",
    "BilledCall",
    "ChatRequest",
    "Fault",
    "GivenModels",
    "OutOfAnswers",
    "RandomFaults",
    "Rate",
    "SchemaChatModel",
    "ScriptedChatModel",
    "SeenRequest",
    "SimulatedProvider",
    "Total",
    "UsageDetails",
]

_HOMES = {
    "Asked": "scripted",
    "Bill": "simulated.bill",
    "BilledCall": "simulated.bill",
    "ChatRequest": "simulated.faults",
    "Fault": "simulated.faults",
    "GivenModels": "scripted",
    "OutOfAnswers": "scripted",
    "RandomFaults": "simulated.faults",
    "Rate": "simulated.bill",
    "SchemaChatModel": "scripted",
    "ScriptedChatModel": "scripted",
    "SeenRequest": "simulated.bill",
    "SimulatedProvider": "simulated.server",
    "Total": "simulated.bill",
    "UsageDetails": "simulated.reply",
}


def __getattr__(name: str) -> Any:
    # Looked up at first use: the provider needs h11, the chat models need LangChain, and who
    # wants one should not wait for the other.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
