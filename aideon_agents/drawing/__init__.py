"""Graphs as pictures: `topology` reads any compiled graph, every other file draws from that.

LangGraph's own drawer drops unlabelled routes and one of two labels to a target, merges subgraphs
of the same name and does not escape labels, so nothing here goes through it.
"""
