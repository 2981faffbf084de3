"""What real servers of the OpenAI protocol accept and send, each as a dialect with its sources.

What a server does only with some of its models is tied to names of such models: `gpt-5` on `openai`,
`gemma-2` on `vllm`, `llama3` on `ollama`. Any other name is a model without the restriction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from aideon_agents.errors import UserError
from aideon_agents.testing.simulated.dialects import hosted, local
from aideon_agents.testing.simulated.dialects.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

DialectName: TypeAlias = Literal[
    "together",
    "openai",
    "huggingface",
    "llama-cpp-python",
    "llama-server",
    "ollama",
    "vllm",
    "lmstudio",
    "tgi",
]

DIALECTS: Mapping[DialectName, Dialect] = {
    "together": hosted.TOGETHER,
    "openai": hosted.OPENAI,
    "huggingface": hosted.HUGGING_FACE,
    "llama-cpp-python": local.LLAMA_CPP_PYTHON,
    "llama-server": local.LLAMA_SERVER,
    "ollama": local.OLLAMA,
    "vllm": local.VLLM,
    "lmstudio": local.LM_STUDIO,
    "tgi": local.TGI,
}
"""Real servers by name."""


def dialect_of(wanted: Dialect | str | None) -> Dialect:
    """A dialect, or the one with this name; UserError: there is none."""
    if wanted is None:
        return Dialect()
    if isinstance(wanted, Dialect):
        return wanted
    if wanted not in DIALECTS:
        known = ", ".join(get_args(DialectName))
        raise UserError(f"there is no dialect {wanted!r}; it is one of {known}")
    return DIALECTS[cast("DialectName", wanted)]
