"""`/metrics`, for Prometheus: what the ledger counts, and how long requests take.

The calls of models and the runs are read from the ledger at each request. So every process shows the
same figures, whatever process made the calls, and a call costs nothing more. No label names a user or
a run.
"""

from __future__ import annotations

import collections
import os
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import asking
from aideon_agents.ledger.models.figures import (
    BUCKETS,
    SUMS,
    CallFigures,
    held_nanousd,
    recent_runs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.ledger.models.figures import Sums
    from aideon_agents.ledger.store import Ledger

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which several workers keep their figures of requests."""

router = APIRouter(tags=["health"])

REQUESTS = Histogram(
    "aideon_request_seconds",
    "Seconds until an answer begins, by route.",
    ("method", "route", "status"),
    registry=None,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
REFUSED = Counter(
    "aideon_quota_refused",
    "Requests that were refused because a quota is used up.",
    ("feature", "unit"),
    registry=None,
)
_MOST_MODELS = 200
"""More would be too many series: callers may name models."""


class LedgerCollector:
    """Reads the figures of a ledger, those of calls from a moment on."""

    def __init__(self, ledger: Ledger, since: str) -> None:
        self._ledger = ledger
        self._calls = CallFigures(ledger, since)

    def collect(self) -> Iterator[Metric]:
        """Read what is new."""
        yield from _of_calls(self._calls.read())
        what = "Runs that began within the last 24 hours, by status."
        runs = GaugeMetricFamily("aideon_runs", what, labels=("status",))
        for status, count in recent_runs(self._ledger).items():
            runs.add_metric((status,), count)
        yield runs
        held = held_nanousd(self._ledger) / 1e9
        yield GaugeMetricFamily("aideon_holds_usd", "US dollars held for open calls.", value=held)


def _of_calls(sums: Sums) -> Iterator[Metric]:
    """The metrics of calls; the models that are called least are one."""
    of_model = collections.Counter[tuple[str, str]]()
    for (provider, model, _), one in sums.items():
        of_model[provider, model] += one["calls"]
    most = [one for one, _ in of_model.most_common(_MOST_MODELS)]
    by_status = collections.Counter[tuple[str, ...]]()
    by_model: dict[tuple[str, str], dict[str, int]] = {}
    for (provider, model, status), one in sums.items():
        labels = (provider, model) if (provider, model) in most else ("other", "other")
        by_status[*labels, status] += one["calls"]
        into = by_model.setdefault(labels, dict.fromkeys(SUMS, 0))
        for name, value in one.items():
            into[name] += value
    both = "provider", "model"
    calls = CounterMetricFamily("aideon_calls", "Calls of models.", labels=(*both, "status"))
    cost = CounterMetricFamily("aideon_cost_usd", "US dollars, as far as known.", labels=both)
    unknown = CounterMetricFamily("aideon_cost_unknown", "Calls of unknown cost.", labels=both)
    duration = HistogramMetricFamily("aideon_call_seconds", "Seconds of a call.", labels=both)
    begins = "Seconds until a streamed answer begins."
    first = HistogramMetricFamily("aideon_time_to_first_token_seconds", begins, labels=both)
    for labels, value in by_status.items():
        calls.add_metric(labels, value)
    for labels, one in by_model.items():
        cost.add_metric(labels, one["nanousd"] / 1e9)
        unknown.add_metric(labels, one["unknown"])
        for family, name in ((duration, "duration"), (first, "first")):
            buckets = [(str(most / 1000), one[f"{name}_{most}"]) for most in BUCKETS]
            buckets.append(("+Inf", one[f"{name}_count"]))
            family.add_metric(labels, buckets, one[f"{name}_ms"] / 1000)
    yield from (calls, cost, unknown, duration, first)


def registry(ledger: Ledger, since: str) -> CollectorRegistry:
    """Everything that is shown: from the ledger, and the requests of all workers."""
    shown = CollectorRegistry(auto_describe=False)
    shown.register(LedgerCollector(ledger, since))
    if folder := os.environ.get(FOLDER):
        multiprocess.MultiProcessCollector(shown, folder)
    else:
        shown.register(REQUESTS)
        shown.register(REFUSED)
    return shown


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, caller: Annotated[Caller, asking("usage:any")]) -> Response:
    """Show the metrics in Prometheus' text format."""
    del caller
    text = generate_latest(request.app.state.metrics)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
