"""Answers that fit a schema: ask with a JSON schema, check the answer, ask once more if it is wrong.

The schema travels in `extra_body`, not as LangChain's `response_format`: with the latter the client
library raises for an answer that reached its token limit, and the ledger loses the tokens it cost.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import BaseModel, ValidationError

from aideon_agents.errors import Malformed
from aideon_agents.ledger.redaction import ANSWER_BEGINS
from aideon_agents.models.attempts import announce_restart, pass_of
from aideon_agents.models.bridge import blocking

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage

Model = TypeVar("Model", bound=BaseModel)


_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```\w*\s*\n(.*?)\n\s*```", re.DOTALL)
_SHOWN = 120  # characters of a wrong answer that an error shows


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` for a pydantic model, as OpenAI and compatible servers take it."""
    return {
        "type": "json_schema",
        "json_schema": {"name": schema.__name__, "schema": _closed(schema.model_json_schema())},
    }


def parse(answer: AIMessage, schema: type[Model]) -> Model:
    """Read an answer; thoughts before the JSON, words around it and a code fence are ignored."""
    text = answer.text.strip()
    try:
        return schema.model_validate_json(_json_in(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        begins = text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")
        raise Malformed(
            f"the answer is no {schema.__name__}: {place}: {first['msg']}"
            f"{ANSWER_BEGINS}{json.dumps(begins, ensure_ascii=False)}"
        ) from None


def _json_in(text: str) -> str:
    """The JSON in an answer, or the answer if there is none."""
    found = _THOUGHT.sub("", text).strip()
    if found.startswith(("{", "[")):
        return found
    fenced = _FENCE.search(found)
    found = fenced.group(1).strip() if fenced else found
    begins = found.find("{")
    if begins < 0:
        return found
    try:
        _, length = json.JSONDecoder().raw_decode(found[begins:])
    except ValueError:
        return found
    return found[begins : begins + length]


def shaped(
    model: Any,
    schema: type[Model],
    **kwargs: Any,
) -> Runnable[LanguageModelInput, Model]:
    """A runnable that asks `model` for an instance of `schema`, in at most two calls."""
    form = response_format(schema)
    bound = model.bind(extra_body={"response_format": form}, **kwargs)
    # A server that ignores the format gets the schema in the prompt.
    wanted = "Answer with JSON alone that fits: " + json.dumps(form["json_schema"]["schema"])

    async def ask(question: LanguageModelInput, config: RunnableConfig) -> Model:
        messages = model._convert_input(question).to_messages()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as LangChain reads it
        first = await bound.ainvoke(messages, config)
        try:
            return parse(first, schema)
        except Malformed as wrong:
            pass_of(config, model.candidate).complain(model.candidate, wrong, is_last=False)
            again = HumanMessage(f"That cannot be used: {wrong}. {wanted}")
        announce_restart(config)
        second = await bound.ainvoke([*messages, first, again], config)
        try:
            return parse(second, schema)
        except Malformed as wrong:
            pass_of(config, model.candidate).complain(model.candidate, wrong, is_last=True)
            raise

    def ask_blocking(question: LanguageModelInput, config: RunnableConfig) -> Model:
        return blocking(ask(question, config))

    return RunnableLambda(ask_blocking, ask, name=f"shape {schema.__name__}")


def _closed(schema: Any) -> Any:
    """The schema without additional properties in its objects, as providers require."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed
