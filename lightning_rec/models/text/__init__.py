"""Pretrained language models, and what reads them as vectors of items or of queries."""
