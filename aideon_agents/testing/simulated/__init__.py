"""A simulated provider: real HTTP, answers by rule, faults by plan, and a bill."""
