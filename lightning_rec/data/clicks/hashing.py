"""A hash of text that is the same in every process, on every machine and in every version."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.chance import bits

_BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


def buckets(values: pl.Series, size: int) -> NDArray[np.int64]:
    """The bucket of each text among ``size``, int64 [n] from 0; null is hashed as the empty text.

    FNV-1a of the UTF-8 bytes (Fowler, Noll and Vo, 64 bits), whose last bits are weak, mixed by
    SplitMix64, modulo ``size``. Polars' own hash may change with its version.
    """
    filled = values.fill_null("")
    raw = np.frombuffer(filled.str.join("").item().encode(), dtype=np.uint8)
    length = filled.str.len_bytes().to_numpy().astype(np.int64)
    order = np.argsort(-length, kind="stable")
    start, length = (np.cumsum(length) - length)[order], length[order]
    words = np.full(len(length), _BASIS)
    with np.errstate(over="ignore"):  # it is meant to wrap around
        for place in range(int(length.max(initial=0))):
            longer = int(np.searchsorted(-length, -place))  # the texts that have such a byte
            here = words[:longer]
            here ^= raw[start[:longer] + place]
            here *= _PRIME
    chosen = np.empty(len(order), dtype=np.int64)
    chosen[order] = (bits(words, np.zeros(1, dtype=np.int64)) % np.uint64(size)).astype(np.int64)
    return chosen
