"""Numbers by place are SplitMix64's, spread evenly, and the same in any order."""

import numpy as np
import pytest

from lightning_rec.data.chance import bits, uniform


def test_the_stream_is_splitmix64s() -> None:
    # The first outputs for seed 1234567, as published with the reference implementation's ports.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert bits(1234567, np.arange(5)).tolist() == expected
    assert bits(1234567, np.array([3, 0])).tolist() == [expected[3], expected[0]]


def test_streams_nest_and_differ() -> None:
    nested = bits(bits(0, np.arange(50))[:, None], np.arange(40))
    assert nested.shape == (50, 40)
    assert len(np.unique(nested)) == 2000
    assert np.array_equal(nested[7], bits(bits(0, np.array([7])), np.arange(40)))


def test_shares_are_uniform_and_never_zero() -> None:
    shares = uniform(bits(3, np.arange(100_000)))
    assert shares.mean() == pytest.approx(0.5, abs=0.005)
    assert np.histogram(shares, 10, (0, 1))[0] == pytest.approx([10_000] * 10, rel=0.04)
    assert uniform(np.array([0, 2**64 - 1], dtype=np.uint64)).tolist() == [2.0**-53, 1.0]
