"""A run as one page for a browser: its graph, its timeline, its costs, and every call of it.

The page is a single file that asks nobody for anything. What a model, a user or a provider said
reaches it as JSON alone, and the page's script writes it as text: no word of theirs is ever read
as markup.
"""
