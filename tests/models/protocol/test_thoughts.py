"""Thoughts in a stream: nothing is taken for an answer before one begins."""

from __future__ import annotations

import pytest
from bodies import USAGE, chunk, events, whole

from aideon_agents.models.protocol.thoughts import Spoken, answer_in


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize(
    ("thoughts", "answer"),
    [
        ("<think>It is so.</think>\n\n", "Heat moves."),
        ("[THINK]It is so.[/THINK]", "Heat moves."),
        (
            "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>",
            "Heat",
        ),
        ("", "Heat moves. </think> is a mark."),
        ("", "<b>Heat</b>"),
    ],
)
def test_an_answer_begins_behind_the_thoughts_however_the_text_is_cut(thoughts, answer, size):
    spoken, text = Spoken(), thoughts + answer
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    begun = [spoken.take(piece) for piece in pieces]
    assert begun[-1]
    assert not any(begun[: len(thoughts) // size])
    assert not spoken.was_only_thoughts()


CUT = {
    "<think>Hm. A draft: 1.</think>\n\nTwo.": "Two.",
    "<think>a</think><think>b</think>Two.": "Two.",
    "[THINK]Hm.[/THINK]Two.": "Two.",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Two.": "Two.",
    "analysisHm.assistantfinalTwo.": "Two.",
    "Hm, one or two?\n</think>\n\nTwo.": "Two.",
    "Two.": "Two.",
    "The tag </think> ends thoughts.": "The tag </think> ends thoughts.",
    "Write <think>: it begins thoughts.": "Write <think>: it begins thoughts.",
    "<think>only": "<think>only",
}


@pytest.mark.parametrize(("sent", "left"), CUT.items())
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_thoughts_of_an_answer_are_no_part_of_the_text_of_a_step(
    asking, sent, left, stream
):
    assert answer_in(sent) == left
    if sent == "<think>only":
        return
    body = whole({"content": sent})
    if stream:
        body = events(chunk({"content": sent}), chunk({}, "stop", usage=USAGE))
    assert (await asking.agent(body, stream=stream)).content == left
