"""The columns of the input, which OUT repeats where the caller asks for it.

Lines are written in the order in which items end, and a file of items can only be read from its
beginning. So the columns are copied once, and found again by the position of their item.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from array import array

from aideon_agents.batch.items import Source
from aideon_agents.errors import InputError
from aideon_agents.ledger.batch_items import json_line


class InputColumns:
    """The columns of the input of each item, as JSON, in a temporary file."""

    def __init__(self, source: Source) -> None:
        self._starts = array("q")
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by its owner
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            try:
                for item in source.items():
                    self._starts.append(self._file.tell())
                    self._file.write(json_line(item.columns).encode())
                self._starts.append(self._file.tell())
                self._file.flush()
            except OSError as error:
                raise InputError(
                    f"the columns of {source.name} cannot be copied to {tempfile.gettempdir()} "
                    f"({error.strerror or error}): make room there, or leave keep_columns out"
                ) from None
            on_failure.pop_all()

    def at(self, position: int) -> str:
        """The columns of the item at a position."""
        start, end = self._starts[position : position + 2]
        return os.pread(self._file.fileno(), end - start, start).decode()

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
