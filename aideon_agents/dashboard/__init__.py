"""The pages of the service, for people: made on the server, and whole without JavaScript."""
