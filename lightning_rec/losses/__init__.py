"""Losses: how scores become a number."""
