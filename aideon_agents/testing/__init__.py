"""Doubles for tests of workflows. None of them can pay.

`ScriptedChatModel` gives the answers of a script, `SchemaChatModel` always gives valid ones,
`GivenModels` chooses the chat model of each role, and `SimulatedProvider` is an OpenAI-compatible
server on the loopback interface with planned faults and its own bill. It can speak as a real server
does: `SimulatedProvider(dialect="ollama")`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aideon_agents.testing.scripted import (
        GivenModels,
        OutOfAnswers,
        RecordedRequest,
        SchemaChatModel,
        ScriptedChatModel,
    )
    from aideon_agents.testing.simulated.bill import Bill, BilledCall, Rate, SeenRequest, Total
    from aideon_agents.testing.simulated.clock import Clock
    from aideon_agents.testing.simulated.dialects.dialect import Dialect
    from aideon_agents.testing.simulated.faults import Fault, RandomFaults
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.kept import MediaPlan
    from aideon_agents.testing.simulated.protocol import ChatRequest, UsageDetails
    from aideon_agents.testing.simulated.server import SimulatedProvider

__all__ = [
    "Bill",
    "BilledCall",
    "ChatRequest",
    "Clock",
    "Dialect",
    "Fault",
    "GivenModels",
    "MediaPlan",
    "MediaRequest",
    "OutOfAnswers",
    "RandomFaults",
    "Rate",
    "RecordedRequest",
    "SchemaChatModel",
    "ScriptedChatModel",
    "SeenRequest",
    "SimulatedProvider",
    "Total",
    "UsageDetails",
]

_HOMES = {
    "Bill": "simulated.bill",
    "BilledCall": "simulated.bill",
    "ChatRequest": "simulated.protocol",
    "Clock": "simulated.clock",
    "Dialect": "simulated.dialects.dialect",
    "Fault": "simulated.faults",
    "GivenModels": "scripted",
    "MediaPlan": "simulated.media.kept",
    "MediaRequest": "simulated.media.exchange",
    "OutOfAnswers": "scripted",
    "RandomFaults": "simulated.faults",
    "Rate": "simulated.bill",
    "RecordedRequest": "scripted",
    "SchemaChatModel": "scripted",
    "ScriptedChatModel": "scripted",
    "SeenRequest": "simulated.bill",
    "SimulatedProvider": "simulated.server",
    "Total": "simulated.bill",
    "UsageDetails": "simulated.protocol",
}


def __getattr__(name: str) -> Any:
    # Imported at first use: the provider needs h11 and the chat models need LangChain, and a test
    # that uses one of them should not wait for the other.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
