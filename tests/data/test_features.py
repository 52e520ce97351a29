"""Genres and categories as a matrix, against a count in plain Python."""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data import features
from lightning_rec.data.features import multi_hot

GENRES = [["Drama", "War"], [], ["Comedy"], None, ["War", "War", " War "], ["Noir", "Drama"]]
VOCABULARY = np.array([5, 0, 4, 3, 1])  # item 2, the comedy, has no training events


def expected(lists: list[Any]) -> list[list[int]]:
    sets = [{value.strip() for value in each or [] if value.strip()} for each in lists]
    wanted = [sets[code] for code in VOCABULARY]
    counts = Counter(value for each in wanted for value in each)
    columns = sorted(counts, key=lambda value: (-counts[value], value))
    return [[int(column in each) for column in columns] for each in wanted]


@pytest.mark.parametrize("separator", ["|", ";", ","])
@pytest.mark.parametrize("name", ["genres", "Categories"])
def test_lists_and_parted_strings_make_the_same_matrix(name: str, separator: str) -> None:
    whole = [separator.join(each) if each is not None else None for each in GENRES]
    frame = pl.DataFrame({"item": list("abcdef"), name: GENRES})
    parted = pl.DataFrame({"item": list("abcdef"), name: whole})
    for items in (frame, parted):
        matrix = multi_hot(items, VOCABULARY)
        assert matrix is not None
        assert matrix.dtype == np.float32
        assert matrix.tolist() == expected(GENRES)


def test_only_the_most_frequent_values_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST", 2)
    matrix = multi_hot(pl.DataFrame({"genres": GENRES}), VOCABULARY)
    assert matrix is not None
    assert matrix.tolist() == [row[:2] for row in expected(GENRES)]


def test_a_catalogue_that_says_nothing_has_no_matrix() -> None:
    items = pl.DataFrame({"item": ["a", "b"], "title": ["x", "y"], "tags": [1, 2]})
    assert multi_hot(items, np.array([0, 1])) is None
    assert multi_hot(pl.DataFrame({"genres": [[], ["Drama"]]}), np.array([0])) is None
    assert multi_hot(pl.DataFrame({"genres": ["", None]}), np.array([0, 1])) is None
