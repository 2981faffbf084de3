"""A pytest plugin for workflows that are tested without paying.

It is installed with the package (entry point `pytest11`). It has two fixtures, and it watches the
HTTP client that all models share: a test that asks a real provider fails with a message, also if
the workflow handles the error. It does not watch other clients, nor the keys of tests that do not
use its fixtures. It imports nothing large before a test does.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import ipaddress
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from aideon_agents.ledger.store import Ledger
    from aideon_agents.testing.simulated.server import SimulatedProvider


OPTIONS = "simulated_provider"
"""The marker whose arguments are those of `SimulatedProvider`."""

REAL = "aideon_real_providers"
"""The marker, and the ini option, that allow real providers."""

_TRANSPORT = "aideon_agents.models.transport"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini(REAL, "Let tests ask real providers, and pay.", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and begin to watch."""
    config.addinivalue_line(
        "markers", f"{OPTIONS}(**options): the arguments of the fixture's SimulatedProvider."
    )
    config.addinivalue_line("markers", f"{REAL}: this test may ask real providers, and pay.")
    if not config.getini(REAL):
        watch = _Watch()
        config.pluginmanager.register(watch, "aideon-watch")
        config.add_cleanup(watch.end)


@pytest.fixture
def simulated_provider(
    request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimulatedProvider]:
    """A simulated provider over real HTTP, configured for everything that reads Settings.

    Other keys, a local server and AIDEON_OFFLINE are removed from the environment for the test. Its
    ledger is in `tmp_path`. The arguments of `@pytest.mark.simulated_provider(faults=...)` are
    those of the provider.
    """
    from aideon_agents.models.chain import default_models  # noqa: PLC0415 - nothing large before
    from aideon_agents.testing.simulated.server import SimulatedProvider  # noqa: PLC0415 - as above

    marker = request.node.get_closest_marker(OPTIONS)
    with SimulatedProvider(**marker.kwargs if marker else {}) as provider:
        key = f"simulated-{uuid.uuid4().hex}"  # a new one: a breaker remembers keys across tests
        for variable in ("TOGETHER_AI_API_KEY", "HF_TOKEN", "AIDEON_LOCAL_BASE_URL"):
            monkeypatch.delenv(variable, raising=False)
        for name in ("TOGETHER", "OPENAI"):
            monkeypatch.setenv(f"{name}_BASE_URL", provider.base_url)
            monkeypatch.setenv(f"{name}_API_KEY", key)
        monkeypatch.setenv("AIDEON_OFFLINE", "0")
        monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
        default_models.cache_clear()
        yield provider
        default_models.cache_clear()


@pytest.fixture
def aideon_ledger(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The ledger that runs in this test write to, open: a file in `tmp_path`."""
    from aideon_agents.ledger.store import Ledger  # noqa: PLC0415 - nothing large before

    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield ledger


class _Watch(importlib.abc.MetaPathFinder):
    """Stops requests to real providers, and fails the test that made one."""

    def __init__(self) -> None:
        self._may_pay = False
        self._asked: list[str] = []
        """The hosts that the current test has asked."""
        self._hooks: list[Any] = []
        if clients := sys.modules.get(_TRANSPORT):
            self._begin(clients)
        else:
            sys.meta_path.insert(0, self)  # the client is watched from its import on

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        """Begin to watch the shared client when its module is imported."""
        if name != _TRANSPORT:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec else None
        execute = loader.exec_module

        def execute_and_watch(module: ModuleType) -> None:
            execute(module)
            self._begin(module)

        loader.exec_module = execute_and_watch
        return spec

    def end(self) -> None:
        """Stop watching."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._hooks:
            self._hooks.remove(self._check)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note whether the test may pay."""
        self._may_pay = item.get_closest_marker(REAL) is not None
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def _checked(self) -> Generator[None, object, object]:
        """Fail a test that asked a real provider, also if it ignored the error."""
        try:
            return (yield)
        finally:
            asked, self._asked = self._asked, []
            if asked:
                pytest.fail(_reported(asked[0]), pytrace=False)

    pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _checked

    def _begin(self, transport: ModuleType) -> None:
        transport.watchers.append(self._check)
        self._hooks = transport.watchers

    def _check(self, host: str) -> None:
        if self._may_pay or _is_loopback(host):
            return
        self._asked.append(host)
        # It is a BaseException, so a workflow does not ask the next model because of it.
        pytest.fail(_reported(host), pytrace=False)


def _reported(host: str) -> str:
    return (
        f"this test asked a real provider at {host}: take the fixture simulated_provider,"
        f" or mark it with @pytest.mark.{REAL} if it may pay"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
