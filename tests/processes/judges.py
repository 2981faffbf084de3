"""Modules that judge drawings and pages, and are no part of a package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def beside(name: str, *folders: str) -> Any:
    """A module that is no part of a package: the benchmark's judges, and Mermaid's."""
    if name not in sys.modules:
        path = Path(__file__).parents[2].joinpath(*folders, f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
