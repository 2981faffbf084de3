"""How many tokens a text is, when no provider has counted them.

A token is estimated as four UTF-8 bytes, rounded up. English prose comes out about right, Chinese
somewhat low. A budget's holds never rest on this: they take the bytes themselves as their bound.
"""

from __future__ import annotations

BYTES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Estimate a text's tokens."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def cut(text: str, max_tokens: int | None) -> tuple[str, bool]:
    """Cut a text after so many estimated tokens."""
    if max_tokens is None or estimate_tokens(text) <= max_tokens:
        return text, False
    head = text.encode("utf-8", "surrogatepass")[: max(0, max_tokens) * BYTES_PER_TOKEN]
    return head.decode("utf-8", "ignore"), True
