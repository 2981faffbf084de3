"""Threads, and the states that their runs have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends
from langchain_core.messages import convert_to_messages

from aideon_agents.api.langgraph import shapes
from aideon_agents.api.langgraph.shapes import Body, Client, Document, Page, Reader, Writer
from aideon_agents.errors import Conflict, NotFound
from aideon_agents.graphs.output import output
from aideon_agents.ledger.rows import Run
from aideon_agents.runner.outcome import recorded
from aideon_agents.runner.spec import takes_task
from aideon_agents.runner.state import conversation, kept_values
from aideon_agents.serving import events, served, threads

router = APIRouter(prefix="/threads")
ThreadStatus: TypeAlias = Literal["idle", "busy", "interrupted", "error"]
_ALL = 10_000
"""More runs than a thread has, and more threads than a user has."""


class Thread(NamedTuple):
    """A thread of the client's."""

    client: Client
    row: Document

    @classmethod
    def find(cls, client: Client, thread_id: str) -> Thread:
        return cls(client, threads.find(client.ledger, client.caller.user, thread_id))

    @property
    def id(self) -> str:
        return self.row["thread_id"]

    @property
    def status(self) -> ThreadStatus:
        """LangGraph's word for what it does."""
        if self.row["status"] != "idle":
            return "interrupted" if self.row["status"] == "waiting" else "busy"
        newest = self.row["run_id"]
        ended = self.client.ledger.find_run(newest).status if newest else None
        return "error" if ended in ("failed", "stopped", "crashed") else "idle"

    def run_ids(self) -> list[str]:
        """Its runs, the newest first."""
        only: dict[str, Any] = {"user": self.client.caller.user, "thread": self.id}
        return served.runs(self.client.ledger, None, _ALL, **only)

    def with_metadata(self, more: Document) -> Thread:
        """The same, with more metadata."""
        threads.merge_metadata(self.client.ledger, self.client.caller.user, self.id, more)
        return Thread.find(self.client, self.id)

    async def state(self) -> Document:
        """Its newest state."""
        return [*await self.states(), self._state({}, None, self.row["created_at"], [])][0]

    async def states(self) -> list[Document]:
        """What each completed run has left, and the newest run; the newest first."""
        client, found = self.client, list[Document]()
        runs = [client.ledger.find_run(one) for one in self.run_ids()]
        workflow = client.service.workflows.get(self.row["workflow"] or "")
        graph = workflow.target.graph if workflow else None
        newest = runs[0] if runs else None
        if newest and graph and not takes_task(graph):
            values = await self._messages_kept(newest)
            return [self._of_newest(newest, values, [], is_ours=False)]
        values: Document = {"messages": []}
        kept = newest and await conversation(client.ledger, self.id, rehearsed=newest.rehearsed)
        done = [one for one in runs if one.status == "completed"]
        for run, exchange in reversed([*zip(done, reversed(kept or ()), strict=False)]):
            given = output(graph, exchange.results)
            text = given.content if given else ""
            both = [self._human(run, exchange.task), shapes.answer_message(run.run_id, text)]
            values = {"messages": values["messages"] + both, "output": text}
            values["results"] = recorded(exchange.results)
            found.append(self._state(values, run.run_id, run.ended_at, found))
        if newest and not (kept and newest in done):
            found.append(self._of_newest(newest, values, found))
        return found[::-1]

    async def _messages_kept(self, run: Run) -> Document:
        """The messages of a graph that is not ours, which keeps them itself."""
        name = self.row["workflow"]
        graph = self.client.service.workflows.find(self.client.caller, name).target.graph
        values = await kept_values(
            self.client.ledger, graph, name, self.id, rehearsed=run.rehearsed
        )
        kept = convert_to_messages(values.get("messages") or [])
        return {"messages": [one.model_dump(mode="json") for one in kept]}

    def _of_newest(
        self, run: Run, values: Document, before: Sequence[Document], *, is_ours: bool = True
    ) -> Document:
        """The state of the newest run, which may have a question, an error or no end."""
        shown = self.client.service.show(self.client.caller, run.run_id)
        if is_ours:
            task = (events.asked(self.client.ledger, run.run_id) or {}).get("task")
            spoken = [] if task is None else [self._human(run, task)]
            spoken += [shapes.question_message(shown)] if shown["questions"] else []
            values = {"messages": values["messages"] + spoken, "output": None}
            values["results"] = shown["results"]
        return self._state(values, run.run_id, run.ended_at or run.started_at, before, shown)

    def _human(self, run: Run, task: str) -> Document:
        """What a run was asked, under the id by which its client knows it."""
        metadata = served.metadata_of(served.find(self.client.ledger, run.run_id))
        return shapes.message(
            "human", task, metadata.get(shapes.MESSAGE_ID) or f"{run.run_id}.task"
        )

    def _state(
        self,
        values: Document,
        run_id: str | None,
        at: str | None,
        before: Sequence[Document],
        shown: Mapping[str, Any] | None = None,
    ) -> Document:
        questions = shown["questions"] if shown else []
        tasks: list[Document] = [
            {"id": one["id"], "name": one["node_path"], "interrupts": [shapes.interrupt(one)]}
            for one in questions
        ]
        if shown and shown["error"]:
            name = (shown["failed_node"] or self.row["workflow"] or "").partition(" ")[0]
            tasks.append({"id": run_id, "name": name, "error": shown["error"]})
        empty = {"error": None, "interrupts": [], "checkpoint": None, "state": None}
        where = {"thread_id": self.id, "checkpoint_ns": "", "checkpoint_map": None}
        return {
            "values": values,
            "next": [one["node_path"] for one in questions],
            "checkpoint": {**where, "checkpoint_id": run_id},
            "parent_checkpoint": before[-1]["checkpoint"] if before else None,
            "metadata": {**self.row["metadata"], "run_id": run_id, "thread_id": self.id},
            "created_at": at,
            "tasks": [{**empty, **one} for one in tasks],
            "interrupts": [shapes.interrupt(one) for one in questions],
        }

    async def document(self) -> Document:
        state = await self.state()
        tasks, same = state["tasks"], ("thread_id", "created_at", "updated_at", "metadata")
        return {
            **{name: self.row[name] for name in same},
            "state_updated_at": state["created_at"],
            "status": self.status,
            "config": {},
            "values": state["values"] or None,
            "interrupts": {one["id"]: one["interrupts"] for one in tasks if one["interrupts"]},
            "error": next((one["error"] for one in tasks if one["error"]), None),
        }


async def _found(thread_id: str, client: Reader) -> Thread:
    return Thread.find(client, thread_id)


Found = Annotated[Thread, Depends(_found)]


class Change(Body):
    """What is kept with a thread."""

    metadata: Document | None = None


class Make(Change):
    """What a thread is made with."""

    thread_id: UUID | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"


class Search(Page):
    """Which threads a client looks for."""

    metadata: Document | None = None
    ids: list[str] | None = None
    status: ThreadStatus | None = None
    sort_by: Literal["thread_id", "status", "created_at", "updated_at"] = "updated_at"
    sort_order: Literal["asc", "desc"] = "desc"

    def among(self, client: Client) -> list[Thread]:
        """All that match, in order."""
        rows = threads.listed(client.ledger, client.caller.user, None, _ALL)
        found = [
            one
            for one in (Thread(client, row) for row in rows)
            if all(
                one.row["metadata"].get(key) == value
                for key, value in (self.metadata or {}).items()
            )
            and (self.ids is None or one.id in self.ids)
            and self.status in (None, one.status)
        ]

        def key(one: Thread) -> str:
            return one.status if self.sort_by == "status" else one.row[self.sort_by]

        return sorted(found, key=key, reverse=self.sort_order == "desc")


class History(Page):
    """Which states of a thread a client wants."""

    before: str | Document | None = None
    checkpoint: Document | None = None
    metadata: Document | None = None


class At(Body):
    """Which state of a thread a client wants; none: the newest."""

    checkpoint: Document
    subgraphs: bool = False


def made(
    client: Client, thread_id: str | None, metadata: Document | None, if_exists: str
) -> Thread:
    """A new thread, or the one that is there."""
    try:
        return Thread(client, threads.make(client.ledger, client.caller.user, metadata, thread_id))
    except Conflict:
        if if_exists == "raise":
            raise
        return Thread.find(client, str(thread_id))


@router.post("")
async def create(given: Make, client: Writer) -> Document:
    name = str(given.thread_id) if given.thread_id else None
    return await made(client, name, given.metadata, given.if_exists).document()


@router.post("/search")
async def search(wanted: Search, client: Reader) -> list[Document]:
    return wanted.selected([await one.document() for one in wanted.of(wanted.among(client))])


@router.post("/count")
async def count(wanted: Search, client: Reader) -> int:
    return len(wanted.among(client))


@router.get("/{thread_id}")
async def show(found: Found) -> Document:
    return await found.document()


@router.patch("/{thread_id}")
async def change(given: Change, found: Found, _: Writer) -> Document:
    return await found.with_metadata(given.metadata or {}).document()


@router.delete("/{thread_id}", status_code=204)
async def delete(found: Found, client: Writer) -> None:
    """Delete a thread, and what is kept of its runs. What they cost stays in reports."""
    await threads.delete(client.ledger, client.caller.user, found.id)
    for one in found.run_ids():
        await client.service.delete(client.caller, one)


@router.get("/{thread_id}/state")
async def state(found: Found) -> Document:
    return await found.state()


@router.get("/{thread_id}/state/{checkpoint_id}")
async def state_of(found: Found, checkpoint_id: str) -> Document:
    for one in await found.states():
        if one["checkpoint"]["checkpoint_id"] == checkpoint_id:
            return one
    raise NotFound(f"thread {found.id} has no such checkpoint: its history lists them")


@router.post("/{thread_id}/state/checkpoint")
async def state_at(wanted: At, found: Found) -> Document:
    checkpoint_id = wanted.checkpoint.get("checkpoint_id")
    return await (state_of(found, checkpoint_id) if checkpoint_id else found.state())


@router.post("/{thread_id}/history")
async def history(wanted: History, found: Found) -> list[Document]:
    before, metadata = wanted.before, wanted.metadata or {}
    kept = [one for one in await found.states() if metadata.items() <= one["metadata"].items()]
    before = before.get("checkpoint_id") if isinstance(before, dict) else before
    if before is not None:
        ids = [one["checkpoint"]["checkpoint_id"] for one in kept]
        kept = kept[ids.index(before) + 1 :] if before in ids else []
    return wanted.selected(wanted.of(kept))
