"""Parts of this package for other frameworks: one file for each, which imports the framework when used.

A model of ours inside a foreign agent has everything that it has in a run: retries, fallbacks, budgets,
rehearsal, and a row for each attempt. Inside a node, its calls belong to the run of the node. A foreign
agent that uses a model of its own has none of this.
"""
