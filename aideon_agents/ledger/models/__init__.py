"""What the ledger keeps about how models do."""
