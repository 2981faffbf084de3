"""The ledger in a file: its tables, and what can be wrong with the file."""
