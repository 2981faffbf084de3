"""Triage: decide what a message is about, and answer it the way that kind needs."""

from aideon_agents import conditional, creative, executor, sequential, validator

INPUTS: dict[str, str] = {}

graph = sequential(
    conditional(
        validator("kind", question="What is the message in <task>?"),
        routes={
            "question": (
                "it asks for information or how to do something",
                executor("answer", description="Answer the question in <task> in three sentences."),
            ),
            "complaint": (
                "the sender is not satisfied with something that happened",
                sequential(
                    executor("cause", description="Name what went wrong and what was promised."),
                    creative(
                        "apology",
                        description="Write a reply to the sender that says sorry once, and says "
                        "what happens next. Promise nothing that <task> does not mention.",
                    ),
                ),
            ),
            "other": (
                "anything else, such as thanks, advertising or a notice",
                executor("summary", description="Say in one sentence what the message is."),
            ),
        },
        default="other",
    ),
    name="triage",
)
