"""What may be spent: limits, what counts against them, and what is held for calls under way."""
