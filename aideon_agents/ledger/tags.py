"""Keys of the metadata that travels with a model call, from which its row in the ledger is written.

Metadata is the one thing that reaches every callback in sync, async, parallel, fallback and
streamed calls alike. Values are scalars, but for SENDING; LangGraph adds its own (`langgraph_checkpoint_ns`), from
which `node_paths.node_path` reads the node path.
"""

from __future__ import annotations

ROLE = "aideon_role"
"""The agent's role: planner, executor, validator, creative."""

ROUND = "aideon_round"
"""The round of the innermost loop, from 1."""

PURPOSE = "aideon_purpose"
"""What the call is for."""

CANDIDATE = "aideon_candidate"
"""Position in the chain, 0 is the primary."""

ATTEMPT = "aideon_attempt"
"""The number of the attempt at this candidate, from 1."""

PROVIDER = "aideon_provider"
"""Our name of the provider: together, openai, huggingface, local."""

MODEL = "aideon_model"
"""The requested model, without its provider."""

REHEARSED = "aideon_rehearsed"
"""True when the answer is worked out by rule and nothing is paid."""

SIMULATED = "aideon_simulated"
"""True when a simulated provider is asked, as an earlier answer from its address has said."""

SHORTENED = "aideon_shortened"
"""True when `max_tokens` was lowered to fit a budget."""

ECONOMIZED = "aideon_economized"
"""True when a cheaper model comes before the chain's first, because a budget is nearly used up."""

CHOICE = "aideon_choice"
"""Why this model is asked, as a JSON object (see `models.choosing`); absent: no choice of ours was made."""

HELD_AT = "aideon_held_at"
"""When the call's money was held, as `identity.utc_text` writes it: its row begins at the same time."""

SENDING = "aideon_sending"
"""Whether the request was sent, as a dict that the model and the recorders share: the model sets
`sent` to True just before it sends, a recorder of the call's end to False, and the first one decides.
With an answer, the model sets `simulated` to whether a simulated provider gave it. `cached` is True
when the answer cache gives the answer, and nothing is sent.
Absent or None: the model does not say when it sends."""

FEATURE = "aideon_feature"
"""How a typed answer is asked for, as `models.features` names it; absent: text is asked for."""

USAGE_SOURCE = "aideon_usage_source"
"""In an answer's response_metadata: `estimated` when its token counts are not a provider's."""

MEASURED = "aideon_measured"
"""In an answer's llm_output: how a call of media was billed, as columns of `CallEnd`; absent: it was none."""

MODALITY = "aideon_modality"
"""What a call makes, as the catalog names it; absent: text."""

CHAIN = "aideon-chain"
"""The `_llm_type` of `chat_model`, which asks models that have rows of their own."""

ANSWERED = "aideon_answered"
"""In an answer's response_metadata: the models that answered, each with whether it met `max_tokens` and
how old an answer is that was used because all models failed."""
