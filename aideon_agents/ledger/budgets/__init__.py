"""Limits on what may be spent, the accounts that count against them, and holds for calls in progress."""
