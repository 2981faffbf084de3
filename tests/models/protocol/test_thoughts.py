"""Thoughts in a stream: nothing is taken for an answer before one begins."""

from __future__ import annotations

import pytest

from aideon_agents.models.protocol.thoughts import Spoken


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
