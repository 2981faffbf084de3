"""OpenAI's chat protocol: what is sent to a server in it, and what servers send back."""
