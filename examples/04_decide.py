"""A decision: a model chooses the route, or a key of the inputs does."""

from aideon_agents import conditional, creative, executor, run, validator

by_model = conditional(
    validator("kind", question="Is this a question?"),
    {"yes": executor("answer"), "no": creative("remark")},
)
print(run(by_model, "What does a heat pump move?", rehearse=True).output)

by_input = conditional("language", {"en": creative("english"), "de": creative("german")})
result = run(by_input, "Heat pumps move heat.", inputs={"language": "de"}, rehearse=True)
print([node.node_path for node in result.nodes])
