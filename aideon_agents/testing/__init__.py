"""Doubles to test workflows with, none of which can pay.

`ScriptedChatModel` says what a test wrote down, `SchemaChatModel` always answers validly,
`GivenModels` hands chat models to agents, and `SimulatedProvider` is an OpenAI-compatible server
on the loopback interface with faults by plan and a bill of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aideon_agents.testing.asked import Asked
    from aideon_agents.testing.models import GivenModels
    from aideon_agents.testing.schema import SchemaChatModel
    from aideon_agents.testing.scripted import OutOfAnswers, ScriptedChatModel
    from aideon_agents.testing.simulated.bill import Bill, BilledCall, Rate, Total
    from aideon_agents.testing.simulated.chat import ChatRequest
    from aideon_agents.testing.simulated.faults import Fault, RandomFaults
    from aideon_agents.testing.simulated.log import SeenRequest
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
    "Asked": "asked",
    "Bill": "simulated.bill",
    "BilledCall": "simulated.bill",
    "ChatRequest": "simulated.chat",
    "Fault": "simulated.faults",
    "GivenModels": "models",
    "OutOfAnswers": "scripted",
    "RandomFaults": "simulated.faults",
    "Rate": "simulated.bill",
    "SchemaChatModel": "schema",
    "ScriptedChatModel": "scripted",
    "SeenRequest": "simulated.log",
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
