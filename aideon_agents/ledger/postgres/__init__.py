"""The ledger on a Postgres server, for work on several machines.

Its libraries are an extra and slow to import: no module outside this package imports `database` or
`checkpoints` before an address names a server.
"""
