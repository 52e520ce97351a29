"""Pretrained language models: found, loaded, given tokens, and their vectors cached."""
