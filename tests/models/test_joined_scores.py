"""How scores of members are joined where they are odd, and weights that are fitted, by brute force."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.ensembles import SequenceEnsemble
from lightning_rec.models.together import Member, recent
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.retrieval.exact import ModelRetriever, Pairs
from lightning_rec.tasks.ensembles import TRIALS, best_pool, grid

SCHEMA = Schema(num_items=6, max_len=4, num_users=3)


class Table(SequenceModel):
    """Scores of each user, whatever they did."""

    objectives = ("closed_form",)

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__(SCHEMA)
        self.register_buffer("table", torch.tensor(table))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        rows: Tensor = self.table[histories.user]
        return rows

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        if items is None:
            return queries
        return queries[:, items] if items.dim() == 1 else queries.gather(1, items)


def ensemble(*tables: list[list[float]], **settings: Any) -> SequenceEnsemble:
    ask = ClosedForm().query_inputs
    return SequenceEnsemble(SCHEMA, [Member(Table(each), ask, 64) for each in tables], **settings)


def ranked(model: SequenceEnsemble, left_out: Pairs | None = None, **kind: Any) -> list[int]:
    histories = Histories(torch.tensor([[0, 1]]), torch.tensor([0]))
    queries = model(histories, torch.tensor([1]))
    found = ModelRetriever(model, **kind).top(queries, 6, left_out=left_out)
    return [item for item in found.items[0].tolist() if item >= 0]


ONE, OTHER = [[6.0, 5, 4, 3, 2, 1]], [[0.0, 0, 30, 20, 10, 40]]


@pytest.mark.parametrize("by", ["scores", "probabilities", "ranks"])
def test_blocks_of_the_catalogue_make_no_difference(by: str) -> None:
    model = ensemble(ONE, OTHER, by=by, weights=[0.6, 0.4])
    assert ranked(model) == ranked(model, score_bytes=8)


@pytest.mark.parametrize("by", ["scores", "probabilities", "ranks"])
def test_what_is_left_out_counts_for_nothing(by: str) -> None:
    """Whatever a member thinks of an item that is no candidate, the others are ranked alike."""
    left_out = Pairs(torch.tensor([0]), torch.tensor([5]))
    found = [
        ranked(ensemble(ONE, [[0.0, 0, 30, 20, 10, score]], by=by), left_out)
        for score in (-1e6, 40.0, 1e6)
    ]
    assert found[0] == found[1] == found[2]
    assert 5 not in found[0]


@pytest.mark.parametrize("by", ["scores", "probabilities", "ranks"])
def test_items_without_a_score_come_last_with_that_member(by: str) -> None:
    odd = [[float("nan"), -torch.inf, 3, 2, 1, 4]]
    model = ensemble(odd, odd, by=by)
    assert ranked(model)[:4] == [5, 2, 3, 4]
    assert set(ranked(model)[4:]) == {0, 1}
    even = ensemble(odd, [[60.0, 5, 4, 3, 2, 1]], by="scores", weights=[0.1, 0.9])
    assert ranked(even)[0] == 0  # the other member's word counts


def test_constant_scores_say_nothing() -> None:
    assert ranked(ensemble([[7.0] * 6], OTHER)) == ranked(ensemble(OTHER))


def test_a_member_of_no_weight_is_not_heard() -> None:
    model = ensemble(ONE, OTHER, weights=[0, 2])
    queries = model(Histories(torch.tensor([[0, 1]]), torch.tensor([0])), torch.tensor([1]))
    assert torch.equal(model.scores(queries), torch.tensor(OTHER))  # as they are


def test_members_move_along_and_their_weights_are_not_its_own() -> None:
    model = ensemble(ONE, OTHER)
    assert list(model.state_dict()) == ["weights"]
    assert not list(model.parameters())
    assert model.to(torch.device("meta")).members[0].model.table.is_meta


def test_the_latest_items_are_what_a_model_reads() -> None:
    items = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 6], [1, 2, 6, 6, 6, 6]])
    found = recent(Histories(items, torch.arange(3)), SCHEMA).items
    assert found.tolist() == [[2, 3, 4, 5], [4, 3, 2, 1], [1, 2, 6, 6]]
    assert recent(Histories(items[:, :3], torch.arange(3)), SCHEMA).items is not found
    times = 10 * torch.arange(7).repeat(3, 1)
    when = recent(Histories(items, torch.arange(3), times), SCHEMA).times
    assert when is not None
    assert when.tolist() == [[20, 30, 40, 50, 60], [10, 20, 30, 40, 50], [0, 10, 20, 30, 40]]


@pytest.mark.parametrize("members", [2, 3, 4, 7, 30])
def test_weights_that_are_tried(members: int) -> None:
    weights = grid(members)
    assert len(weights) <= TRIALS + 1
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights), dtype=torch.float64))
    assert torch.equal(weights[0], torch.full((members,), 1 / members, dtype=torch.float64))
    alone = {tuple(row) for row in torch.eye(members).tolist()}
    assert alone <= {tuple(row) for row in weights.tolist()}


@pytest.mark.parametrize("by", ["scores", "probabilities"])
def test_weights_of_clicks_have_the_lowest_logloss_of_all(by: str) -> None:
    chance = np.random.default_rng(3)
    label = (chance.random(400) < 0.4).astype(float)
    noise = chance.normal(size=(400, 3)) * [1, 2, 3]
    logits = (2 * label[:, None] - 1) * [0.8, 1.5, 0.1] + noise - 0.4

    def loss(weights: np.ndarray) -> float:
        sigmoid = 1 / (1 + np.exp(-logits))
        mean = sigmoid @ weights if by == "probabilities" else 1 / (1 + np.exp(-logits @ weights))
        return float(log_loss(label, mean))

    found, value = best_pool(torch.from_numpy(logits), torch.from_numpy(label), by)
    assert value == pytest.approx(loss(found.numpy()), abs=1e-9)
    steps = np.arange(0, 1.001, 0.05)
    grid_of = [
        np.array([a, b, max(0.0, 1 - a - b)])
        for a, b in itertools.product(steps, steps)
        if a + b <= 1.0001
    ]
    assert value <= min(map(loss, grid_of)) + 1e-9
    assert 0.01 < found.max() < 0.99
