"""A person decides: the run waits for the answer, and no process has to keep running."""

from pathlib import Path
from tempfile import TemporaryDirectory

from aideon_agents import Ledger, creative, executor, resume, run, sequential

graph = sequential(creative("draft", approve=True), executor("polish"))

with TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
    asked = run(graph, "A note on heat pumps. They move heat.", rehearse=True, ledger=ledger)
    for question in asked.questions:
        print(asked.status, question["node_path"], question["question"]["result"])

    done = resume(graph, asked.run_id, answer={"approved": True}, ledger=ledger)
    print(done.status, done.output)
