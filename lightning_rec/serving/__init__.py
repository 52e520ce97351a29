"""A trained model behind HTTP: the same answers as from Python, with limits, sessions and reload.

Nothing here imports Hydra or Lightning; opening a run folder may.
"""
