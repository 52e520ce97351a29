"""Texts: what the catalogue says in words, as tokens, and where language models lie."""
