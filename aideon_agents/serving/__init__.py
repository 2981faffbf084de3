"""Runs that outlive a request: registered workflows, their events, threads, and cancelling from another process."""
