"""Pretrained models of language, and of vision: found, loaded, and their vectors cached."""
