"""Checks of your own: functions decide where a rule is exact, and a model where it is not."""

import re

from aideon_agents import Settings, creative, iterative, run, validator
from aideon_agents.testing import ScriptedChatModel


def short(text: str, most: int = 20) -> bool | str:
    """True, or what to change: the writer reads it in the next round."""
    count = len(text.split())
    return count <= most or f"The text has {count} words; at most {most} are allowed."


def no_link(text: str) -> bool | str:
    """A text without links."""
    links = re.findall(r"https?://\S+", text)
    return not links or f"Leave out {', '.join(links)}"


# A text passes if every function and the model agree. With functions alone no model is asked.
check = validator("check", criteria=[short, no_link, "it makes one clear point"])
graph = iterative(creative("note"), check, max_rounds=3)

# Without `model=`, a real model writes and judges.
good = {"passed": True, "score": 0.9, "feedback": ""}
drafts = ["Pumps: https://example.org/pumps", "Heat pumps move heat, even in the cold."]
models = {
    "creative": ScriptedChatModel(answers=drafts),
    "validator": ScriptedChatModel(answers=[good, good]),
}
result = run(graph, "A note on heat pumps.", model=models, settings=Settings(offline=False))

for number, one in enumerate(result.results["iterative"].data.rounds, start=1):
    print(number, one.content, "|", one.verdict.feedback or "good")
for node in result.nodes:
    print(node.node_path, node.calls, "calls")
