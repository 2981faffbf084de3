"""Insights: trends and anomalies of a table, computed by code and worded by a model of fitting size.

`data` is a CSV or JSON file, or a list of rows; without it, what your own runs cost on each day is read.
Each insight names the facts that it rests on. Where no model answers, the facts are the answer.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import math
import re
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langgraph.runtime import Runtime  # noqa: TC002 - the parameter of a node
from pydantic import BaseModel, Field

from aideon_agents import Context, Ledger, Settings, UserError, chat_model, sequential
from aideon_agents.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents import State

INPUTS = {"data": "a CSV or JSON file, or a list of rows; without it, what your runs cost each day"}

_MOST_BYTES, _MOST_ROWS = 20_000_000, 100_000
_LARGE, _MEDIUM = 10_000, 5_000  # characters of data
_OUTLIER = 3.5
_SURE = 0.01
_FEWEST = 5
_MOST_POINTS = 1_000  # of a column, for its trend: they are compared in pairs
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
_MONTH = re.compile(r"\d{4}-\d\d")
_WHOLE = 10_000  # numbers from here on are shown without a fraction
_PER_DAY = """
    SELECT substr(calls.started_at, 1, 10) AS day, COUNT(*) AS calls, SUM(cost_nanousd) / 1e9 AS usd,
        AVG(duration_ms) AS duration_ms, SUM(CASE calls.status WHEN 'ok' THEN 0 ELSE 1 END) AS failed
    FROM calls JOIN runs ON runs.run_id = calls.run_id
    WHERE runs.user = :user AND calls.rehearsed = 0 GROUP BY substr(calls.started_at, 1, 10) ORDER BY 1
"""


class Fact(BaseModel):
    """What was computed about a column."""

    id: str
    kind: Literal["summary", "trend", "anomaly"]
    column: str
    text: str
    figures: dict[str, float]
    confidence: float = Field(ge=0, le=1, description="1 for a count; else 1 - p of the test")


class Facts(BaseModel):
    """What was computed about the data."""

    rows: int
    characters: int
    facts: list[Fact]


class Worded(BaseModel):
    """One insight."""

    kind: Literal["trend", "anomaly", "recommendation"]
    text: str = Field(description="one or two sentences, with no number that is not in a fact")
    facts: list[str] = Field(description="ids of the facts that it rests on")


class Answer(BaseModel):
    """The insights of a model."""

    insights: list[Worded]


class Insight(Worded):
    """One insight, with the figures that it rests on."""

    figures: dict[str, dict[str, float]] = Field(description="by the id of the fact")
    confidence: float = Field(description="of its least certain fact")


class Insights(BaseModel):
    """Trends, anomalies and recommendations."""

    insights: list[Insight]
    confidence: float = Field(description="of the least certain insight; 0: there is none")
    model_used: str | None = Field(description="the size that was asked; null: no model answered")
    processing_time: float = Field(description="seconds")
    note: str | None = None


def measure(state: State, runtime: Runtime[Context]) -> Facts:
    """Trends, anomalies and sums of each column, by least squares and the median."""
    given: Any = (state.get("inputs") or {}).get("data")
    rows = _rows(given) if given else _paid_by(runtime.context.user)
    if not rows:
        raise UserError("the data has no rows: give a CSV or JSON file, or a list of rows")
    facts = [Fact(id=f"F{n}", **one) for n, one in enumerate(_found(rows), 1)]
    return Facts(rows=len(rows), characters=len(json.dumps(rows, default=str)), facts=facts)


measure.reads = ["data"]  # a run whose file is missing is refused before any call


async def word(state: State) -> Insights:
    """The facts in words, by a model whose size fits the data; without one, the facts alone."""
    began = time.perf_counter()
    measured: Any = next(one.data for one in state["results"].values() if type(one.data) is Facts)
    size: Any = "small" if measured.characters <= _MEDIUM else "medium"
    size = size if measured.characters <= _LARGE else "large"
    prompt = (
        "You word what was computed about a table. Give the trends and anomalies that matter for the "
        "task, and recommendations that follow from them. Each names the ids of its facts. Use no "
        "number that is not in a fact.\n\n"
        f"<task>{state['task']}</task>\n<rows>{measured.rows}</rows>\n<facts>\n"
        + "\n".join(f"{one.id} ({one.kind}): {one.text}" for one in measured.facts)
        + "\n</facts>"
    )
    note, model_used, texts = None, size, list[Worded]()
    try:
        model = chat_model(size, temperature=0.3, max_tokens=2000)
        answer: Any = await model.with_structured_output(Answer).ainvoke(prompt)
        texts = [one for one in answer.insights if _rests_on(one, measured.facts)]
        if left_out := len(answer.insights) - len(texts):
            note = f"{left_out} insights of the model were left out: no fact supports them."
    except LimitError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a model does, what was computed stays
        note, model_used = f"No model answered, so these are the computed facts: {error}", None
    if not texts:
        texts = list(_plainly(measured.facts))
        model_used = None
        note = note or "No model answered with facts, so these are the computed ones."
    known = {one.id: one for one in measured.facts}
    insights = [
        Insight(
            **one.model_dump(),
            figures={name: known[name].figures for name in one.facts},
            confidence=min(known[name].confidence for name in one.facts),
        )
        for one in texts
    ]
    return Insights(
        insights=insights,
        confidence=min((one.confidence for one in insights), default=0.0),
        model_used=model_used,
        processing_time=round(time.perf_counter() - began, 3),
        note=note,
    )


def _rests_on(one: Worded, facts: Sequence[Fact]) -> bool:
    """Whether an insight names facts that there are, and no number that is not in them."""
    texts = {fact.id: fact.text for fact in facts}
    if not one.facts or not texts.keys() >= set(one.facts):
        return False
    known = set(_NUMBER.findall(" ".join([*texts.values(), *texts])))
    return set(_NUMBER.findall(one.text)) <= known


def _plainly(facts: Sequence[Fact]) -> Iterator[Worded]:
    for one in facts:
        if one.kind != "summary":
            yield Worded(kind=one.kind, text=one.text, facts=[one.id])
    if odd := [one.id for one in facts if one.kind == "anomaly"]:
        text = "Check the rows that are named as anomalies before you use these sums."
        yield Worded(kind="recommendation", text=text, facts=odd)


def _paid_by(user: str | None) -> list[dict[str, Any]]:
    """What a user's runs have cost on each day."""
    with Ledger.from_url(Settings().ledger) as ledger:
        return [dict(one) for one in ledger.select(_PER_DAY, {"user": user})]


def _rows(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str):
        given = _read(Path(given).expanduser())
    if isinstance(given, dict):
        lists = {key: one for key, one in given.items() if isinstance(one, list)}
        if len(lists) == 1 and all(isinstance(one, dict) for one in next(iter(lists.values()))):
            given = next(iter(lists.values()))
        elif lists and len({len(one) for one in lists.values()}) == 1:
            given = [
                dict(zip(lists, values, strict=True))
                for values in zip(*lists.values(), strict=True)
            ]
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise UserError("the data must be rows: a list of objects, or an object of equal lists")
    if len(given) > _MOST_ROWS:
        raise UserError(f"the data has {len(given)} rows: give at most {_MOST_ROWS}")
    return given


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than 20 MB: give a part of it, or sums")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: {error}") from None
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise UserError(f"{path} is no JSON: {error}") from None
    dialect: Any = csv.excel
    with contextlib.suppress(csv.Error):
        dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t|")
    return list(csv.DictReader(io.StringIO(text), dialect=dialect))


def _found(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    columns = list(dict.fromkeys(key for row in rows for key in row if isinstance(key, str)))
    by = next((key for key in columns if all(_day(row.get(key)) for row in rows)), None)
    if by:
        rows = sorted(rows, key=lambda row: _day(row[by]) or 0)
    names = [str(row[by]) if by else f"row {n}" for n, row in enumerate(rows, 1)]
    for key in columns:
        values = [
            (n, number)
            for n, row in enumerate(rows)
            if (number := _number(row.get(key))) is not None
        ]
        if key != by and len(values) >= max(
            1, 0.8 * sum(row.get(key) not in (None, "") for row in rows)
        ):
            yield from _of_column(key, values, names, by)


def _of_column(
    key: str, values: list[tuple[int, float]], names: Sequence[str], by: str | None
) -> Iterator[dict[str, Any]]:
    numbers = [value for _, value in values]
    usual = statistics.median(numbers)
    figures = {"count": len(numbers), "sum": math.fsum(numbers), "mean": statistics.fmean(numbers)}
    figures |= {"median": usual, "min": min(numbers), "max": max(numbers)}
    shown = ", ".join(f"{name} {_short(value)}" for name, value in figures.items())
    yield _fact("summary", key, f"{key}: {shown}", figures, 1)
    if len(numbers) < _FEWEST or min(numbers) == max(numbers):
        return
    p, slope = _trend(numbers)
    if p < _SURE:
        text = f"{key} {'rises' if slope > 0 else 'falls'} over {len(numbers)} rows by about"
        text += f" {_short(abs(slope))} per row{f' of {by}' if by else ''}"
        yield _fact("trend", key, text, {"slope": slope, "p": p}, 1 - p)
    rest = [value - (slope * n if p < _SURE else 0) for n, value in enumerate(numbers)]
    middle = statistics.median(rest)
    # Iglewicz and Hoaglin (1993): the distance in deviations, by their median, or else their mean.
    off = [abs(one - middle) for one in rest]
    spread = statistics.median(off) / 0.6745 or statistics.fmean(off) * 1.2533
    for (n, value), one in zip(values, rest, strict=True):
        score = (one - middle) / spread if spread else 0.0
        if abs(score) > _OUTLIER:
            where = "above" if score > 0 else "below"
            text = f"{key} is {_short(value)} at {names[n]}, {where} the usual {_short(usual)}"
            figures = {"value": value, "row": n + 1, "score": score}
            yield _fact("anomaly", key, text, figures, math.erf(abs(score) / math.sqrt(2)))


def _fact(
    kind: str, column: str, text: str, figures: dict[str, float], confidence: float
) -> dict[str, Any]:
    named = {"kind": kind, "column": column, "text": text}
    return {**named, "figures": figures, "confidence": round(confidence, 4)}


def _trend(numbers: Sequence[float]) -> tuple[float, float]:
    """The p of the test of Mann (1945) and Kendall (1975), and the slope of Theil (1950) and Sen (1968)."""
    step = math.ceil(len(numbers) / _MOST_POINTS)
    points = [(n, value) for n, value in enumerate(numbers)][::step]
    slopes = [
        (later - value) / (m - n)
        for at, (n, value) in enumerate(points)
        for m, later in points[at + 1 :]
    ]
    total = sum((one > 0) - (one < 0) for one in slopes)
    count = len(points)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    z = max(0, abs(total) - 1) / deviation
    return math.erfc(z / math.sqrt(2)), statistics.median(slopes)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value if not isinstance(value, str) else value.strip().replace("\u202f", ""))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _day(value: Any) -> float | None:
    """A date or time as a number; None: it is none."""
    if not isinstance(value, str) or not _MONTH.match(value):
        return None
    try:
        month = f"{value}-01" if _MONTH.fullmatch(value) else value
        return dt.datetime.fromisoformat(month).timestamp()
    except ValueError:
        return None


def _short(number: float) -> str:
    return f"{number:.4g}" if abs(number) < _WHOLE else f"{number:.0f}"


graph = sequential(measure, word, name="insights")
