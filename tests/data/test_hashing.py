"""The hash of text: known vectors, and the same however rows stand together."""

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks.processor import buckets

MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
# 64-bit FNV-1a of the published test suite.
VECTORS = {"": 0xCBF29CE484222325, "a": 0xAF63DC4C8601EC8C, "foobar": 0x85944171F73967E8}


def mixed(word: int) -> int:
    word = (word + 0x9E3779B97F4A7C15) % 2**64
    for shift, factor in MIX:
        word = (word ^ (word >> shift)) * factor % 2**64
    return word ^ (word >> 31)


@pytest.mark.parametrize("text", VECTORS)
def test_known_vectors(text: str) -> None:
    wanted = mixed(VECTORS[text]) % 1_000_003
    assert buckets(pl.Series([text]), 1_000_003).tolist() == [wanted]


def test_company_changes_nothing_and_any_text_has_a_bucket() -> None:
    texts = ["", "ü", None, "a" * 300, "日本", "a", "b", "", "foobar"]
    together = buckets(pl.Series(texts), 97).tolist()
    assert together == [int(buckets(pl.Series([text], dtype=pl.String), 97)[0]) for text in texts]
    assert buckets(pl.Series([], dtype=pl.String), 97).tolist() == []


def test_buckets_are_used_evenly() -> None:
    counts = np.bincount(buckets(pl.Series(map(str, range(100_000))), 100), minlength=100)
    assert abs(counts - 1000).max() < 150  # five deviations
