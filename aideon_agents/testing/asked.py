"""What a double was asked, for a test to look at."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request to a chat model."""

    messages: tuple[BaseMessage, ...]
    """The conversation, in order."""
    options: dict[str, Any]
    """What was bound or passed beside it: tools, tool_choice, response_format, stop."""
