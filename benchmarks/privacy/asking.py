"""Asks each case in its way, and looks for its text wherever it must not be."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from cases import prose
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import Field, create_model

from aideon_agents import (
    Settings,
    arun,
    astream,
    chat_model,
    creative,
    executor,
    iterative,
    sequential,
    validator,
)
from aideon_agents.testing import Fault, SimulatedProvider

if TYPE_CHECKING:
    import random
    from collections.abc import Generator

    from cases import Case


@dataclasses.dataclass
class Found:
    """Where text of private prompts was found."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    in_cloud: list[int] = dataclasses.field(default_factory=list)
    in_logs: list[int] = dataclasses.field(default_factory=list)
    in_errors: list[int] = dataclasses.field(default_factory=list)
    in_ledger: list[int] = dataclasses.field(default_factory=list)

    @property
    def leaks(self) -> int:
        """How many cases left a trace."""
        return sum(map(len, (self.in_cloud, self.in_logs, self.in_errors, self.in_ledger)))


class Servers:
    """Clouds and two servers of one's own, on loopback addresses; one of these is always broken."""

    def __init__(self) -> None:
        self.trouble, self.echo = "none", ""
        self.cloud = SimulatedProvider(faults=self._of_cloud, announce=False)
        self.own = SimulatedProvider(announce=False)
        self.broken = SimulatedProvider(faults=self._of_own, announce=False)

    def _of_cloud(self, _request: Any) -> Fault | None:
        return Fault(503) if self.trouble == "cloud_down" else None

    def _of_own(self, _request: Any) -> Fault | None:
        if self.trouble == "refuses":
            return Fault(401)
        if self.trouble == "echo":
            return Fault(400, message=f"cannot take the prompt {self.echo}")
        return Fault("garbage") if self.trouble == "malformed" else None

    @contextlib.contextmanager
    def running(self) -> Generator[Servers]:
        """Serve for the length of a block."""
        with self.cloud, self.own, self.broken:
            yield self

    def settings(self, ledger: str) -> Settings:
        """Keys for each cloud, and the address of one's own server, which may be off."""
        own: str | None = self.own.base_url
        if self.trouble == "no_server":
            own = None
        elif self.trouble in ("refuses", "echo", "malformed"):
            own = self.broken.base_url
        elif self.trouble == "down":
            own = "http://127.0.0.1:9/v1"
        clouds = dict.fromkeys(
            ("together_base_url", "openai_base_url", "hf_base_url"), self.cloud.base_url
        )
        keys = {"together_api_key": "t" * 12, "openai_api_key": "o" * 12, "hf_token": "h" * 12}
        return Settings(**clouds, **keys, local_base_url=own, ledger=ledger)


async def ask(case: Case, servers: Servers, ledger: str, chance: random.Random) -> tuple[str, bool]:
    """Ask a case; returns every error in words, and whether there was an answer."""
    servers.trouble, servers.echo = case.trouble, f"{case.mark} {case.secret}"
    settings = servers.settings(ledger)
    text = f"{case.mark} {prose(chance, 12)} {case.secret} {prose(chance, 5)} {case.mark}"
    if case.place in ("task", "middle", "instructions", "result", "schema") and case.way not in (
        "chat_model",
        "stream",
    ):
        return await _run(case, settings, text, chance)
    return await _converse(case, settings, text)


async def _run(
    case: Case, settings: Settings, text: str, chance: random.Random
) -> tuple[str, bool]:
    long = f"{prose(chance, 60)}\n{text}\n{prose(chance, 60)}"
    task = {"task": text, "middle": long}.get(case.place, "explain heat pumps")
    options: dict[str, Any] = {"instructions": text} if case.place == "instructions" else {}
    if case.place == "schema":
        options["output"] = create_model("Answer", text=(str, Field(description=text)))
    elif case.way == "structured":
        options["output"] = create_model("Answer", text=(str, ...))
    if case.way == "tools":
        options["tools"] = [_looked_up(text if case.place == "result" else "nothing")]
    worker = executor("work", **options)
    steps = [worker]
    if case.place == "result":
        steps = [lambda _state: text, worker]
    graph = sequential(*steps)
    if case.way == "judge":
        judge = validator("judge", criteria="it is short")
        graph = sequential(
            *steps[:-1], iterative(creative("draft", **options), judge, max_rounds=2)
        )
    if case.way == "astream":
        last: Any = None
        async for event in astream(graph, task, settings=settings):
            last = event
        return str(last.result.error), last.result.status == "completed"
    result = await arun(graph, task, settings=settings)
    return str(result.error), result.status == "completed"


def _looked_up(text: str) -> Any:
    @tool
    def look_up(subject: str) -> str:
        """Look a subject up."""
        del subject
        return text

    return look_up


async def _converse(case: Case, settings: Settings, text: str) -> tuple[str, bool]:
    model = chat_model(settings=settings)
    question: list[Any] = [HumanMessage(f"{case.mark} explain this")]
    half = len(text) // 2
    call = {"name": "look_up", "args": {"subject": text}, "id": "c1"}
    empty = {**call, "args": {"subject": case.mark}}
    before = {
        "instructions": [SystemMessage(text)],
        "feedback": [HumanMessage("say more"), AIMessage(text)],
        "tool_result": [
            AIMessage("", tool_calls=[empty]),
            ToolMessage(text, tool_call_id="c1", name="look_up"),
        ],
        "tool_arguments": [
            AIMessage("", tool_calls=[call]),
            ToolMessage("nothing", tool_call_id="c1", name="look_up"),
        ],
        "part": [HumanMessage([{"type": "text", "text": "see"}, {"type": "text", "text": text}])],
        "split": [HumanMessage(text[:half]), HumanMessage(text[half:])],
    }
    asked = [*before.get(case.place, [HumanMessage(text)]), *question]
    try:
        if case.way in ("stream", "astream"):
            said = [chunk async for chunk in model.astream(asked)]
        elif case.way == "structured":
            shape = create_model("Answer", text=(str, ...))
            said = await model.with_structured_output(shape).ainvoke(asked)
        elif case.way == "tools":
            said = await model.bind_tools([_looked_up("nothing")]).ainvoke(asked)
        else:
            said = await model.ainvoke(asked)
    except Exception as error:  # noqa: BLE001 - each of them is looked at
        return f"{error!r} {error.__cause__!r}", False
    return "", bool(said)


_BARE = re.compile(r"[\W_]+")


def bare(text: str) -> str:
    """A text without what may stand between the characters of a secret, in one script."""
    return _BARE.sub("", unicodedata.normalize("NFKC", text)).lower()


async def look(
    case: Case, servers: Servers, ledger: str, chance: random.Random, found: Found
) -> None:
    """Ask a case, and note where its text is found."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    seen = len(servers.cloud.requests)
    if case.trouble == "cached":
        from langchain_core.caches import InMemoryCache  # noqa: PLC0415 - one trouble needs it

        cache = InMemoryCache()
        set_llm_cache(cache)
    try:
        words, answered = await ask(case, servers, ledger, chance)
        if case.trouble == "cached":
            words += repr(cache._cache)  # noqa: SLF001 - it shows nothing else
    finally:
        set_llm_cache(None)
        root.removeHandler(handler)
        root.setLevel(level)
    found.asked += 1
    found.answered += answered
    found.refused += "may not leave" in words
    hidden = bare(case.secret.removeprefix("password: "))
    sent = [json.dumps(one.body, ensure_ascii=False) for one in servers.cloud.requests[seen:]]
    if any(case.mark in one or hidden in bare(one) for one in sent):
        found.in_cloud.append(case.number)
    if hidden in bare(stream.getvalue()):
        found.in_logs.append(case.number)
    if hidden in bare(words):
        found.in_errors.append(case.number)
