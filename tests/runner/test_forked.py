"""A process that forks after it has run something: task queues and web servers do."""

from __future__ import annotations

import os

import pytest
import warm

from aideon_agents.testing import SimulatedProvider

USES = """
import asyncio, os, signal, sys, threading
from aideon_agents import Ledger, Settings, abatch, arun, chat_model, executor, run, sequential

settings = Settings()
graph = sequential(executor("a", model="together:openai/gpt-oss-120b"))
ledger = Ledger("own.db")

def done(result):
    assert result.status == "completed", result.error

def of_nodes():
    done(run(graph, "Go.", settings=settings))

def of_threads():
    done(run(graph, "Go.", settings=settings, thread="talk"))

def of_states():
    done(run(graph, "Go.", settings=settings, checkpoint=True))

def of_graphs():
    assert graph.invoke({"task": "Go."})["results"]

def of_streams():
    assert list(graph.stream({"task": "Go."}))

def of_loops():
    done(asyncio.run(arun(graph, "Go.", settings=settings)))

def of_batches():
    out = f"out-{os.getpid()}.jsonl"
    assert asyncio.run(abatch(graph, ["a", "b"], out, settings=settings)).completed == 2

def of_ledgers():
    done(run(graph, "Go.", settings=settings, ledger=ledger, budget="1"))

def of_chat_models():
    model = chat_model("together:openai/gpt-oss-120b")
    assert model.invoke("Go.").text and list(model.stream("Go."))

def in_child(use):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        signal.alarm(150)  # a child that hangs
        try:
            use()
        except BaseException as error:
            print(use.__name__, repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    print(use.__name__, os.waitpid(child, 0)[1])
"""
EACH = """
for use in uses:
    use()
for use in uses:
    in_child(use)
for use in uses:
    use()
"""
IN_A_NODE = """
def forks(state):
    in_child(of_nodes)
    in_child(of_graphs)
async def forks_on_the_loop(state):
    forks(state)
done(run(sequential(forks, forks_on_the_loop), "Go.", settings=settings))
"""
WHILE_OTHERS_WORK = """
is_over = threading.Event()
def work():
    while not is_over.is_set():
        of_ledgers()
of_nodes()  # a child cannot go on with an import that a thread of its parent had begun
of_ledgers()
workers = [threading.Thread(target=work) for _ in range(2)]
for one in workers:
    one.start()
for _ in range(3):
    in_child(of_nodes)
    in_child(of_ledgers)
is_over.set()
for one in workers:
    one.join()
"""
AT_ITS_END = """
of_nodes()
of_chat_models()
if not os.fork():
    of_nodes()
    of_chat_models()
    sys.exit()  # which ends what lives as long as a process
print(os.wait()[1])
"""
NAMES = [
    "of_nodes",
    "of_threads",
    "of_states",
    "of_graphs",
    "of_streams",
    "of_loops",
    "of_batches",
    "of_ledgers",
    "of_chat_models",
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"uses = [{', '.join(NAMES)}]{EACH}", [f"{name} 0" for name in NAMES]),
        (IN_A_NODE, ["of_nodes 0", "of_graphs 0"] * 2),
        (WHILE_OTHERS_WORK, ["of_nodes 0", "of_ledgers 0"] * 3),
        (AT_ITS_END, ["0"]),
    ],
    ids=["after each kind of use", "inside a node", "while others work", "at its end"],
)
def test_a_forked_process_works_as_its_parent_does(script, said, folder):
    with SimulatedProvider() as provider:
        known = {"TOGETHER_API_KEY": "key", "TOGETHER_BASE_URL": provider.base_url}
        known["AIDEON_LEDGER"] = f"sqlite:///{folder}/ledger.db"
        done = warm.run(
            ["-c", USES + script],
            cwd=folder,
            env={**os.environ, **known},
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stdout.splitlines()) == (0, said), done.stderr
