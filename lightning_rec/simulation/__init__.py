"""A world whose truth is known: users, items, clicks, and what any policy is really worth.

It makes a log to train on, plays days against a running server, and says afterwards what the
estimates of :mod:`lightning_rec.trials` should have been. Words are those of RecSim (Ie et al.
2019), RecoGym (Rohde et al. 2018: organic events) and the Open Bandit Pipeline (Saito et al. 2021).
"""

from lightning_rec.simulation.playing import Answer, Shop, play
from lightning_rec.simulation.settings import Settings
from lightning_rec.simulation.world import World, make_log

__all__ = ["Answer", "Settings", "Shop", "World", "make_log", "play"]
