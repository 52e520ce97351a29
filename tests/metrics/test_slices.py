"""Figures of slices: who belongs where, and that each figure is that of its members alone."""

import random

import pytest
import torch

from lightning_rec.metrics import functional as F
from lightning_rec.metrics.ranking import RankingMetrics
from lightning_rec.metrics.slices import slices_of_targets

ITEMS, EXAMPLES = 15, 60
CHANCE = random.Random(2)
COUNTS = [60, *(CHANCE.randrange(1, 50) for _ in range(ITEMS - 1))]  # item 0 is of the head
HISTORY = [CHANCE.choice([1, 4, 5, 9, 10, 19, 20, 49]) for _ in range(EXAMPLES)]  # none of 50
TARGET = [CHANCE.choice([-1, *range(ITEMS)]) for _ in range(EXAMPLES)]
RANK = [0 if target < 0 else CHANCE.randint(1, ITEMS) for target in TARGET]
SEEN = [CHANCE.random() < 0.3 for _ in range(EXAMPLES)]  # without a code: a seen one that is a miss
SLICES = slices_of_targets(
    torch.tensor(HISTORY), torch.tensor(TARGET), torch.tensor(SEEN), torch.tensor(COUNTS)
)


def where(history: int, target: int, seen: bool) -> set[str]:
    """The slices of one example."""
    ends = {"1_4": 4, "5_9": 9, "10_19": 19, "20_49": 49, "50_up": 10**9}
    length = next(name for name, end in ends.items() if history <= end)
    by_count = sorted(range(ITEMS), key=lambda item: -COUNTS[item])
    popular = by_count[: round(0.2 * ITEMS)]
    found = {f"history_{length}", "seen" if seen else "unseen"}
    if target < 0:
        return found if seen else found | {"cold"}
    return found | {"warm", "head" if target in popular else "tail"}


def collected(batches: list[list[int]], k: int, suffix: str = "") -> dict[str, float]:
    metrics = RankingMetrics(torch.tensor(COUNTS), (1, 3), suffix=suffix, slices=SLICES)
    for batch in batches:
        rank = torch.tensor([RANK[example] for example in batch])
        top = torch.tensor([[0, 1, 2]] * len(batch))
        metrics.update(torch.tensor(batch), rank, torch.full_like(rank, ITEMS), top)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_rec.metrics.ranking.CUTOFF", k)
        return {name: value.item() for name, value in metrics.compute().items()}


def test_each_example_is_where_it_belongs() -> None:
    for example, each in enumerate(zip(HISTORY, TARGET, SEEN, strict=True)):
        found = {name for name, members in SLICES.items() if members[example]}
        assert found == where(*each)


def test_where_nothing_was_seen_there_is_no_slice_of_it() -> None:
    none = torch.zeros(EXAMPLES, dtype=torch.bool)
    slices = slices_of_targets(
        torch.tensor(HISTORY), torch.tensor(TARGET), none, torch.tensor(COUNTS)
    )
    assert not {"seen", "unseen"} & set(slices)


@pytest.mark.parametrize("k", [3, 10])
def test_figures_of_a_slice_are_those_of_its_members(k: int) -> None:
    figures = collected([list(range(EXAMPLES))], k)
    places = [where(*each) for each in zip(HISTORY, TARGET, SEEN, strict=True)]
    for name in SLICES:
        ranks = [rank for rank, place in zip(RANK, places, strict=True) if name in place]
        assert figures[f"{name}/examples"] == len(ranks)
        assert (f"{name}/ndcg@{k}" in figures) == bool(ranks)
        if ranks:
            each = torch.tensor(ranks)
            assert figures[f"{name}/recall@{k}"] == pytest.approx(
                sum(0 < rank <= k for rank in ranks) / len(ranks)
            )
            number, ones = torch.arange(len(each)), torch.ones(len(each))
            assert figures[f"{name}/ndcg@{k}"] == F.ndcg(number, each, ones, k).mean().item()
    assert figures["history_50_up/examples"] == 0
    missed = sum(seen and target < 0 for seen, target in zip(SEEN, TARGET, strict=True))
    assert figures["warm/examples"] + figures["cold/examples"] == EXAMPLES - missed < EXAMPLES
    assert figures["cold/recall@3" if k == 3 else "cold/recall@10"] == 0


def test_slices_do_not_change_the_other_figures_nor_depend_on_batches() -> None:
    whole = collected([list(range(EXAMPLES))], 10)
    order = random.Random(1).sample(range(EXAMPLES), EXAMPLES)
    assert collected([order[start : start + 7] for start in range(0, EXAMPLES, 7)], 10) == whole
    plain = RankingMetrics(torch.tensor(COUNTS), (1, 3))
    plain.update(
        torch.arange(EXAMPLES),
        torch.tensor(RANK),
        torch.full((EXAMPLES,), ITEMS),
        torch.tensor([[0, 1, 2]] * EXAMPLES),
    )
    for name, value in plain.compute().items():
        assert whole[name] == value.item()
        assert "/" not in name


def test_slices_of_some_examples_only() -> None:
    some = [example for example in range(EXAMPLES) if example % 3]
    figures = collected([some], 10)
    inside = [e for e in some if "head" in where(HISTORY[e], TARGET[e], SEEN[e])]
    assert figures["head/examples"] == len(inside)
    assert figures["head/recall@10"] == pytest.approx(
        sum(0 < RANK[e] <= 10 for e in inside) / len(inside)
    )


def test_a_sample_is_named_in_slices_too() -> None:
    figures = collected([list(range(EXAMPLES))], 10, "_sampled100_popular")
    assert "head/ndcg@10_sampled100_popular" in figures
    assert "head/ndcg@10" not in figures
