"""Trained models that answer: what a run folder holds is all that they need."""
