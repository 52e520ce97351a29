"""Calibrated lists are the greedy ones of Steck's formula, written out."""

import itertools
import math
import random

import numpy as np
import polars as pl
import pytest
import torch

from lightning_rec.errors import UserError
from lightning_rec.predict.asking import Catalogue
from lightning_rec.predict.ruled import Lists, ruled_lists
from lightning_rec.predict.told import Told
from lightning_rec.retrieval.exact import Found
from lightning_rec.rules.calibrating import tastes
from lightning_rec.rules.ready import Ready, made_ready
from lightning_rec.rules.rules import Rules

CHANCE = random.Random(5)
KINDS = [CHANCE.sample("abcde", CHANCE.choice([0, 1, 1, 2, 3])) for _ in range(40)]
NONE = next(n for n, kinds in enumerate(KINDS) if not kinds)
HISTORIES = [CHANCE.choices(range(40), k=n) for n in (1, 3, 8, 15)] + [[NONE]]
SCORES = torch.tensor([sorted((CHANCE.gauss(0, 1) for _ in range(40)), reverse=True)] * 5)
ORDER = torch.tensor([CHANCE.sample(range(40), 40) for _ in HISTORIES])
ITEMS = np.array(list(itertools.chain(*HISTORIES)), dtype=np.int32)
OFFSETS = np.cumsum([0, *map(len, HISTORIES)])


def shares(items: list[int]) -> dict[str, float]:
    """The mean over items of an equal part for each of its kinds."""
    found = dict.fromkeys("abcde", 0.0)
    for item in items:
        for kind in KINDS[item]:
            found[kind] += 1 / len(KINDS[item]) / len(items)
    return found


def taste(items: list[int]) -> dict[str, float]:
    """Of a history: items without a kind do not count."""
    return shares([item for item in items if KINDS[item]])


def divergence(history: list[int], items: list[int]) -> float:
    p, q = taste(history), shares(items)
    return sum(
        p[kind] * math.log(p[kind] / (0.99 * q[kind] + 0.01 * p[kind])) for kind in p if p[kind] > 0
    )


def ready(rules: Rules) -> Ready:
    items = pl.DataFrame({"item": [f"i{n}" for n in range(40)], "kinds": KINDS})
    codes = Catalogue(items).codes
    return made_ready(rules, items, codes, lambda: torch.ones(40, 2), lambda: np.ones(40, np.int64))


def answered(rules: Rules, k: int, told: Told) -> Lists:
    made, rows = ready(rules), np.arange(5)

    def top(of: torch.Tensor, most: int) -> Found:
        none = of.new_zeros(0)
        return Found(ORDER[of, :most], SCORES[of, :most], none, none.float(), none)

    own = made.tastes(ITEMS, OFFSETS, rows)
    return ruled_lists(top, rows.astype(np.uint64), k, 40, made, told, own)


@pytest.mark.parametrize("strength", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("k", [1, 7])
def test_each_place_goes_to_what_steck_would_choose(strength: float, k: int) -> None:
    told = Told()
    found = answered(Rules(calibration=f"{strength}@kinds", pool=25), k, told)
    before, after = [], []
    for row, history in enumerate(HISTORIES):
        pool = ORDER[row, :25].tolist()
        high, low = float(SCORES[row, 0]), float(SCORES[row, 24])
        relevance = {
            item: (float(SCORES[row, n]) - low) / (high - low) for n, item in enumerate(pool)
        }
        chosen: list[int] = []
        while len(chosen) < k:
            gain = {
                item: (1 - strength) * relevance[item]
                - strength * divergence(history, [*chosen, item])
                for item in pool
                if item not in chosen
            }
            chosen.append(max(gain, key=gain.__getitem__))
        assert found.item[found.row == row].tolist() == chosen
        if any(taste(history).values()):
            before.append(divergence(history, pool[:k]))
            after.append(divergence(history, chosen))
    cost = told.cost()
    assert cost["apart_plain"] == pytest.approx(np.mean(before))
    assert cost["apart"] == pytest.approx(np.mean(after))
    assert "nats from those of the histories" in told.costs()


def test_shares_of_a_history_are_those_by_hand() -> None:
    group = ready(Rules(calibration="0.5@kinds")).group
    assert group is not None
    found = tastes(group, ITEMS, OFFSETS, np.array([3, 0, 4, 2]))
    for own, row in zip(found.tolist(), (3, 0, 4, 2), strict=True):
        assert own == pytest.approx(list(taste(HISTORIES[row]).values()))
    assert found[2].sum() == 0  # nothing is known of it: the order is that of relevance


def test_who_has_no_category_gets_the_best_and_caps_hold() -> None:
    found = answered(Rules(calibration="0.9@kinds", per="kinds:2"), 8, Told())
    for row in range(5):
        own = found.item[found.row == row].tolist()
        assert len(own) == len(set(own)) == 8
        kinds = list(itertools.chain(*(KINDS[item] for item in own)))
        assert max(map(kinds.count, kinds)) <= 2
    plain = answered(Rules(calibration="0.9@kinds"), 8, Told())
    assert plain.item[plain.row == 4].tolist() == ORDER[4, :8].tolist()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("genres", "as in 0.5@genres"),
        ("0.5", "as in 0.5@genres"),
        ("1@kinds", "above 0 and below 1"),
        ("0@kinds", "above 0 and below 1"),
        ("nan@kinds", "above 0 and below 1"),
        ("0.5@kind", "calibration: the catalogue has no column 'kind'. Did you mean 'kinds'?"),
    ],
)
def test_slips_are_told(given: str, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        ready(Rules(calibration=given))


def test_one_order_at_a_time() -> None:
    with pytest.raises(UserError, match="say one of them"):
        Rules(calibration="0.5@kinds", diversity="mmr")


@pytest.mark.parametrize("asks", ["calibration=0.5@deep", "per=deep:2"])
def test_lists_of_lists_are_no_values(asks: str) -> None:
    items = pl.DataFrame({"item": ["a", "b"], "deep": [[["x"]], [["y"], ["z"]]]})
    name, _, said = asks.partition("=")
    with pytest.raises(UserError, match=f"{name}: the column 'deep' holds lists of lists"):
        made_ready(
            {name: said}, items, Catalogue(items).codes, lambda: torch.ones(2, 2),
            lambda: np.ones(2, np.int64),
        )  # fmt: skip
