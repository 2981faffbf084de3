"""A pytest plugin for workflows that are tested without paying.

Installed with the package (entry point `pytest11`), it offers two fixtures and watches the one
HTTP client that all models share: a test that asks a real provider fails and says so, whatever the
workflow makes of the error. Other clients, and the keys of tests that use no fixture of ours, are
none of its business. A test that does not use the package pays nothing for it: nothing
heavy is imported before a test does.
"""

from __future__ import annotations

import contextlib
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

_CLIENTS = "aideon_agents.models.clients"
_OURS = "simulated"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the ini option."""
    parser.addini(REAL, "Let tests ask real providers, and pay.", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known, and begin to watch."""
    config.addinivalue_line(
        "markers", f"{OPTIONS}(**options): what the fixture's SimulatedProvider is made with."
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

    Other keys, a local server and AIDEON_OFFLINE are taken out of the environment for the test;
    its ledger lies in `tmp_path`. `@pytest.mark.simulated_provider(faults=...)` says what it is
    made with.
    """
    from aideon_agents.models.chain import default_models  # noqa: PLC0415 - nothing heavy before
    from aideon_agents.testing.simulated.server import SimulatedProvider  # noqa: PLC0415 - as above

    marker = request.node.get_closest_marker(OPTIONS)
    with SimulatedProvider(**marker.kwargs if marker else {}) as provider:
        key = f"{_OURS}-{uuid.uuid4().hex}"  # new, so that no breaker remembers another test
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
    from aideon_agents.ledger.store import Ledger  # noqa: PLC0415 - nothing heavy before

    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield ledger


class _Watch(importlib.abc.MetaPathFinder):
    """Stops requests to real providers, and fails the test that made one."""

    def __init__(self) -> None:
        self._may_pay = False
        self._asked: list[str] = []
        """What the test has asked that is running."""
        self._hooks: list[Any] = []
        if clients := sys.modules.get(_CLIENTS):
            self._begin(clients)
        else:
            sys.meta_path.insert(0, self)  # the client is watched from its import on

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        """Begin to watch the shared client when its module is imported."""
        if name != _CLIENTS:
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
        """Leave everything as it was."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._hooks:
            self._hooks.remove(self._check)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know what the test may do."""
        self._may_pay = item.get_closest_marker(REAL) is not None
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        """Fail a test whose fixtures asked a real provider."""
        with self._watching():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Fail a test that asked a real provider and made nothing of the error."""
        with self._watching():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Fail a test that asked a real provider while it was cleared up."""
        with self._watching():
            return (yield)

    def _begin(self, clients: ModuleType) -> None:
        shared = clients.shared_client()
        hooks = {**shared.event_hooks, "request": [*shared.event_hooks["request"], self._check]}
        shared.event_hooks = hooks
        self._hooks = shared.event_hooks["request"]

    async def _check(self, request: Any) -> None:
        if self._may_pay or _is_loopback(request.url.host):
            return
        self._asked.append(request.url.host)
        # A BaseException: no workflow takes it for a provider's failure and asks the next one.
        pytest.fail(_reported(request.url.host), pytrace=False)

    @contextlib.contextmanager
    def _watching(self) -> Generator[None]:
        try:
            yield
        finally:
            asked, self._asked = self._asked, []
            if asked:
                pytest.fail(_reported(asked[0]), pytrace=False)


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
