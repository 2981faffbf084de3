"""What the service tells those who run it: metrics, a log line for each request, and how models do."""
