"""The ledger on a Postgres server, for work that one machine does not hold.

Its libraries are an extra, and slow to import: nothing outside imports this room before an address
names a server.
"""
