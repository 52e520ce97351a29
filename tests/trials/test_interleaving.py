"""Team-draft interleaving beside the algorithm as it is printed, and whom clicks prefer."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lightning_rec.errors import UserError
from lightning_rec.trials.interleaving import preference, team_draft


def as_printed(
    first: list[str], second: list[str], k: int, coins: list[int]
) -> list[tuple[str, int]]:
    """Algorithm 2 of Radlinski et al. (2008), without a thought of speed; coin 0: the first goes."""
    made: list[str] = []
    teams: list[list[str]] = [[], []]
    tosses = iter(coins)
    while len(made) < k:
        left = [[item for item in of if item not in made] for of in (first, second)]
        if not left[0] and not left[1]:
            break
        if len(teams[0]) == len(teams[1]):
            turn = next(tosses)
        else:
            turn = 0 if len(teams[0]) < len(teams[1]) else 1
        if not left[turn]:
            turn = 1 - turn
        teams[turn].append(left[turn][0])
        made.append(left[turn][0])
    return [(item, int(item in teams[1])) for item in made]


def test_it_is_the_published_algorithm_for_some_coins() -> None:
    """Each result is that of the algorithm for one row of coins, and all rows of coins occur."""
    first, second = [*"abcdef"], [*"cabxyz"]
    rows = [[n >> bit & 1 for bit in range(3)] for n in range(8)]
    expected = {str(as_printed(first, second, 6, coins)) for coins in rows}
    found = {str(team_draft(first, second, 6, f"user {n}")) for n in range(300)}
    assert found == expected
    assert team_draft(first, second, 6, "user 1") == team_draft(first, second, 6, "user 1")


def test_lists_that_end_early_and_equal_ones() -> None:
    for k in (1, 5, 40, 300):
        numbers = [str(number) for number in range(400)]
        found = team_draft(numbers, numbers[::-1], k, "x")
        assert len({item for item, _ in found}) == len(found) == k
        assert abs(sum(team for _, team in found) * 2 - k) <= 1
    assert team_draft(["a", "b"], ["b"], 5, "x") in ([("a", 0), ("b", 1)], [("b", 1), ("a", 0)])
    assert team_draft([], ["b", "c"], 5, "x") == [("b", 1), ("c", 1)]
    assert team_draft([], [], 5, "x") == []


def shown(rate: dict[str, float], users: int = 600, seed: int = 0) -> pl.DataFrame:
    """Users who look at places with a bias, and click items of each team at its rate."""
    chance, rows = np.random.default_rng(seed), []
    for user in range(users):
        first = [f"{user} {n}" for n in chance.permutation(20)]
        second = [f"{user} {n}" for n in chance.permutation(20)]
        for place, (item, team) in enumerate(team_draft(first, second, 6, f"{seed} {user}")):
            name = ("old", "new")[team]
            rows.append((user, item, name, chance.random() < rate[name] / (1 + place)))
    return pl.DataFrame(rows, schema=["user", "item", "team", "clicked"], orient="row")


def test_clicks_that_do_not_care_prefer_none_and_those_that_do_prefer_the_better() -> None:
    wrong = sum(
        preference(shown({"old": 0.3, "new": 0.3}, 60, seed), "old", "new").p < 0.05
        for seed in range(100)
    )
    assert wrong <= 11  # of 100; more have a chance below .01
    found = preference(shown({"old": 0.2, "new": 0.5}), "old", "new")
    assert found.p < 1e-6
    assert found.low > 0.5
    assert found.first + found.second + found.ties == 600
    test = stats.binomtest(found.second, found.first + found.second)
    assert found.p == pytest.approx(test.pvalue)
    turned = preference(shown({"old": 0.2, "new": 0.5}), "new", "old")
    assert (turned.first, turned.second) == (found.second, found.first)


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(UserError, match="No user clicked more on one of both"):
        preference(shown({"old": 0.0, "new": 0.0}, 5), "old", "new")
