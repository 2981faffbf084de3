"""The engine that has the items of a batch answered by batches of a provider.

Each item runs as with the local engine, until it asks a model. The request is kept as a line instead
of being sent, and the run stops there. When no item can go on, the lines become batches at the
provider. Once a batch has ended there, its lines are settled, and the runs go on from where they
stopped: the same call of the same node finds its answer. A workflow of two agents takes two rounds.

Everything is in the ledger before the next step begins, so a process that is killed at any moment
buys nothing twice: the same command finds the lines, the file and the batch.
"""

PROVIDER = "provider"
"""The name of the engine."""
