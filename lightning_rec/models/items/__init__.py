"""Encoders of items: by their ids, texts or given vectors, or by several of them."""
