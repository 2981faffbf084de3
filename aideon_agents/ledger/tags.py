"""What travels with a model call in LangChain's metadata, so that its row can say where it stood.

Metadata is the one thing that reaches every callback in sync, async, parallel, fallback and
streamed calls alike. Values are scalars; LangGraph adds its own (`langgraph_checkpoint_ns`), from
which `state.node_path` reads the place.
"""

from __future__ import annotations

ROLE = "aideon_role"
"""The agent's role: planner, executor, validator, creative."""

ROUND = "aideon_round"
"""The n-th time round of the innermost loop, from 1."""

PURPOSE = "aideon_purpose"
"""What the call is for."""

CANDIDATE = "aideon_candidate"
"""Position in the chain, 0 is the primary."""

ATTEMPT = "aideon_attempt"
"""The n-th try of this candidate, from 1."""

PROVIDER = "aideon_provider"
"""Our name of the provider: together, openai, huggingface, local."""

MODEL = "aideon_model"
"""The model that was asked for, without its provider."""

REHEARSED = "aideon_rehearsed"
"""True when the answer is worked out by rule and nothing is paid."""

SHORTENED = "aideon_shortened"
"""True when the answer is given less room than asked for, to fit a budget."""

ECONOMIZED = "aideon_economized"
"""True when a cheaper model is asked before the chain's first, because a budget is nearly used up."""

HELD_AT = "aideon_held_at"
"""When the call's money was held, as `clock.utc_text` writes it: its row begins at the same time."""

USAGE_SOURCE = "aideon_usage_source"
"""In an answer's response_metadata: `estimated` when its token counts are not a provider's."""
