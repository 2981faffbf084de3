"""Who uses the service, over HTTP: oneself, what admins manage, and signing in."""
