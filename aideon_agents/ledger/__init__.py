"""What every model call cost: its run, node, model and time.

`handler` is a LangChain callback handler that writes one row per call into `store`, a SQLite file
or a database on Postgres. `usage` and `pricing` turn an answer into tokens and money, `costs` and
`reports` add the rows up, and `documents` writes them as JSON for scripts.

Nothing is imported here, so that a module that needs only `tags` does not import databases.
"""
