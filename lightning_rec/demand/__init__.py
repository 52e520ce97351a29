"""Demand: how much of each item will be asked for, measured on a rolling origin; and stock."""
