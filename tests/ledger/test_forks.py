"""What a forked process makes anew, beside ledgers and calls."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from aideon_agents.ledger.forks import lazily


class Slow:
    def __init__(self, begun=None, go_on=None):
        self.begun, self.go_on = begun, go_on

    @lazily
    def value(self):
        if self.begun:
            self.begun.set()
            self.go_on.wait(30)
        return 7


def test_it_is_worked_out_once():
    one = Slow()
    assert (one.value, vars(one)["value"]) == (7, 7)
    vars(one)["value"] = 8
    assert one.value == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_waits_for_no_thread_of_its_parent():
    begun, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: Slow(begun, go_on).value)
    thread.start()
    assert begun.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # if it waits for ever
        os._exit(Slow().value)
    status = os.waitpid(child, 0)[1]
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 7
