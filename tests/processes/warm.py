"""Python processes that start warm: forked from a server that has imported the package.

The imports of one process take a second or more, and the tests start hundreds. A `Process` takes
what follows `python` on a command line (`-m NAME ...`, `-c SOURCE ...` or `FILE ...`) and is a
process like any other: with a process id, a folder, an environment, pipes, signals and an exit code
of its own. `PYTHONWARNINGS` may be one action. A test that is about the start itself, or about what
is imported, calls `sys.executable` instead.

These processes are measured when the test process is. Other children are not: with coverage a start
takes three seconds instead of two, and runs nothing that is not run elsewhere.

Each test process has one server. Run as a program, this file is that server: it imports, waits for
requests on a socket, and forks for each. The new process becomes a child of the test process, which
can wait for it, because the test process is the subreaper while a request is answered.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import io
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from importlib import import_module
from pathlib import Path

import coverage

_LARGEST = 1 << 20
"""Bytes of a request: the command line and the environment."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""
_STDERR = 2
_WRITTEN_WITHIN = 20
"""Seconds for a measured process to write down what it has run."""
_LOCK = threading.Lock()
CANNOT_FORK = sys.platform != "linux"


class Process(subprocess.Popen):
    """A `subprocess.Popen` of Python with these words; its options are pipes, `cwd` and `env`."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):  # noqa: PLR0917 - Popen's own
        if CANNOT_FORK:
            words = [sys.executable, *args]
            return super()._execute_child(
                words, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more
            )
        pipes = more[3:9]  # both ends of stdin, stdout and stderr; -1: as this process's own
        streams = [
            own if end == -1 else end for own, end in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        request = {
            "words": [os.fspath(word) for word in args],
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
        }
        with _LOCK:
            self.pid = _forked(request, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)
        return None

    def end(self):
        """Kill it, after the test; where it is measured, it first writes down what it has run."""
        if coverage.Coverage.current() and not CANNOT_FORK:
            self.send_signal(signal.SIGUSR2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(_WRITTEN_WITHIN)
        self.kill()


def run(words, *, input=None, capture_output=False, timeout=60, **options):  # noqa: A002 - as in subprocess
    """Run a process to its end, as `subprocess.run` does."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Process(words, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def _forked(request, streams):
    connection = _server()
    _set_subreaper(1)
    try:
        socket.send_fds(connection, [json.dumps(request).encode()], streams)
        answer = connection.recv(64)
    finally:
        _set_subreaper(0)
    assert answer, "the server of warm processes has ended"
    return int(answer)


@functools.cache
def _server():
    """Start the server; it ends when this process does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        number = its.fileno()
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        if measured := coverage.Coverage.current():
            environment["COVERAGE_PROCESS_CONFIG"] = measured.config.serialize()
        process = subprocess.Popen(
            [sys.executable, __file__, str(number)],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[number],
        )
    atexit.register(_end, ours, process)
    return ours


def _end(connection, process):
    connection.close()
    process.wait()


def _set_subreaper(wanted):
    ctypes.CDLL(None).prctl(_SUBREAPER, wanted, 0, 0, 0)


def _import_everything():
    """Import what a command may need: the whole package, and what it imports at first use."""
    import aideon_agents

    for found in pkgutil.walk_packages(aideon_agents.__path__, "aideon_agents."):
        is_optional = found.name.startswith(
            ("aideon_agents.connect.", "aideon_agents.cli.template")
        )
        if not is_optional and not found.name.endswith((".plugin", ".__main__")):
            import_module(found.name)
    for name in ("langchain_openai", "langchain_together", "genai_prices.data_snapshot"):
        import_module(name)
    gc.freeze()  # what is imported is never collected, so the memory stays shared


def _serve(connection):
    """Answer requests; returns, in a new process, the request that it is for."""
    while True:
        message, streams, *_ = socket.recv_fds(connection, _LARGEST, 3)
        if not message:
            os._exit(0)
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            forked = os.fork()
            if forked:
                os.write(writing, str(forked).encode())
                os._exit(0)
            connection.close()
            os.close(reading)
            os.close(writing)
            return json.loads(message), streams
        os.close(writing)
        for stream in streams:
            os.close(stream)
        os.waitpid(between, 0)  # from here on the test process is the parent
        connection.send(os.read(reading, 64))
        os.close(reading)


def _become(request, streams):
    """Take over the folder, the environment and the streams of a request."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        binary = open(  # noqa: SIM115 - open to the end
            number,
            "wb" if number else "rb",
            -1 if number == 0 else 0 if unbuffered else -1,
            closefd=False,
        )
        stream = io.TextIOWrapper(
            binary,
            "utf-8",
            "backslashreplace" if number == _STDERR else "strict",
            line_buffering=number == _STDERR or binary.isatty(),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if measured := coverage.Coverage.current():
        signal.signal(signal.SIGUSR2, lambda *_: _end_measured(measured))
    if action := os.environ.get("PYTHONWARNINGS"):
        warnings.simplefilter(action)


def _end_measured(measured):
    measured.stop()
    measured.save()
    os.kill(os.getpid(), signal.SIGKILL)


def _run(kind, *words):
    """Run as `python -m NAME ...`, `python -c SOURCE ...` or `python FILE ...` does."""
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv[:] = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        sys.argv[:] = ["-c", *words[1:]]
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - a test's own source
    else:
        sys.path[0] = str(Path(kind).absolute().parent)
        sys.argv[:] = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    _import_everything()
    wanted, given = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(wanted, given)
    _run(*wanted["words"])
