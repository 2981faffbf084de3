"""How each provider is asked for media: the body of a request, and what its answer says."""
