"""Triage: decide what a message is about, and answer it the way that kind needs."""

from aideon_agents import conditional, creative, executor, sequential, validator

graph = sequential(
    conditional(
        validator("kind", question="Is this message a question, a complaint, or something else?"),
        {
            "question": executor("answer", description="Answer the question in three sentences."),
            "complaint": sequential(
                executor("cause", description="Name what went wrong and what was promised."),
                creative("apology", description="Write a reply that says sorry once and helps."),
            ),
            "other": executor("summary", description="Say in one sentence what this is."),
        },
        default="other",
    ),
    name="triage",
)
