"""Semantic ids: items as short sequences of codes, learnt from vectors, and tables of them."""
