"""What a model at an address takes, learnt from its refusals and remembered for the process.

There are four ways to ask for an answer of a shape: as a JSON schema, as a JSON object with a schema
beside it, as the arguments of a tool, and in words. They are tried in this order. A model that refuses
one is asked again at once in the next way, and so are all later calls. A parameter that a model refuses
is left out, or said in another way.

Requests are changed just before they are sent, so an answer cache and callbacks see what was asked.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from urllib.parse import urlsplit

from aideon_agents import errors
from aideon_agents.ledger.forks import renewed
from aideon_agents.models.protocol.conversation import NO_TEXT, further_fields, no_text_in

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from pydantic import BaseModel

Rung = Literal["json_schema", "json_object", "tool", "words"]
RUNGS: tuple[Rung, ...] = get_args(Rung)

SHAPE = "aideon_shape"
"""The option of a call that holds the pydantic model of its answer. It is never sent."""

FOR_TRACERS = ("ls_structured_output_format", "structured_output_format")
"""Options that LangChain adds for its tracers, and takes out again where it calls a model."""

_STARTS: Mapping[str, Rung] = {
    "api.deepseek.com": "json_object",
    "dashscope.aliyuncs.com": "json_object",
    "dashscope-intl.aliyuncs.com": "json_object",
    # It takes OpenAI's `response_format` and ignores it.
    "api.anthropic.com": "tool",
}
"""Where to begin with servers that are known not to take a JSON schema, by host."""

_CAN_DO_WITHOUT = (
    "temperature",
    "top_p",
    "seed",
    "parallel_tool_calls",
    "stream_options",
    "tool_choice",
    "reasoning_effort",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "service_tier",
    "max_new_tokens",
    "system_prompt",
)
"""Parameters that are left out where a server refuses them."""
_OTHER_NAMES = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_SYSTEM = "system role"
_SYSTEM_ROLES = frozenset({"system", "developer"})

_REFUSES = re.compile(
    r"unsupported|(?:not|n't|never|only)[\w\s]{0,20}(?:support|permit|allow|accept|available|recogni"
    r"|implement|expect|known)|unknown|unexpected|unrecogni[sz]ed|extra[_ ](?:forbidden|inputs|fields)"
    r"|additional propert|incompatible|deprecated|only the default|cannot be (?:used|set|combined)"
    r"|may only be set|(?:use|try) [`'\"]?max_(?:completion_)?tokens|no such|invalid (?:parameter|argument"
    r"|field|key)",
)
"""Words for what a server does not take; a value out of its range reads otherwise."""
_OF_SHAPES = re.compile(
    r"response[_ ]?format|json[_ ]?(?:schema|object|mode)|schema|structured|grammar|guided|xgrammar"
    r"|outlines|additional ?propert"
)
_OF_FORMATS = re.compile(r"response[_ ]?format|json[_ ](?:schema|object|mode)|structured")
"""The same beside tools, which have schemas too."""
_OF_TOOLS = re.compile(r"\btools?\b|tool[_ ]|function")
_OF_SYSTEM = re.compile(
    r"(?:system|developer)[`'\"]? (?:role|message|prompt|instruction)|role[^.]{0,30}(?:system|developer)"
)
_OF_CONTENT = re.compile(
    r"\bcontent\b(?![- ]?(?:polic|filter|manag|moderat|safety|length))"
    r"|\bnull|\bnil\b|nonetype|['\"`]none\b|\bis none\b|undefined"
)
"""What servers say of a message whose content is null, absent or empty."""
_ROLES = re.compile(r"only user and assistant|roles must alternate|unexpected role")
"""What chat templates say that know two roles."""
_MAY_CONCERN = frozenset({400, 404, 405, 415, 422, 500, 501})
"""Statuses of a refusal that may concern a parameter."""

_REASONS = re.compile(
    r"gpt-oss|(?:^|/)o[1-9](?:-|$)|(?:^|/)gpt-(?:[5-9]|\d\d)(?!.*chat)"
    r"|(?:think|(?<!non-)reason|magistral|qwq|qvq|deepseek-r\d|(?:^|/)r1-|exaone-deep|glm-z1|seed-oss)"
    r"|deepseek.*v(?:3\.[1-9]|[4-9])|glm-(?:4\.[5-9]|[5-9])|minimax-m[1-9]|kimi-k(?:2\.[5-9]|[3-9])"
    r"|qwen-?(?:3(?!\.)(?!.*(?:instruct|coder|embed|rerank|asr|omni))"
    r"|3\.[5-9]|[4-9])(?!.*(?:embed|rerank))"
    r"|gemini-(?:2\.5|[3-9])|grok-(?:3-mini|4)"
)
"""Names of models that think before they answer. Their thoughts count as output."""

_PROSE = 2
"""Answers without any JSON in a row, after which the schema is put into words."""


class Features:
    """What one model at one address takes. All chains of the process share it."""

    def __init__(self, start: Rung = RUNGS[0], name: str = "") -> None:
        self._start: Rung = start
        self._name = name.lower()
        self.after_fork()
        self.forget()
        renewed.add(self)

    def after_fork(self) -> None:
        """Take no lock over from the parent process."""
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Begin again, as if the model had never been asked."""
        with self._lock:
            self.rung: Rung = self._start
            """How an answer of a shape is asked for."""
            self.refused: frozenset[str] = frozenset()
            """Names of parameters that are left out or said in another way."""
            self.gives_reasons = False
            """Whether it has given a finish reason: an answer without one is then not whole."""
            self.thinks = bool(_REASONS.search(self._name))
            """Whether its answers need room for thoughts: by its name, or as an answer has shown."""
            self.is_blind = False
            """Whether it has refused pictures."""
            self._prose = 0

    def fitted(
        self, payload: dict[str, Any], shape: type[BaseModel] | None = None
    ) -> dict[str, Any]:
        """A request, changed in place to what this model takes."""
        if shape is not None:
            self._ask_for(payload, shape)
        for name in self.refused:
            value = payload.pop(name, None)
            if value is not None and name in _OTHER_NAMES:
                payload[_OTHER_NAMES[name]] = value
        if _SYSTEM in self.refused:
            payload["messages"] = _without_system(payload.get("messages") or [])
        return payload

    @contextlib.contextmanager
    def learning(self, payload: Mapping[str, Any]) -> Generator[None]:
        """Learn from a refusal how this model can be asked."""
        try:
            yield
        except errors.ProviderError as error:
            if not self.learn(payload, error):
                raise
            refused = errors.Unsupported(str(error), billed=error.billed, status=error.status)
            refused.adapted = True
            raise refused from error

    def learn(self, payload: Mapping[str, Any], error: errors.ProviderError) -> bool:
        """Whether a refusal says how this model can be asked otherwise."""
        is_named = isinstance(error, errors.Unsupported)
        of_kind = isinstance(error, errors.CallerError | errors.NotThisModel | errors.Transient)
        if not is_named and not (of_kind and error.status in _MAY_CONCERN):
            return False
        named = (error.param or "").lower()
        words = f"{error.words or error} {named}".lower()
        places = {re.split(r"[.\[]", one, maxsplit=1)[0] for one in named.split(", ") if one}
        with self._lock:
            return (
                self._learn_parameter(payload, words, places)
                or self._learn_message(payload, words)
                or self._learn_rung(payload, words, is_named=is_named)
            )

    def count_prose(self, rung: Rung, *, has_json: bool) -> None:
        """Count answers that hold no JSON: a server may take a format and ignore it."""
        if rung not in {"json_schema", "tool"}:
            return  # the schema is in words already
        with self._lock:
            self._prose = 0 if has_json else self._prose + 1
            if self._prose >= _PROSE and rung == self.rung:
                self._step_down()

    def described(self) -> str:
        """One line for people."""
        left_out = ", ".join(sorted(self.refused))
        return f"typed answers by {self.rung}" + (f"; without {left_out}" if left_out else "")

    def _step_down(self) -> None:
        self.rung = RUNGS[RUNGS.index(self.rung) + 1]
        self._prose = 0

    def _learn_rung(self, payload: Mapping[str, Any], words: str, *, is_named: bool) -> bool:
        sent = cast("Rung | None", payload.get(SHAPE))
        if sent is None or sent == RUNGS[-1]:
            return False
        of_tools = payload.get("tools") and _OF_TOOLS.search(words)
        if sent == "tool":
            concerns = of_tools and _REFUSES.search(words)
        else:
            # A grammar that a server cannot make of a schema is a refusal, whatever its words.
            concerns = (_OF_FORMATS if of_tools else _OF_SHAPES).search(words)
        if not (concerns or (is_named and not of_tools)):
            return False
        if sent == self.rung:
            self._step_down()
        return True

    def _learn_parameter(
        self, payload: Mapping[str, Any], words: str, places: Collection[str]
    ) -> bool:
        refuses = bool(_REFUSES.search(words))
        for name in (*_CAN_DO_WITHOUT, *_OTHER_NAMES) if refuses else ():
            is_named_here = name in places if places else re.search(rf"\b{name}\b", words)
            if name in payload and is_named_here:
                if _OTHER_NAMES.get(name) in self.refused:
                    return False
                self.refused |= {name}
                return True
        of_system = _ROLES.search(words) or (refuses and _OF_SYSTEM.search(words))
        if of_system and _has_system(payload):
            self.refused |= {_SYSTEM}
            return True
        return False

    def _learn_message(self, payload: Mapping[str, Any], words: str) -> bool:
        """Learn what a model does not take beside tool calls."""
        messages = payload.get("messages") or ()
        named = {one for one in further_fields(messages) if re.search(rf"\b{one.lower()}\b", words)}
        if named and _REFUSES.search(words):
            self.refused |= named
            return True
        sent = no_text_in(messages)
        if sent is None or _OF_SHAPES.search(words) or not _OF_CONTENT.search(words):
            return False
        self.refused |= {sent}
        if self.refused >= NO_TEXT.keys():  # it is about something else
            self.refused -= NO_TEXT.keys()
            return False
        return True

    def _ask_for(self, payload: dict[str, Any], shape: type[BaseModel]) -> None:
        """Ask for an answer of a shape in the way of the present rung."""
        rung = self.rung
        payload[SHAPE] = rung
        name, schema = shape_name(shape), closed_schema(shape)
        if rung == "json_schema":
            payload["response_format"] = response_format(shape)
        elif rung == "json_object":
            payload["response_format"] = {"type": "json_object", "schema": schema}
        elif rung == "tool":
            described = {"name": name, "description": "Gives the answer.", "parameters": schema}
            tool = {"type": "function", "function": described}
            payload["tools"] = [*(payload.get("tools") or ()), tool]
            payload["tool_choice"] = {"type": "function", "function": {"name": name}}
            if "tool_choice" in self.refused:
                _say(payload, f"Answer by calling the function {name}.")
        if rung in {"json_object", "words"}:
            _say(payload, in_words(shape))


def _has_system(payload: Mapping[str, Any]) -> bool:
    return any(one.get("role") in _SYSTEM_ROLES for one in payload.get("messages") or ())


def _without_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with what the system says in the first message of the user."""
    of_system = [one for one in messages if one.get("role") in _SYSTEM_ROLES]
    rest = [one for one in messages if one.get("role") not in _SYSTEM_ROLES]
    texts = "\n\n".join(_text(one.get("content")) for one in of_system)
    if not texts:
        return rest
    place = next((nth for nth, one in enumerate(rest) if one.get("role") == "user"), None)
    if place is None:
        return [{"role": "user", "content": texts}, *rest]
    first, content = rest[place], rest[place].get("content")
    parts: Any = (
        [{"type": "text", "text": texts}, *cast("list[Any]", content)]
        if isinstance(content, list)
        else f"{texts}\n\n{content or ''}"
    )
    return [*rest[:place], {**first, "content": parts}, *rest[place + 1 :]]


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(one.get("text") or "") for one in cast("list[Any]", content))
    return str(content or "")


def _say(payload: dict[str, Any], words: str) -> None:
    """Put words at the end of the prompt; no other message may follow the results of tools."""
    *before, last = payload.get("messages") or [{}]
    content = last.get("content")
    if last.get("role") not in {"user", "tool"}:
        payload["messages"] = [
            *before,
            *([last] if last else []),
            {"role": "user", "content": words},
        ]
        return
    parts: Any = (
        [*cast("list[Any]", content), {"type": "text", "text": words}]
        if isinstance(content, list)
        else f"{content or ''}\n\n{words}"
    )
    payload["messages"] = [*before, {**last, "content": parts}]


def shape_name(shape: type[BaseModel]) -> str:
    """The name of a shape in the characters that providers accept."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", shape.__name__)[:64] or "Answer"


def response_format(shape: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` for a pydantic model, as OpenAI and compatible servers take it."""
    return {
        "type": "json_schema",
        "json_schema": {"name": shape_name(shape), "schema": closed_schema(shape)},
    }


def in_words(shape: type[BaseModel]) -> str:
    """The request for a shape in words."""
    return "Answer with JSON alone that fits this JSON schema: " + json.dumps(closed_schema(shape))


@functools.lru_cache(maxsize=256)
def closed_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """The schema without additional properties in its objects, as providers require."""
    schema = shape.model_json_schema()
    if root := schema.pop("$ref", None):  # of a model that contains itself: providers refuse it
        schema = {**schema["$defs"][root.rpartition("/")[2]], **schema}
    return _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in cast("dict[str, Any]", schema).items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


_known: dict[tuple[str, str], Features] = {}


def features_of(
    base_url: str, model: str, *, json_schema: bool | None = None, tools: bool | None = None
) -> Features:
    """The process's features of a model at an address; None: nothing says whether it takes these."""
    start = _STARTS.get(urlsplit(base_url).hostname or "", RUNGS[0])
    if json_schema is not None:
        start = RUNGS[0] if json_schema else "words" if tools is False else "tool"
    return _known.setdefault((base_url.rstrip("/"), model), Features(start, model))
