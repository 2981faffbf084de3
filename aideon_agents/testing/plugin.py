"""A pytest plugin for workflows that are tested without paying.

It is installed with the package (entry point `pytest11`). It has two fixtures, and it stops requests
to real providers: a test that makes one fails with a message, also if the workflow handles the
error. It imports nothing large before a test does.

It watches two places. The HTTP client that our models share tells the host of each request, so a
proxy and a connection of an earlier test hide nothing. Every other client opens its connections
with Python's sockets: while a test runs, these reach this machine alone. Clients with a network
stack of their own, such as gRPC and uvloop, are not seen.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import ipaddress
import socket
import sys
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from aideon_agents.ledger.store import Ledger
    from aideon_agents.testing.simulated.server import SimulatedProvider


OPTIONS = "simulated_provider"
"""The marker whose arguments are those of `SimulatedProvider`."""

REAL = "aideon_real_providers"
"""The marker, and the ini option, that allow real providers."""

HOSTS = "aideon_allowed_hosts"
"""The ini option with the other hosts that tests may connect to."""

_TRANSPORT = "aideon_agents.models.transport"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options."""
    parser.addini(REAL, "Let tests ask real providers, and pay.", type="bool", default=False)
    parser.addini(HOSTS, "Hosts that tests may connect to, such as a database.", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and begin to watch."""
    config.addinivalue_line(
        "markers", f"{OPTIONS}(**options): the arguments of the fixture's SimulatedProvider."
    )
    config.addinivalue_line("markers", f"{REAL}: this test may ask real providers, and pay.")
    if not config.getini(REAL):
        watch = _Watch(set(config.getini(HOSTS)))
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
    from aideon_agents.settings.providers import PROVIDERS  # noqa: PLC0415 - as above
    from aideon_agents.testing.simulated.server import SimulatedProvider  # noqa: PLC0415 - as above

    marker = request.node.get_closest_marker(OPTIONS)
    with SimulatedProvider(**marker.kwargs if marker else {}) as provider:
        key = f"simulated-{uuid.uuid4().hex}"  # a new one: a breaker remembers keys across tests
        for row in PROVIDERS:
            for variable in (*row.key_env, row.base_url_env):
                monkeypatch.delenv(variable, raising=False)
        for name in ("TOGETHER", "OPENAI"):
            monkeypatch.setenv(f"{name}_BASE_URL", provider.base_url)
            monkeypatch.setenv(f"{name}_API_KEY", key)
        for row in PROVIDERS:
            if row.media_only:
                monkeypatch.setenv(row.base_url_env, provider.base_url.removesuffix("/v1"))
                monkeypatch.setenv(row.key_env[0], key)
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

    def __init__(self, allowed: set[str]) -> None:
        self._may_pay = False
        self._asked: list[str] = []
        """What the current test has done wrong, in words."""
        self._hooks: list[Any] = []
        if clients := sys.modules.get(_TRANSPORT):
            self._begin(clients)
        else:
            sys.meta_path.insert(0, self)  # the client is watched from its import on
        self._is_testing = False
        self._allowed = allowed | {socket.gethostname()}
        self._proxies = set(map(_local_port, urllib.request.getproxies().values())) - {None}
        """The ports of proxies on this machine, which lead to real providers as well."""
        self._replaced: list[tuple[Any, str, Any]] = []
        self._replace(socket, "getaddrinfo", self._resolving)
        self._replace(socket.socket, "connect", self._connecting)
        self._replace(socket.socket, "connect_ex", self._connecting)

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
        for owner, name, original in self._replaced:
            setattr(owner, name, original)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note whether the test may pay."""
        self._may_pay = item.get_closest_marker(REAL) is not None
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def _checked(self) -> Generator[None, object, object]:
        """Fail a test that asked a real provider, also if it ignored the error."""
        self._is_testing = True
        try:
            return (yield)
        finally:
            self._is_testing = False
            asked, self._asked = self._asked, []
            if asked:
                pytest.fail(asked[0], pytrace=False)

    pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _checked

    def _begin(self, transport: ModuleType) -> None:
        transport.watchers.append(self._check)
        self._hooks = transport.watchers

    def _check(self, host: str) -> None:
        if not (self._may_pay or host in self._allowed or _is_loopback(host)):
            self._refuse(
                f"this test asked a real provider at {host}: take the fixture simulated_provider,"
                f" or mark it with @pytest.mark.{REAL} if it may pay"
            )

    def _refuse(self, reason: str) -> None:
        self._asked.append(reason)
        # It is a BaseException, so a workflow does not ask the next model because of it.
        pytest.fail(reason, pytrace=False)

    def _replace(self, owner: Any, name: str, watched: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        self._replaced.append((owner, name, original))
        setattr(owner, name, watched(original))

    def _resolving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Refuse the names of other machines. A number may be an address to listen at."""

        def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host or "localhost"
            if not _is_number(name):
                self._check_connection(name)
            return original(host, *args, **options)

        return getaddrinfo

    def _connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Refuse the addresses of other machines, and this session's proxy."""

        def connect(of: socket.socket, address: Any) -> Any:
            if of.type == socket.SOCK_STREAM and isinstance(address, tuple):
                host, port, *_ = address
                self._check_connection(str(host), port)
            return original(of, address)

        return connect

    def _check_connection(self, host: str, port: int | None = None) -> None:
        is_ours = host in self._allowed or _is_loopback(host)
        is_proxy = _is_loopback(host) and port in self._proxies
        if self._is_testing and not self._may_pay and (is_proxy or not is_ours):
            self._refuse(
                f"this test opened a connection to {host}: take the fixture simulated_provider or"
                f" a ScriptedChatModel, list the host in the ini option {HOSTS} if it is no"
                f" provider, or mark the test with @pytest.mark.{REAL} if it may pay"
            )


def _local_port(proxy: str) -> int | None:
    """The port of a proxy on this machine; None: it is elsewhere, or no address."""
    try:
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        return (address.port or 80) if _is_loopback(address.hostname or "") else None
    except ValueError:
        return None


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
