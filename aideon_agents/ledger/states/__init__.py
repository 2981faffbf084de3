"""How the values in the state of a graph are written down."""
