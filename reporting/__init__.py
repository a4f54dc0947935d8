"""Reproducing the paper: the grid of runs, starting them, and the report on what they left."""
