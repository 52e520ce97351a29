"""Random numbers by place: the same wherever, in whatever order and by whomever they are asked for.

A generator gives numbers in turn, so what an example gets depends on its batch and its process.
Here a number depends on its seed and place alone, and on no library's version.
"""

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.types import Floats, Ints

Words = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)


def bits(seed: "int | Words", place: Ints) -> Words:
    """Number ``place`` of the stream ``seed``, uint64 of their common shape, uniform over all 64
    bits.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), entered at any place from 0. Streams nest: what
    comes out can be the seed of another.
    """
    with np.errstate(over="ignore"):  # it is meant to wrap around
        word = np.asarray(seed, dtype=np.uint64) + (place.astype(np.uint64) + np.uint64(1)) * _STEP
        for shift, factor in _ROUNDS:
            word = (word ^ (word >> shift)) * factor
        return np.asarray(word ^ (word >> np.uint64(31)))


def uniform(words: Words) -> Floats:
    """Random words as float64 above 0, up to and including 1."""
    return ((words >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
