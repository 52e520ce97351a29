"""Experiments on users: who gets which variant, what it did, and what a log says of another policy.

Statistics alone; a server draws its variants by :class:`Assignment`, and ``lightning-rec abtest``
and ``offpolicy`` ask the rest.
"""

from lightning_rec.trials.assignment import Assignment
from lightning_rec.trials.effects import Effect, Test, compare_variants

__all__ = ["Assignment", "Effect", "Test", "compare_variants"]
