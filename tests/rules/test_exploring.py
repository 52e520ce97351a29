"""Propensities are the frequencies with which items are shown."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from lightning_rec.rules.choosing import Cap, Pool, choose
from lightning_rec.rules.exploring import Chance, Draw, Epsilon, Softmax, Thompson

TRIALS = 40_000
SCORES = [2.0, 1.6, 1.5, 0.4, -0.5]
EVENTS = torch.tensor([400, 3, 40, 10, 200])
DRAWS = [Epsilon(0.3), Epsilon(1.0), Softmax(0.7), Thompson(1.0, EVENTS)]


def drawn(
    draw: Draw, caps: list[Cap], k: int = 3, scores: list[float] = SCORES
) -> tuple[np.ndarray, np.ndarray]:
    items = torch.arange(len(scores)).expand(TRIALS, -1)
    pool = Pool(items, torch.tensor(scores, dtype=torch.float64).expand(TRIALS, -1))
    found = choose(pool, k, caps, None, draw, Chance(np.arange(TRIALS, dtype=np.uint64), 7))
    assert found.propensity is not None
    return found.place.numpy(), found.propensity.numpy()


@pytest.mark.parametrize("draw", DRAWS, ids=repr)
@pytest.mark.parametrize("capped", [False, True])
def test_propensities_are_frequencies(draw: Draw, capped: bool) -> None:
    caps = [Cap(torch.tensor([[0], [0], [1], [2], [-1]]), 1)] if capped else []
    place, propensity = drawn(draw, caps)
    assert all(len(set(own)) == 3 for own in place[:1000].tolist())
    for rank in range(3):
        for prefix in np.unique(place[:, :rank], axis=0):
            of = (place[:, :rank] == prefix).all(axis=1)
            if (number := of.sum()) < 2000:
                continue
            total = 0.0
            for item in range(len(SCORES)):
                here = of & (place[:, rank] == item)
                if not here.any():
                    continue
                said = propensity[here, rank]
                assert np.allclose(said, said[0], atol=1e-9)
                total += said[0]
                error = 4.5 * np.sqrt(said[0] * (1 - said[0]) / number) + 1e-6
                assert abs(here.sum() / number - said[0]) < error, (rank, prefix, item)
            assert total == pytest.approx(1, abs=0.01)  # of what was ever drawn


def test_a_list_does_not_depend_on_who_else_is_asked_for() -> None:
    keys = np.arange(100, dtype=np.uint64) * np.uint64(977)
    whole = Chance(keys, 3).uniform(2, 6)
    assert torch.equal(Chance(keys[40:50], 3).uniform(2, 6), whole[40:50])
    assert not torch.equal(Chance(keys, 4).uniform(2, 6), whole)
    assert not torch.equal(Chance(keys, 3).uniform(3, 6), whole)


def test_uniform_numbers_are_uniform_and_unrelated() -> None:
    made = Chance(np.arange(50_000, dtype=np.uint64), 0).uniform(0, 4).numpy()
    assert made.min() > 0
    assert made.max() < 1
    for column in made.T:
        shares = np.histogram(column, bins=20, range=(0, 1))[0] / len(column)
        assert np.abs(shares - 0.05).max() < 0.005
    assert np.abs(np.corrcoef(made.T) - np.eye(4)).max() < 0.02
    assert abs(np.corrcoef(made[:-1, 0], made[1:, 0])[0, 1]) < 0.02


def test_thompson_tries_what_is_little_known() -> None:
    few = Thompson(1.0, torch.tensor([400, 400, 0, 400, 400]))
    many = Thompson(1.0, torch.tensor([400, 400, 4000, 400, 400]))
    shares = [(drawn(draw, [], 1)[0] == 2).mean() for draw in (few, many)]
    assert shares[0] > 1.5 * shares[1]


def test_thompson_draws_among_equal_scores_as_it_says() -> None:
    for scores in ([0.1] * 5, [3.0, 3.0, 1.0, -1.0, -1.0], [1e6] * 5):
        place, propensity = drawn(Thompson(1.0, EVENTS), [], 5, scores)
        for rank in (0, 4):
            for item in range(5):
                here = place[:, rank] == item
                if rank:  # the last one left is certain
                    assert propensity[here, rank] == pytest.approx(1.0)
                else:
                    said = propensity[here, rank][0] if here.any() else 0.0
                    assert here.mean() == pytest.approx(said, abs=0.012)


def test_thompson_is_exact_where_some_items_are_known_much_better() -> None:
    """Draws of what has ten thousand times the events hardly differ: a coarse sum misses them."""
    draw = Thompson(1.0, torch.tensor([0, 1, 2, 5, 10, 1000, 3000, 20_000]))
    means = torch.tensor([[0.1, -0.1, 0.6, 0.1, -0.5, 0.4, 1.3, 0.9]], dtype=torch.float64)
    spreads = draw.deviations(means, torch.arange(8)[None])
    mean, spread = means[0].numpy(), spreads[0].numpy()

    def wins(item: int) -> float:
        others = np.arange(8) != item

        def density(z: float) -> float:
            own = mean[item] + spread[item] * z
            below = stats.norm.cdf((own - mean[others]) / spread[others]).prod()
            return float(stats.norm.pdf(z) * below)

        edges = np.linspace(-8, 8, 161)
        return sum(integrate.quad(density, a, b)[0] for a, b in pairwise(edges))

    for item in (0, 1, 2, 3, 6):
        said = draw._probability(means, spreads, torch.tensor([item]))
        assert float(said[0]) == pytest.approx(wins(item), rel=1e-3), item


def test_epsilon_says_its_propensity_in_double_precision() -> None:
    _, propensity = drawn(Epsilon(0.3), [], 1)
    assert set(propensity[:, 0]) == {0.3 / 5, 0.3 / 5 + 0.7}
