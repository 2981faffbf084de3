"""What judges drawings: the modules of the benchmark."""

from __future__ import annotations

from typing import Any

import pytest
from judges import beside


@pytest.fixture(scope="session")
def collisions() -> Any:
    """What touches what in a picture, as the benchmark finds it."""
    return beside("collisions", "benchmarks", "drawing")


@pytest.fixture(scope="session")
def drawn() -> Any:
    """Which edges a drawing shows, as the benchmark reads them."""
    return beside("drawn", "benchmarks", "drawing")


@pytest.fixture(scope="session")
def beside_benchmark() -> Any:
    """Random workflows, and what LangGraph itself wrote down of their runs."""
    folders = ("benchmarks", "drawing")
    return beside("random_workflows", *folders), beside("executed", *folders)
