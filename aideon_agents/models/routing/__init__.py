"""Routing by content: what a prompt is about, and whether it may leave.

`rules.toml` holds the words and patterns. Whether a prompt is private is decided for each call, on all
that would be sent; what a task is about is decided once for an agent, on what it is asked.
"""
