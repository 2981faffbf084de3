"""A command at a terminal of its own, for tests that answer its questions."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._end, inside = pty.openpty()
        command = [sys.executable, "-m", "aideon_agents", *words]
        self._process = subprocess.Popen(
            command, env=environment, stdin=inside, stdout=inside, stderr=inside
        )
        os.close(inside)
        self.shown = ""
        self._seen = 0

    def until(self, text: str) -> str:
        """Everything that is shown until a text is; it must come within a minute."""
        before = self._seen
        last = time.monotonic() + 60
        while (found := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < last, self.shown
            assert self._read(), self.shown
        self._seen = found + len(text)
        return self.shown[before : self._seen]

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def ends(self) -> int:
        """The exit code."""
        while self._read():
            pass
        return self._process.wait(60)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._end)

    def _read(self) -> bool:
        if not select.select([self._end], [], [], 60)[0]:
            return False
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            if more := os.read(self._end, 65536):
                self.shown += more.decode("utf-8", "replace").replace("\r\n", "\n")
                return True
        return False
