"""NeuMF against its equations, one pair at a time."""

import numpy as np
import pytest
import torch

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic import neumf
from lightning_rec.models.classic.neumf import NeuMF


@pytest.fixture
def model(leave_one_out: Split) -> NeuMF:
    split = leave_one_out
    torch.manual_seed(0)
    model = NeuMF(Schema(split.num_items, 10, split.num_users), dim=4, depth=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.fit(split)
    return model.eval()


def of(*users: int) -> tuple[Histories, torch.Tensor]:
    items = torch.zeros(len(users), 1, dtype=torch.int64)
    return Histories(items, torch.tensor(users)), torch.zeros(len(users), dtype=torch.int64)


def score(weights: dict[str, np.ndarray], gmf: np.ndarray, tower: np.ndarray, item: int) -> float:
    """Equation 12: h over [p * q, φ_L(… φ_2([p', q']))], its first layer in one piece."""
    first = np.hstack([weights["first_user.weight"], weights["first_item.weight"]])
    z = np.concatenate([tower, weights["item_tower.weight"][item]])
    z = np.maximum(0, first @ z + weights["first_user.bias"])
    for layer in (0, 1):
        z = weights[f"tower.{layer}.weight"] @ z + weights[f"tower.{layer}.bias"]
        z = np.maximum(0, z)
    both = np.concatenate([gmf * weights["item_gmf.weight"][item], z])
    h = np.concatenate([weights["output_gmf"], weights["output_tower"]])
    return float(h @ both)


def test_the_score_is_that_of_the_paper(model: NeuMF) -> None:
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    found = model.scores(model(*of(4, 9))).detach()
    for row, user in enumerate((4, 9)):
        own = weights["user_gmf.weight"][user], weights["user_tower.weight"][user]
        for item in (0, 11):
            assert float(found[row, item]) == pytest.approx(score(weights, *own, item), rel=1e-4)


def test_widths_halve_from_both_vectors_to_the_predictive_factors() -> None:
    model = NeuMF(Schema(5, 2, 5), dim=8, depth=3)
    assert model.user_tower.embedding_dim == model.item_tower.embedding_dim == 32
    assert [(x.in_features, x.out_features) for x in model.tower] == [(32, 16), (16, 8)]


def test_blocks_of_items_change_no_score_and_bound_what_is_made(
    model: NeuMF, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = model(*of(1, 2, 3))
    own = torch.randint(model.schema.num_items, (3, 9))
    whole, mine = model.scores(queries), model.scores(queries, own)
    widths = []
    made = model._score
    monkeypatch.setattr(neumf, "BLOCK_BYTES", 4 * 3 * 16 * 4)  # four items of three queries
    monkeypatch.setattr(
        model,
        "_score",
        lambda q, items: widths.append(items.shape[-1]) or made(q, items),  # type: ignore[func-returns-value]
    )
    torch.testing.assert_close(model.scores(queries), whole)
    torch.testing.assert_close(model.scores(queries, own), mine)
    assert max(widths) == 4
    assert sum(widths) == model.schema.num_items + 9


def test_a_user_without_training_events_is_the_mean_of_the_others(model: NeuMF) -> None:
    model.known[4] = False
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    mean = [
        np.delete(weights[f"user_{part}.weight"], 4, axis=0).mean(axis=0)
        for part in ("gmf", "tower")
    ]
    found = model.scores(model(*of(4, 5))).detach()
    gmf, tower = mean
    assert float(found[0, 3]) == pytest.approx(score(weights, gmf, tower, 3), rel=1e-4)
    model.known[4] = True
    torch.testing.assert_close(model.scores(model(*of(5))), found[1:])
