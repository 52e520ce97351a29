"""Losses against plain re-computations, and what negatives may be."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Examples, Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.full import FullSoftmax, linear_cross_entropy
from lightning_rec.losses.in_batch import InBatch
from lightning_rec.losses.multinomial import Multinomial
from lightning_rec.losses.negatives import Negatives, Shared, positive_keys
from lightning_rec.losses.sampled import BCE, BPR, GBCE, Sampled, SampledSoftmax
from lightning_rec.models.base import InnerProduct, ItemVectors

ITEMS, DIM = 30, 8


class Table(InnerProduct):
    """Item vectors and biases, and nothing else."""

    def __init__(self, biased: bool = True) -> None:
        super().__init__(Schema(ITEMS, 5, 4))
        self.weight = nn.Parameter(torch.randn(ITEMS, DIM))
        self.bias: Any = nn.Parameter(torch.randn(ITEMS)) if biased else None

    def forward(self, histories: Histories, at: Tensor) -> Tensor:
        raise NotImplementedError

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        rows: Any = slice(None) if items is None else items
        return ItemVectors(self.weight[rows], None if self.bias is None else self.bias[rows])


def predictions(number: int = 12, rows: int = 4) -> Predictions:
    """Queries of four sequences; each user has seven items, the targets among them."""
    torch.manual_seed(0)
    row = torch.arange(rows).repeat_interleave(number // rows)
    place = torch.randint(7, (number,))
    queries = torch.randn(number, DIM, requires_grad=True)
    return Predictions(queries, SEEN[row, place], row, torch.arange(rows))


def split_of(seen: Tensor, counts: Tensor | None = None) -> Split:
    """Users with these items in training, int64 [users, n]; ``counts`` of their own if given."""
    users, events = seen.shape
    offsets = np.arange(users + 1) * events
    counted = torch.ones(ITEMS, dtype=torch.int64) if counts is None else counts
    none = np.zeros(0, dtype=np.int64)
    empty = Examples(none, none, none, none, none > 0)
    return Split(
        offsets, seen.flatten().numpy().astype(np.int32), np.arange(seen.numel()), offsets[1:],
        np.arange(ITEMS), counted.numpy(), empty, empty, None, {},
    )  # fmt: skip


SEEN = torch.stack([torch.randperm(ITEMS, generator=torch.Generator().manual_seed(n))[:7] for n in range(4)])  # fmt: skip
UNSEEN = split_of(torch.zeros(4, 0, dtype=torch.int64))  # users without items
COUNTS = torch.arange(ITEMS) + 1


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("block", [1, 5, 12, 100])
def test_full_softmax_in_blocks_is_cross_entropy(biased: bool, block: int) -> None:
    model, asked = Table(biased), predictions()
    inputs = [asked.queries, *model.parameters()]
    plain = F.cross_entropy(F.linear(asked.queries, model.weight, model.bias), asked.targets)
    blocked = FullSoftmax(block)(model, asked)
    torch.testing.assert_close(blocked, plain)
    torch.testing.assert_close(
        torch.autograd.grad(blocked * 3, inputs), torch.autograd.grad(plain * 3, inputs)
    )


def test_full_softmax_of_hopeless_scores_stays_finite() -> None:
    queries = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    weight = torch.tensor([[-1.0], [1.0]], requires_grad=True)
    loss = linear_cross_entropy(queries, weight, None, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    assert queries.grad is not None
    torch.testing.assert_close(queries.grad, torch.tensor([[1.0], [-1.0]]))


def test_full_softmax_under_autocast_is_close() -> None:
    model, asked = Table(), predictions()
    plain = FullSoftmax()(model, asked)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = FullSoftmax()(model, asked)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(plain.item(), rel=0.02)
    assert mixed.item() != plain.item()


SHARED: tuple[Shared, ...] = ("none", "sequence", "batch")


def sampler(**settings: Any) -> Negatives:
    defaults: dict[str, Any] = {
        "split": split_of(SEEN, COUNTS),
        "number": 9,
        "shared": "none",
        "popularity": 0.0,
        "positives": False,
    }
    return Negatives(**(defaults | settings))


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("popularity", [0.0, 1.0])
def test_no_negative_that_counts_is_an_item_of_the_user(shared: Any, popularity: float) -> None:
    asked = predictions()
    theirs = {(user, item) for user, items in enumerate(SEEN.tolist()) for item in items}
    counted = []
    for _ in range(50):
        items, usable = sampler(shared=shared, popularity=popularity).draw(asked)
        assert usable.shape == (12, 9)
        counted.append(usable.double().mean().item())
        by_query = {"none": items, "sequence": items[asked.row % len(items)], "batch": items}
        own = by_query[shared].expand(12, 9)
        for query in range(12):
            drawn = own[query][usable[query]].tolist()
            assert not {(int(asked.row[query]), item) for item in drawn} & theirs
    if shared != "batch":
        assert sum(counted) / len(counted) > 0.98  # what was hit was drawn again


@pytest.mark.parametrize("shared", SHARED)
def test_positives_are_drawn_where_asked_but_never_the_target(shared: Any) -> None:
    asked = predictions()
    hit = 0
    for _ in range(50):
        items, usable = sampler(shared=shared, positives=True).draw(asked)
        own = (items[asked.row] if shared == "sequence" else items).expand(12, 9)
        assert not (usable & (own == asked.targets[:, None])).any()
        for query in range(12):
            seen = SEEN[asked.row[query]]
            hit += int(torch.isin(own[query][usable[query]], seen).sum())
    assert hit > 100


def test_sequences_share_their_draw_and_do_not_share_it_with_others() -> None:
    asked = predictions()
    assert sampler(shared="batch").draw(asked).items.shape == (9,)
    items, _ = sampler(shared="sequence").draw(asked)
    assert items.shape == (4, 9)
    assert len({tuple(row) for row in items.tolist()}) == 4
    assert sampler(shared="none").draw(asked).items.shape == (12, 9)


@pytest.mark.parametrize("popularity", [0.0, 0.5, 1.0])
def test_draws_follow_the_stated_power_of_popularity(popularity: float) -> None:
    torch.manual_seed(0)
    none = torch.zeros(0, dtype=torch.int64)
    asked = Predictions(torch.zeros(20_000, 1), torch.full((20_000,), -1), none, none)
    drawn = sampler(popularity=popularity, positives=True)
    share = torch.bincount(drawn.draw(asked).items.flatten(), minlength=ITEMS) / 180_000
    expected = COUNTS.double() ** popularity / (COUNTS.double() ** popularity).sum()
    torch.testing.assert_close(share.double(), expected, atol=0.002, rtol=0)
    torch.testing.assert_close(
        drawn.log_expected(torch.arange(ITEMS), asked).double(),
        (9 * expected).log(),
        atol=1e-5,
        rtol=0,
    )


def test_a_user_who_has_everything_gets_no_negative() -> None:
    asked, everything = predictions(), split_of(torch.arange(ITEMS).repeat(4, 1))
    for kind in (SampledSoftmax, BCE, GBCE, BPR):
        for shared in SHARED:
            loss = kind(everything, negatives=3, shared=shared)
            assert not loss.sampler.draw(asked).valid.any()
            assert loss(Table(), asked).isfinite()


def test_more_negatives_than_items_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"loss.negatives=30, but there are only 30 items.*full_soft"
    ):
        sampler(number=30)


def by_hand(loss: Sampled, wanted: float, scores: list[float], items: list[int]) -> float:
    """One query's loss, from the formulas, given the negatives that count."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    if isinstance(loss, SampledSoftmax):
        if loss.log_q:
            scores = [
                score - math.log(len(scores) / ITEMS)
                for score, _ in zip(scores, items, strict=True)
            ]
        return -math.log(math.exp(wanted) / (math.exp(wanted) + sum(map(math.exp, scores))))
    if isinstance(loss, GBCE):
        rate = len(scores) / (ITEMS - 1)
        power = rate * (0.75 * (1 - 1 / rate) + 1 / rate)
        return -math.log(sigmoid(wanted) ** power) - sum(math.log(1 - sigmoid(s)) for s in scores)
    if isinstance(loss, BPR):
        return -sum(math.log(sigmoid(wanted - score)) for score in scores) / len(scores)
    return -math.log(sigmoid(wanted)) - sum(math.log(1 - sigmoid(score)) for score in scores)


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [(SampledSoftmax, {}), (SampledSoftmax, {"log_q": True}), (BCE, {}), (GBCE, {}), (BPR, {})],
)
def test_sampled_losses_by_hand(kind: Any, settings: dict[str, Any], shared: Any) -> None:
    asked, model = predictions(), Table()
    loss = kind(UNSEEN, negatives=6, shared=shared, positives=False, **settings)
    scores = model.scores(asked.queries).detach()
    while True:  # until no draw happens to be the target, so that six count for each query
        torch.manual_seed(state := int(torch.randint(10**6, ()).item()))
        items, usable = loss.sampler.draw(asked)
        if usable.all():
            break
    own = (items[asked.row] if shared == "sequence" else items).expand(12, 6)
    expected = [
        by_hand(
            loss,
            scores[query, asked.targets[query]].item(),
            scores[query, own[query]].tolist(),
            own[query].tolist(),
        )
        for query in range(12)
    ]
    torch.manual_seed(state)
    value = loss(model, asked)
    assert value.item() == pytest.approx(sum(expected) / 12, rel=1e-4)
    value.backward()
    assert asked.queries.grad is not None
    assert model.weight.grad is not None
    torch.manual_seed(state)
    assert loss.per_target(model, asked).tolist() == pytest.approx(expected, rel=1e-4)
    weights = torch.arange(12.0)
    torch.manual_seed(state)
    weighed = sum(w * each for w, each in zip(range(12), expected, strict=True)) / 66
    assert loss(model, asked, weights).item() == pytest.approx(weighed, rel=1e-4)


@pytest.mark.parametrize("popularity", [0.0, 1.0])
@pytest.mark.parametrize("positives", [False, True])
@pytest.mark.parametrize("shared", SHARED)
def test_log_q_makes_the_sampled_sum_an_estimate_of_the_exact_one(
    shared: Any, positives: bool, popularity: float
) -> None:
    """Monte Carlo: the mean over many draws is the sum over all that a user may be given.

    Users have the popular items, most of what is drawn at first: their mass must be taken off.
    """
    torch.manual_seed(0)
    users, scores = 3000, torch.randn(ITEMS)
    seen = COUNTS.argsort(descending=True)[:7].repeat(users, 1)
    sampler = Negatives(split_of(seen, COUNTS), 8, shared, popularity, positives)
    row = torch.arange(users)
    asked = Predictions(torch.zeros(users, 1), seen[:, 0], row, row)
    sums = []
    for _ in range(400 if shared == "batch" else 20):
        items, usable = sampler.draw(asked)
        weights = (scores[items] - sampler.log_expected(items, asked)).exp()
        sums.append(torch.where(usable, weights, 0).sum(dim=1).mean())
    allowed = torch.ones(ITEMS, dtype=torch.bool)
    allowed[seen[0, :1] if positives else seen[0]] = False
    exact = scores[allowed].exp().sum().item()
    assert torch.stack(sums).mean().item() == pytest.approx(exact, rel=0.02)


def test_what_users_own_is_what_they_have_in_training(leave_one_out: Split) -> None:
    split = leave_one_out
    bounds = enumerate(zip(split.offsets[:-1], split.train_end, strict=True))
    pairs = {(user, int(item)) for user, (a, b) in bounds for item in split.items[a:b]}
    assert [divmod(key, split.num_items) for key in positive_keys(split).tolist()] == sorted(pairs)


@pytest.mark.parametrize("positives", [False, True])
def test_in_batch_softmax_is_that_of_the_formula(positives: bool) -> None:
    counts = torch.arange(1, ITEMS + 1)
    model, made = Table(), predictions()
    loss = InBatch(split_of(SEEN, counts), positives=positives)(model, made)
    total = 0.0
    for query, target, row in zip(made.queries, made.targets, made.row, strict=True):
        exponentials = {
            item: math.exp(
                (query @ model.weight[item] + model.bias[item]).item()
                - math.log(1 - (1 - float(counts[item] / counts.sum())) ** len(made.targets))
            )
            for item in set(made.targets.tolist())
            if positives or item == target or item not in SEEN[row].tolist()
        }
        total -= math.log(exponentials[int(target)] / sum(exponentials.values()))
    assert float(loss) == pytest.approx(total / len(made.targets), rel=1e-5)


def test_in_batch_softmax_may_count_targets_as_often_as_they_occur() -> None:
    """As Yi et al. have it, log of the share subtracted; a query's own target counts once."""
    counts = torch.arange(1, ITEMS + 1)
    model, made = Table(), predictions()
    loss = InBatch(split_of(SEEN, counts), positives=True, distinct=False)(model, made)
    total = 0.0
    for query, target in zip(made.queries, made.targets, strict=True):
        scores = model.scores(query[None])[0] - (counts / counts.sum()).log()
        others = [scores[item].exp() for item in made.targets if item != target]
        total -= float((scores[target].exp() / (scores[target].exp() + sum(others))).log())
    assert len(made.targets.unique()) < len(made.targets)
    assert float(loss) == pytest.approx(total / len(made.targets), rel=1e-5)


def test_in_batch_softmax_settles_where_the_full_one_does() -> None:
    """Items asked for at random: the scores that fit best are the logs of their shares."""
    counts = torch.arange(1, ITEMS + 1).pow(3)  # the last ones are in nearly every batch
    model, share = Table(), counts / counts.sum()
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(share.log())
    loss = InBatch(split_of(SEEN, counts), positives=True)
    torch.manual_seed(0)
    for _ in range(2000):
        targets = torch.multinomial(share, 40, replacement=True)
        rows = torch.zeros(40, dtype=torch.int64)
        loss(model, Predictions(torch.zeros(40, DIM), targets, rows, rows[:1])).backward()
    pull = model.bias.grad / 2000 / share  # of each item, beside how often it is asked for
    assert pull.abs()[5:].max() < 0.05


def test_items_without_training_events_are_no_negatives() -> None:
    counts = torch.ones(ITEMS, dtype=torch.int64)
    counts[20:] = 0
    split, model, made = split_of(SEEN % 20, counts), Table(), predictions()
    made = made._replace(targets=made.targets % 20)
    scores = model.scores(made.queries)[:, :20]
    wanted = F.cross_entropy(scores, made.targets)
    torch.testing.assert_close(FullSoftmax(split=split)(model, made), wanted)
    for popularity in (0.0, 0.5):
        drawn = Negatives(split, 15, "sequence", popularity, positives=True).draw(made)
        assert drawn.items.max() < 20


@pytest.mark.parametrize("biased", [True, False])
def test_many_own_items_are_scored_as_few(biased: bool) -> None:
    model, queries = Table(biased), torch.randn(12, DIM, requires_grad=True)
    items = torch.randint(ITEMS, (12, 2 * ITEMS))
    many = model.scores(queries, items)
    few = torch.cat([model.scores(queries, part) for part in items.split(1, dim=1)], dim=1)
    torch.testing.assert_close(many, few)
    weight = torch.randn_like(many)
    learnt = (queries, *model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad((many * weight).sum(), learnt),
        torch.autograd.grad((few * weight).sum(), learnt),
    )


@pytest.mark.parametrize("kind", [FullSoftmax, InBatch])
def test_the_mean_is_that_of_the_targets(kind: Any) -> None:
    asked, model, loss = predictions(), Table(), kind(split=UNSEEN)
    each = loss.per_target(model, asked)
    assert each.shape == (12,)
    assert loss(model, asked).item() == pytest.approx(each.mean().item(), rel=1e-5)
    weights = torch.arange(12.0)
    wanted = float((each.detach() * weights).sum() / 66)
    assert loss(model, asked, weights).item() == pytest.approx(wanted, rel=1e-5)


def test_the_likelihood_of_sets_counts_each_item_once_and_leaves_out_the_untrained() -> None:
    model, queries = Table(), torch.randn(3, DIM, requires_grad=True)
    targets = torch.tensor([[4, 2, 4, 19], [7, ITEMS, ITEMS, ITEMS], [ITEMS] * 4])
    split = split_of(SEEN, (torch.arange(ITEMS) < 20).long())
    asked = Predictions(queries, targets, torch.arange(3), torch.arange(3))
    each = Multinomial(split).per_target(model, asked)
    chance = model.scores(queries)[:, :20].log_softmax(dim=1)
    wanted = -torch.stack([chance[0, [2, 4, 19]].sum(), chance[1, 7], chance[2, 0] * 0])
    torch.testing.assert_close(each, wanted)
    whole = Multinomial()(model, asked)
    chance = model.scores(queries).log_softmax(dim=1)
    torch.testing.assert_close(whole, -(chance[0, [2, 4, 19]].sum() + chance[1, 7]) / 3)
