"""What every model call cost, by whom, where and when.

`handler` listens to LangChain and writes one row per call into `store`, an embedded SQLite file.
`usage` and `pricing` turn an answer into tokens and money, `reports` adds the rows up, and
`documents` writes them as the JSON that scripts rely on. `tags` names what travels with a call.

Nothing is imported here: agents need `tags` alone, and must not pay for opening databases.
"""
