"""The routes of providers of media: each one accepts and sends what the named server does."""
