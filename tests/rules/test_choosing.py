"""Lists under caps, MMR and DPP, against loops that do by definition what is done at once."""

import numpy as np
import pytest
import torch

from lightning_rec.rules.choosing import Cap, Determinant, Marginal, Pool, choose

B, M, V, K, DIM = 7, 20, 50, 8, 5


@pytest.fixture
def pool() -> Pool:
    """Candidates of seven lists, one of which has three alone, one of equal scores."""
    chance = np.random.default_rng(3)
    items = np.stack([chance.permutation(V)[:M] for _ in range(B)])
    scores = -np.sort(-chance.normal(size=(B, M)), axis=1)
    items[2, 3:] = -1
    scores[2, 3:] = -np.inf
    scores[4] = 1.0
    return Pool(torch.from_numpy(items), torch.from_numpy(scores))


@pytest.fixture
def features() -> torch.Tensor:
    vectors = torch.randn(V, DIM, generator=torch.Generator().manual_seed(5))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    return torch.cat([unit, torch.ones(V, 1)], 1) / 2**0.5


def relevance(scores: np.ndarray) -> np.ndarray:
    wide = scores.max() - scores.min()
    return (scores - scores.min()) / (wide or 1.0)


def lists(pool: Pool) -> list[tuple[list[int], np.ndarray]]:
    """Items and scores of each list that there are."""
    number = (pool.items >= 0).sum(1).tolist()
    rows = zip(pool.items.tolist(), pool.scores.numpy(), number, strict=True)
    return [(items[:n], scores[:n]) for items, scores, n in rows]


def chosen(pool: Pool, place: torch.Tensor) -> list[list[int]]:
    return [[pool.items[row, p].item() for p in own if p >= 0] for row, own in enumerate(place)]  # type: ignore[misc]


def test_at_most_so_many_of_a_group(pool: Pool) -> None:
    chance = np.random.default_rng(4)
    brand = chance.integers(-1, 4, size=(V, 1))
    tags = [
        sorted(set(chance.integers(0, 6, size=chance.integers(0, 3)).tolist())) for _ in range(V)
    ]
    padded = torch.tensor([[*own, -1, -1][:2] for own in tags])
    found = choose(pool, K, [Cap(torch.from_numpy(brand), 1), Cap(padded, 2)])
    for (items, _), made in zip(lists(pool), chosen(pool, found.place), strict=True):
        taken: list[int] = []
        for item in items:
            same = sum(brand[t, 0] == brand[item, 0] >= 0 for t in taken)
            full = any(sum(tag in tags[t] for t in taken) >= 2 for tag in tags[item])
            if len(taken) < K and same < 1 and not full:
                taken.append(item)
        assert made == taken


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_mmr_is_its_formula(pool: Pool, features: torch.Tensor, strength: float) -> None:
    found = choose(pool, K, [], Marginal(pool, features, strength))
    like = (features @ features.T).double().numpy()
    for (items, scores), made in zip(lists(pool), chosen(pool, found.place), strict=True):
        worth, taken = relevance(scores), list[int]()
        while len(taken) < min(K, len(items)):
            best = max(
                (n for n in range(len(items)) if items[n] not in taken),
                key=lambda n: (
                    (1 - strength) * worth[n]
                    - strength * max((like[items[n], t] for t in taken), default=0.0)
                ),
            )
            taken.append(items[best])
        assert made == taken


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_dpp_is_the_greedy_determinant(pool: Pool, features: torch.Tensor, strength: float) -> None:
    k = DIM + 1  # the rank of the kernel
    found = choose(pool, k, [], Determinant(pool, features, strength))
    like = (features @ features.T).double().numpy()
    for (items, scores), made in zip(lists(pool), chosen(pool, found.place), strict=True):
        quality = np.exp((1 - strength) / (2 * strength) * relevance(scores))
        kernel = quality[:, None] * like[np.ix_(items, items)] * quality
        taken: list[int] = []
        while len(taken) < min(k, len(items)):
            rest = [n for n in range(len(items)) if n not in taken]
            gained = [np.linalg.slogdet(kernel[np.ix_([*taken, n], [*taken, n])])[1] for n in rest]
            taken.append(rest[int(np.argmax(gained))])
        assert made == [items[n] for n in taken]


def test_dpp_takes_the_rest_by_relevance_where_nothing_more_is_spanned() -> None:
    features = torch.eye(3)[torch.tensor([0, 0, 1, 1, 2, 2])]
    pool = Pool(torch.arange(6)[None], torch.arange(6, 0, -1).double()[None])
    found = choose(pool, 6, [], Determinant(pool, features, 0.5))
    assert found.place.tolist() == [[0, 2, 4, 1, 3, 5]]


def test_dpp_gains_nothing_from_rounding_errors() -> None:
    """Genres in several lists of three or seven: sums of them, none of which float32 holds."""
    torch.manual_seed(1)
    shown = torch.eye(8).repeat(6, 1)
    shown[8:] += torch.eye(8)[torch.randint(0, 8, (40,))] + torch.eye(8)[torch.randint(0, 8, (40,))]
    features = torch.nn.functional.normalize(shown, dim=1)
    pool = Pool(torch.arange(48).expand(4, -1), torch.rand(4, 48).sort(1, True).values.double())
    found = choose(pool, 48, [], Determinant(pool, features, 0.5)).place
    assert (found[:, 8:].diff(dim=1) > 0).all()  # eight span all; the rest is by relevance


def test_an_empty_pool_gives_an_empty_list() -> None:
    pool = Pool(torch.full((2, 4), -1), torch.full((2, 4), -torch.inf, dtype=torch.float64))
    assert (choose(pool, 3, []).place == -1).all()
    assert choose(Pool(pool.items[:0], pool.scores[:0]), 3, []).place.shape == (0, 3)
