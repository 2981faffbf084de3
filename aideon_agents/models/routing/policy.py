"""What is done about private prompts: what is looked for, in which parts of a call, and who may hear of it."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, cast, get_args

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import tracing_v2_callback_var

from aideon_agents.errors import PrivacyRule
from aideon_agents.models.features import SHAPE
from aideon_agents.models.pictures.blocks import is_picture, parts
from aideon_agents.models.routing import rules as routing
from aideon_agents.models.routing.privacy import kind_in, strings
from aideon_agents.models.routing.rules import Rules
from aideon_agents.settings.deployments import version_of
from aideon_agents.state import Privacy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.fallbacks import Attempts
    from aideon_agents.state import Context, ModelRequest

LooksFor = Literal["nothing", "values", "words", "all"]
"""What makes a prompt private: values, such as addresses and numbers, the documents' words as well, or
pictures as well, whose content is not read."""

_INSTEAD = (
    'set AIDEON_LOCAL_BASE_URL to a server of your own, or give privacy="off" (--privacy off) where the '
    "text may leave"
)


class Policy(NamedTuple):
    """What a chain does about private prompts."""

    looks_for: LooksFor
    rules: Rules
    goes_to: str | None = None
    """Where private prompts go, for the rows of a rehearsal; None: there is no such model."""

    def kind(self, messages: Sequence[BaseMessage], options: Mapping[str, Any]) -> str | None:
        """What a call holds that may not leave; None: nothing. `options` may hold tools and a schema."""
        if self.looks_for == "all" and any(
            is_picture(part) for one in messages for part in parts(one.content)
        ):
            return "a picture"
        texts = [part for message in messages for part in _parts(message)]
        offered = {name: value for name, value in options.items() if name != SHAPE}
        texts += [("options", text) for text in strings(offered)]
        if shape := options.get(SHAPE):
            texts.append(("options", _schema_text(shape)))
        return kind_in(self.rules, tuple(texts), words=self.looks_for in {"words", "all"})

    def kind_of_input(self, given: LanguageModelInput, options: Mapping[str, Any]) -> str | None:
        """As `kind`, of a question in any form that a chat model takes."""
        if self.looks_for == "nothing":
            return None
        is_prompt = isinstance(given, PromptValue)
        listed: Any = [given] if isinstance(given, str) else given
        return self.kind(given.to_messages() if is_prompt else convert_to_messages(listed), options)

    def kind_of_arguments(self, arguments: Mapping[str, Any]) -> str | None:
        """What the arguments of a tool call hold that may not leave; None: nothing.

        Words alone count with `strict` only: a search is not private because of its subject.
        """
        if self.looks_for == "nothing":
            return None
        parts = tuple(("arguments", text) for text in strings(arguments))
        return kind_in(self.rules, parts, words=self.looks_for == "all")

    def stored(self, words: str) -> str:
        """A tool's error for logs and rows: only what kind of private data it holds, if it does."""
        kind = self.kind_of_arguments({"error": words})
        return f"what it said is left out: it holds {kind}" if kind else words


def policy_for(request: ModelRequest, context: Context) -> Policy:
    """What is done about private arguments of the tools that an agent calls."""
    settings: Any = getattr(context.models, "settings", None)
    looks = looks_for(request.privacy, context.privacy, has_own_server=False)
    path = settings.catalog if settings else None
    return Policy(looks, routing.load(path, *version_of(path)) if path else routing.load())


def looks_for(*given: Privacy | None, has_own_server: bool) -> LooksFor:
    """What makes prompts private. The strictest counts of what the run and the agent say; `on` if neither does."""
    strictest = max((one for one in given if one), key=get_args(Privacy).index, default="on")
    if strictest == "off":
        return "nothing"
    if strictest == "strict":
        return "all"
    return "words" if has_own_server else "values"


@functools.cache
def default_policy() -> Policy:
    """The policy of a model that is asked outside a chain."""
    return Policy("values", routing.load())


def refuse(kind: str) -> NoReturn:
    """Raise the error of a prompt that may not leave."""
    raise PrivacyRule(kind, "the prompt", _INSTEAD)


def decide(policy: Policy, attempts: Attempts, candidate: Candidate, kind: str | None) -> None:
    """Note in a pass that its prompt is private; PrivacyRule: it may leave, to this candidate or another.

    A rehearsal notes what a run would do, and warns once where that would fail.
    """
    attempts.private = None
    if kind is None:
        return
    known = {"rule": "privacy", "private": kind}
    if candidate.rehearsed:
        known["would"] = f"ask {policy.goes_to}" if policy.goes_to else "fail"
        if not policy.goes_to and kind not in attempts.logged:
            attempts.logged.add(kind)
            _log.warning(
                "a real run would fail here: a prompt holds %s, and may not leave: %s",
                kind,
                _INSTEAD,
            )
    elif not all(one.row.private for one in attempts.candidates):
        refuse(kind)
    attempts.private = json.dumps(known)


_OF_CALLS = frozenset({"id", "tool_call_id", "call_id", "index", "signature"})
"""Keys of messages that hold what servers and this package made up."""


def _parts(message: BaseMessage) -> list[tuple[str, str]]:
    """The texts of a message, each with its role."""
    content = cast("Any", message.content)
    pieces: list[Any] = [content] if isinstance(content, str) else list(content)
    texts: list[str] = []
    if isinstance(message, AIMessage):
        calls = (*message.tool_calls, *message.invalid_tool_calls)
        texts += [text for call in calls for text in strings(call["args"])]
    pieces += [message.additional_kwargs, message.name or ""]
    for piece in pieces:
        is_text = isinstance(piece, dict) and isinstance(piece.get("text"), str)
        texts += [piece["text"]] if is_text else strings(piece, without=_OF_CALLS)
    return [(message.type, text) for text in texts if text]


@functools.lru_cache(maxsize=256)
def _schema_text(shape: Any) -> str:
    return "\n".join(strings(shape.model_json_schema()))


_log = logging.getLogger("aideon_agents.models")

is_untraced: ContextVar[bool] = ContextVar("is_untraced", default=False)
"""Whether the running call is private, and no tracer hears of it."""


@contextlib.contextmanager
def untraced(config: RunnableConfig) -> Generator[None]:
    """Ask models for the length of a block without LangSmith, which copies prompts to a cloud."""
    # It takes a tenth of a second, which only private calls need.
    from langsmith.run_helpers import tracing_context  # noqa: PLC0415 - see above

    tokens: list[tuple[ContextVar[Any], Any]] = [
        (is_untraced, is_untraced.set(True)),
        (tracing_v2_callback_var, tracing_v2_callback_var.set(None)),
        (var_child_runnable_config, var_child_runnable_config.set(config)),
    ]
    try:
        with tracing_context(enabled=False):
            yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


async def untraced_stream(
    source: AsyncGenerator[Any], config: RunnableConfig
) -> AsyncGenerator[Any]:
    """A stream, each step of which no tracer hears of; the consumer's context does not change."""
    async with contextlib.aclosing(source):
        while True:
            with untraced(config):
                try:
                    chunk = await anext(source)
                except StopAsyncIteration:
                    return
            yield chunk


def without_tracers(config: RunnableConfig) -> RunnableConfig:
    """A call's config, without LangSmith among its callbacks."""
    from langchain_core.tracers.langchain import LangChainTracer  # noqa: PLC0415 - as above

    given: Any = config.get("callbacks")
    if isinstance(given, BaseCallbackManager):
        given = given.copy()
        for one in [*given.handlers, *given.inheritable_handlers]:
            if isinstance(one, LangChainTracer):
                given.remove_handler(one)
    elif given:
        given = [one for one in given if not isinstance(one, LangChainTracer)]
    return cast("RunnableConfig", {**config, "callbacks": given})
