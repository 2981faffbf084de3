"""What judges drawings: the modules of the benchmark, Mermaid, and axe."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


def beside(name: str, *folders: str) -> Any:
    """A module that is no part of a package: the benchmark's judges, and Mermaid's."""
    if name not in sys.modules:
        path = Path(__file__).parents[2].joinpath(*folders, f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def collisions() -> Any:
    """What touches what in a picture, as the benchmark finds it."""
    return beside("collisions", "benchmarks", "drawing")


@pytest.fixture(scope="session")
def drawn() -> Any:
    """Which edges a drawing shows, as the benchmark reads them."""
    return beside("drawn", "benchmarks", "drawing")


@pytest.fixture(scope="session")
def mermaid_judge() -> Any:
    """Mermaid's own parser."""
    return beside("mermaid_judge", "tests", "drawing", "mermaid")


@pytest.fixture(scope="session")
def beside_benchmark() -> Any:
    """Random workflows, and what LangGraph itself wrote down of their runs."""
    folders = ("benchmarks", "drawing")
    return beside("workflows", *folders), beside("executed", *folders)


@pytest.fixture(scope="session")
def axe(mermaid_judge) -> str:
    """The source of axe-core, which judges whether everybody can use a page."""
    folder = Path(__file__).parent / "page"
    return (mermaid_judge.install(folder) / "axe-core" / "axe.min.js").read_text("utf-8")
