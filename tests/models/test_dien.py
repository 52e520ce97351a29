"""DIEN against FuxiCTR's forward and the authors' losses, one row and one step after another.

FuxiCTR's model_zoo/DIEN at 58e2696 (bilinear attention, AUGRU, no sum of the history); its own
auxiliary loss fails for want of equal shapes, so that this is script/model.py of mouna99/dien.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.batches import ClickBatch
from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Field, Rows
from lightning_rec.data.split import Histories
from lightning_rec.losses.clicks import LogLoss
from lightning_rec.methods.base import Method
from lightning_rec.metrics.clicks import ClickMetrics
from lightning_rec.models.clicks.calibrated import Calibrated
from lightning_rec.models.clicks.dien import AUGRU, DIEN
from lightning_rec.tasks.base import Task, Training
from lightning_rec.tasks.click import ClickSteps, own_penalty

SCHEMA = ClickSchema(
    (Field("user", "categorical", 1, 4, 1), Field("item", "categorical", 5, 9, 1)), "item", 6
)
PAD, D = 8, 4  # items of histories are 0 to 7
PASTS = [[1, 3, 3, 7, 0], [2], [], [6, 5, 4, 1]]  # of any lengths in any order
B, L = 4, 5
ROWS = Rows(
    torch.tensor([[2, 6], [1, 8], [4, 5], [3, 13]], dtype=torch.int32),
    torch.zeros(B, 0),
    Histories(torch.tensor([[*past, *[PAD] * (L - len(past))] for past in PASTS]), torch.zeros(B)),
)
LABEL = torch.tensor([1.0, 0.0, 1.0, 0.0])


def made(**settings: Any) -> DIEN:
    torch.manual_seed(0)
    model = DIEN(SCHEMA, D, mlp=(6, 5), discriminator=(7, 3), **settings).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    nn.init.zeros_(model.fields.table.weight.data[0])
    return model


def log_loss(logits: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, LABEL.double())


def close(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=1e-10)


def gru(layer: nn.GRU, x: Tensor) -> Tensor:
    """States of items, [l, D] -> the same."""
    h, states = x.new_zeros(D), []
    for each in x:
        r, z, n = (layer.weight_ih_l0 @ each + layer.bias_ih_l0).chunk(3)
        hr, hz, hn = (layer.weight_hh_l0 @ h + layer.bias_hh_l0).chunk(3)
        z, n = torch.sigmoid(z + hz), torch.tanh(n + torch.sigmoid(r + hr) * hn)
        h = (1 - z) * n + z * h
        states.append(h)
    return torch.stack(states)


def augru(layer: AUGRU, x: Tensor, attention: Tensor) -> Tensor:
    """FuxiCTR's AUGRUCell step by step: [l, D] and [l] -> the last state, [D]."""
    h = x.new_zeros(D)
    for each, a in zip(x, attention, strict=True):
        i_u, i_r, i_n = (layer.read.weight @ each + layer.read.bias).chunk(3)
        h_u, h_r, h_n = (layer.carry.weight @ h + layer.carry.bias).chunk(3)
        update = torch.sigmoid(i_u + h_u) * a
        new = torch.tanh(i_n + torch.sigmoid(i_r + h_r) * h_n)
        h = h + update * (new - h)
    return h


def wrong(items: Tensor) -> Tensor:
    """What the next items are told from."""
    return (items + 3) % 8


def official(model: DIEN) -> tuple[Tensor, Tensor]:
    """FuxiCTR's logits, [B], and the authors' loss with the auxiliary one, without their 1e-8."""
    table = model.fields.table.weight
    states, click, noclick = (table.new_zeros(B, L, D) for _ in range(3))
    tops = []
    for row, past in enumerate(PASTS):
        user, shown = table[ROWS.ids[row].long()]
        h = torch.zeros_like(shown)
        if past:
            code = torch.tensor(past)
            e = table[6 + code]
            found = gru(model.interests, e)
            scores = torch.stack([state @ model.query.weight @ shown for state in found])
            h = augru(model.evolution, found, scores.softmax(0))
            states[row, : len(past)], click[row, : len(past)] = found, e
            noclick[row, : len(past)] = table[6 + wrong(code)]
        tops.append(torch.cat([user, shown, h]))
    logits = model.deep(torch.stack(tops))[:, 0]
    p = torch.sigmoid(logits)
    y_hat, target = torch.stack([p, 1 - p], 1), torch.stack([LABEL, 1 - LABEL], 1)
    ctr_loss = -(y_hat.log() * target).mean()
    mask = (ROWS.history.items != PAD)[:, 1:]

    def net(items: Tensor) -> Tensor:
        assert model.discriminator is not None
        logit = model.discriminator(torch.cat([states[:, :-1], items[:, 1:]], 2).flatten(0, 1))
        return torch.cat([logit, torch.zeros_like(logit)], 1).softmax(1)[:, 0].view(B, L - 1)

    aux_loss = (-net(click).log() * mask - (1 - net(noclick)).log() * mask).mean()
    return logits, ctr_loss + aux_loss


@pytest.mark.parametrize("block", [2, 4096])
def test_logits_loss_and_gradients_are_the_official_ones(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_rec.models.clicks.dien.BLOCK_STEPS", block)
    steps = sum(max(0, len(past) - 1) for past in PASTS)
    model = made(auxiliary=2 * steps / (B * (L - 1)))  # they halve the loss of clicks
    monkeypatch.setattr(model, "others", lambda items, described: wrong(items))
    logits, loss = official(model)
    close(model(ROWS), logits)
    names, parameters = zip(*model.named_parameters(), strict=True)
    wanted = torch.autograd.grad(2 * loss, parameters)
    ours = log_loss(model(ROWS)) + own_penalty(model)
    close(ours, 2 * loss)
    for name, got, each in zip(names, torch.autograd.grad(ours, parameters), wanted, strict=True):
        assert each.any(), name
        close(got, each)


def test_an_augru_is_a_gru_where_all_attend_and_stands_still_where_nothing_does() -> None:
    layer, plain = AUGRU(D).double(), nn.GRU(D, D).double()
    with torch.no_grad():
        for name, mine in (("ih", layer.read), ("hh", layer.carry)):
            for kind in ("weight", "bias"):
                r, z, n = getattr(plain, f"{kind}_{name}_l0").chunk(3)
                getattr(mine, kind).copy_(torch.cat([-z, r, n]))  # torch's keeps what this updates
    x = torch.randn(9, D).double()
    packed = nn.utils.rnn.PackedSequence(x, torch.tensor([4, 3, 2]))
    close(layer(x, x.new_ones(9), [4, 3, 2]), plain(packed)[1][0])
    assert not layer(x, x.new_zeros(9), [4, 3, 2]).any()


def test_any_other_item_is_as_likely_and_the_next_one_is_never_drawn() -> None:
    model = made()
    for described, known in ((None, range(8)), (torch.tensor([0, 2, 5, 7]), (0, 2, 5, 7))):
        items = torch.tensor(known).repeat_interleave(3000)
        batch = None if described is None else BatchItems(described, torch.zeros(4, 2))
        drawn = model.others(items, batch).view(len(known), 3000)
        for item, others in zip(known, drawn, strict=True):
            share = {other: float((others == other).double().mean()) for other in known}
            assert sum(share.values()) == pytest.approx(1)
            assert share.pop(item) == 0
            assert list(share.values()) == pytest.approx([1 / len(share)] * len(share), abs=0.04)


@torch.no_grad()
def test_only_training_has_the_auxiliary_loss_and_a_seed_repeats_it() -> None:
    model = made().train()

    def term(seed: int) -> float:
        torch.manual_seed(seed)
        model(ROWS)
        return float(model.penalty())

    assert term(1) == term(1) != term(2)
    assert model.penalty() == 0  # it is told once
    model.eval()(ROWS)
    assert model.penalty() == 0
    nothing = Histories(torch.full((B, 1), PAD), torch.zeros(B))
    assert model.train()(ROWS._replace(history=nothing)).isfinite().all()
    assert model.penalty() == 0
    without = made(auxiliary=0).train()
    assert without.discriminator is None
    without(ROWS)
    assert without.penalty() == 0


@torch.no_grad()
def test_the_term_of_a_model_joins_the_loss_of_a_step_whatever_wraps_it() -> None:
    model = made()
    metrics = {stage: {"click": ClickMetrics(LABEL)} for stage in ("val", "test")}
    training = Training(torch.optim.SGD, lambda optimizer, steps, per_epoch: None)
    for each in (model, Calibrated(model, 1)):
        task = Task(ClickSteps(each, metrics), each, None, LogLoss(), Method(), training)
        torch.manual_seed(1)
        loss = task.training_loss(ClickBatch(torch.arange(B), ROWS, LABEL))
        torch.manual_seed(1)
        bare = log_loss(model(ROWS))
        term = model.penalty()
        assert float(loss) == pytest.approx(float(bare) + float(term), rel=1e-5)
        assert float(term) > 0.1


def test_where_vectors_describe_items_those_of_the_batch_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, drawn = DIEN(SCHEMA._replace(described=2, by_id=False), D).train(), list[Tensor]()

    def others(*args: Any) -> Tensor:
        drawn.append(DIEN.others(model, *args))
        return drawn[-1]

    monkeypatch.setattr(model, "others", others)
    past = ROWS.history.items[:1].expand(40, -1)
    items = BatchItems(torch.tensor([0, 1, 3, 7]), torch.randn(4, 2, requires_grad=True))
    rows = Rows(ROWS.ids[:1].expand(40, -1), torch.zeros(40, 0), Histories(past, torch.zeros(40)))
    model(rows._replace(item=torch.zeros(40, dtype=torch.int64), items=items))
    assert set(drawn[0].tolist()) == {0, 1, 3, 7}
    term = model.penalty()
    assert isinstance(term, Tensor)
    assert torch.autograd.grad(term, items.vectors)[0].any(dim=1).all()
