"""A run as one page for a browser: its graph, its timeline, its costs, and every call.

The page is a single file that makes no request. Text from a model, a user or a provider reaches it
as JSON alone, and the page's script writes it as text, so it is never parsed as markup.
"""
