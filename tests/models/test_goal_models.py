"""Models of several goals against explicit loops, and ESMM's logit against probabilities."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as likelihood

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.models.clicks.calibrated import after
from lightning_rec.models.clicks.esmm import ESMM, logit_of_both
from lightning_rec.models.clicks.mmoe import MMoE
from lightning_rec.models.clicks.ple import PLE
from lightning_rec.models.clicks.shared_bottom import SharedBottom

FIELDS = (Field("user", "categorical", 1, 4, 1), Field("item", "categorical", 5, 6, 1))
SCHEMA = ClickSchema(FIELDS, goals=("click", "like", "buy"))
ROWS = Rows(torch.tensor([[1, 5], [2, 9], [4, 7]], dtype=torch.int32), torch.zeros(3, 0))


def visible(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def mixed(gate: Tensor, made: list[Tensor]) -> Tensor:
    """What the experts made of one row, weighed one by one."""
    weights = [math.exp(value) for value in gate.tolist()]
    total = torch.zeros_like(made[0])
    for weight, each in zip(weights, made, strict=True):
        total += weight / sum(weights) * each
    return total


@torch.no_grad()
def test_a_shared_bottom_is_one_network_under_all_towers() -> None:
    model = visible(SharedBottom(SCHEMA, dim=3, mlp=(5,), tower=(4,)))
    assert isinstance(model, SharedBottom)
    x = model.fields(ROWS).flatten(1)
    wanted = torch.stack([tower(model.bottom(x))[:, 0] for tower in model.towers], dim=1)
    torch.testing.assert_close(model(ROWS), wanted)
    assert wanted.shape == (3, 3)


@torch.no_grad()
def test_mmoe_weighs_its_experts_by_a_gate_for_each_goal() -> None:
    model = visible(MMoE(SCHEMA, dim=3, experts=4, mlp=(5,), tower=(4,)))
    assert isinstance(model, MMoE)
    x, found = model.fields(ROWS).flatten(1), model(ROWS)
    for row in range(3):
        made = [expert(x[row : row + 1])[0] for expert in model.experts]
        for goal in range(3):
            gate = model.gates[goal].weight @ x[row]
            wanted = model.towers[goal](mixed(gate, made)[None])[0, 0]
            torch.testing.assert_close(found[row, goal], wanted)


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_ple_gives_each_goal_its_own_experts_and_the_shared_ones(depth: int) -> None:
    settings = {"own_experts": 2, "shared_experts": 3, "expert": (5,), "tower": (4,)}
    model = visible(PLE(SCHEMA, dim=3, depth=depth, **settings))
    assert isinstance(model, PLE)
    x, found = model.fields(ROWS).flatten(1), model(ROWS)
    for row in range(3):
        states = [x[row]] * 4
        for number, layer in enumerate(model.layers):
            made = [
                [expert(states[place][None])[0] for expert in experts]
                for place, experts in enumerate(layer.experts)
            ]
            after = [
                mixed(layer.gates[goal].weight @ states[goal], made[goal] + made[3])
                for goal in range(3)
            ]
            if number < depth - 1:
                every = made[0] + made[1] + made[2] + made[3]
                after.append(mixed(layer.gates[3].weight @ states[3], every))
            else:
                assert len(layer.gates) == 3
            states = after
        for goal in range(3):
            wanted = model.towers[goal](states[goal][None])[0, 0]
            torch.testing.assert_close(found[row, goal], wanted)


@torch.no_grad()
def test_esmm_multiplies_probabilities() -> None:
    model = visible(ESMM(SCHEMA._replace(goals=("click", "buy")), dim=3, mlp=(5,)))
    assert isinstance(model, ESMM)
    x = model.fields(ROWS).flatten(1)
    click, bought = model(ROWS).unbind(dim=1)
    torch.testing.assert_close(click, model.click(x)[:, 0])
    p = torch.sigmoid(model.click(x)[:, 0]) * torch.sigmoid(model.conversion(x)[:, 0])
    torch.testing.assert_close(torch.sigmoid(bought), p)
    with pytest.raises(ValueError, match="two goals"):
        ESMM(SCHEMA)


class Funnel:
    """Impressions whose rates are known: of a click, and of a conversion if there were one.

    Who clicks little converts no less, so that clicked rows alone are few and not like the others.
    """

    def __init__(self, rows: int = 12_000, values: int = 40) -> None:
        chance = torch.Generator().manual_seed(0)
        drawn = torch.randint(0, values, (rows, 2), generator=chance)
        of_click, of_conversion = torch.randn(2, values, 2, generator=chance)
        place = torch.arange(2)
        self.click_rate = torch.sigmoid(of_click[drawn, place].sum(dim=1) - 2)
        self.rate = torch.sigmoid(0.8 * of_conversion[drawn, place].sum(dim=1) - 0.5)
        self.click = torch.bernoulli(self.click_rate, generator=chance)
        self.bought = self.click * torch.bernoulli(self.rate, generator=chance)
        fields = [Field(name, "categorical", 1 + at * (values + 1), values + 1, 1) for at, name in enumerate("ui")]  # fmt: skip
        self.schema = ClickSchema(tuple(fields), goals=("click", "buy"))
        self.ids = (drawn + 2 + place * (values + 1)).int()

    def fitted(self, clicked: bool) -> Tensor:
        """Conversion rates of all rows by ESMM, or by its second network on clicked rows alone."""
        torch.manual_seed(1)
        model = ESMM(self.schema, dim=4, mlp=(16,), dropout=0.0, batch_norm=False)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
        kept = self.click > 0 if clicked else torch.ones_like(self.click).bool()
        rows, every = (Rows(ids, torch.zeros(len(ids), 0)) for ids in (self.ids[kept], self.ids))
        for _ in range(150):
            optimizer.zero_grad()
            if clicked:
                x = model.fields(rows).flatten(1)
                loss = likelihood(model.conversion(x)[:, 0], self.bought[kept])
            else:
                click, both = model(rows).unbind(dim=1)
                loss = likelihood(click, self.click) + likelihood(both, self.bought)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            click, both = model(every).unbind(dim=1)
            return torch.sigmoid(after(click, both))


def test_esmm_recovers_the_conversion_rates_of_impressions_that_were_not_clicked() -> None:
    funnel = Funnel()
    unclicked = funnel.click == 0
    errors = []
    for clicked in (False, True):
        found = funnel.fitted(clicked=clicked)
        errors.append(float((found - funnel.rate)[unclicked].abs().mean()))
    seen = funnel.bought.sum() / funnel.click.sum()  # the rate of clicked rows, said of all
    constant = float((seen - funnel.rate)[unclicked].abs().mean())
    assert errors[0] < 0.13
    assert errors[0] < 0.85 * errors[1]
    assert errors[0] < 0.7 * constant


def test_the_logit_of_a_product_holds_where_probabilities_round_to_0_and_1() -> None:
    first = torch.tensor([0.3, 40.0, -60.0, 90.0, 30.0], dtype=torch.float32)
    second = torch.tensor([-1.2, 40.0, 70.0, -90.0, 2.0], dtype=torch.float32)
    found = logit_of_both(first.requires_grad_(), second)
    for a, b, z in zip(first.tolist(), second.tolist(), found.tolist(), strict=True):
        # log p - log(1 - p), with 1 - p = e^-a + e^-b + e^-(a+b), all over the same number
        rest = math.exp(-a) + math.exp(-b) + math.exp(-(a + b))
        assert z == pytest.approx(-math.log(rest), rel=1e-5)
    found.sum().backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
