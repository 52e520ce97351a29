"""Objectives: how a sequence becomes inputs and targets, and how it becomes a question."""
