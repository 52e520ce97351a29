"""The contrast of DuoRec: which sequences are alike, and the loss of the authors' code."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.split import Examples, Histories, Schema, Split
from lightning_rec.models.sequential.s3rec import S3Rec
from lightning_rec.objectives.base import latest_queries
from lightning_rec.objectives.duorec import DuoRec
from lightning_rec.objectives.next_item import NextItem

ITEMS, USERS, WIDTH = 12, 30, 6
SCHEMA = Schema(ITEMS, WIDTH, USERS)


@pytest.fixture(scope="module")
def split() -> Split:
    """Sequences of 2 to 9 items, the last one of each is of the test."""
    draw = np.random.default_rng(0)
    length = draw.integers(2, 10, USERS)
    offsets = np.concatenate([[0], length.cumsum()])
    items = draw.integers(0, ITEMS - 1, offsets[-1]).astype(np.int32)
    items[0] = ITEMS - 1  # which stands nowhere but in the first place
    none = np.zeros(0, np.int64)
    nobody = Examples(none, none, none, none, none.astype(bool))
    counts = np.bincount(items, minlength=ITEMS)
    rows = np.arange(len(items))
    return Split(offsets, items, rows, offsets[1:] - 1, np.arange(ITEMS), counts, nobody, nobody, None, {})  # fmt: skip


def occurrences(split: Split) -> dict[int, set[tuple[int, tuple[int, ...]]]]:
    """Of each item who had it, and the latest items before."""
    found: dict[int, set[tuple[int, tuple[int, ...]]]] = {}
    for user in range(USERS):
        own = split.items[split.offsets[user] : split.train_end[user]].tolist()
        for place in range(1, len(own)):
            before = tuple(own[max(0, place - WIDTH) : place])
            found.setdefault(own[place], set()).add((user, before))
    return found


def test_what_is_drawn_stands_before_the_same_item_in_training(split: Split) -> None:
    objective, known = DuoRec(), occurrences(split)
    objective.fit(split)
    torch.manual_seed(0)
    asked = [(item, user) for item, who in known.items() for user, _ in who] * 200
    target, user = torch.tensor(asked).T
    met: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    for (item, one), row in zip(asked, objective.others(target, user, WIDTH, ITEMS), strict=True):
        length = int((row != ITEMS).sum())
        assert (row[length:] == ITEMS).all()
        met.setdefault((item, one), set()).add(tuple(row[:length].tolist()))
    for (item, one), found in met.items():
        everything = {before for _, before in known[item]}
        others = {before for who, before in known[item] if who != one}
        assert found <= everything
        assert found >= others  # each of them is drawn
        if len({who for who, _ in known[item]}) == len(known[item]) > 1:  # nobody has it twice
            assert found == others


def authors_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """``info_nce`` with ``sim: dot`` and its cross-entropy, of RuihongQiu/DuoRec@73eff25."""
    number = len(first)
    both = torch.cat((first, second), dim=0)
    sim = torch.mm(both, both.T) / temperature
    positive = torch.cat((torch.diag(sim, number), torch.diag(sim, -number))).reshape(-1, 1)
    mask = torch.ones((2 * number, 2 * number), dtype=torch.bool).fill_diagonal_(0)
    for row in range(number):
        mask[row, number + row] = mask[number + row, row] = 0
    logits = torch.cat((positive, sim[mask].reshape(2 * number, -1)), dim=1)
    return nn.functional.cross_entropy(logits, torch.zeros(2 * number, dtype=torch.int64))


def test_the_term_is_that_of_the_authors(split: Split) -> None:
    objective = DuoRec(temperature=0.7, weight=0.3)
    objective.fit(split)
    torch.manual_seed(1)
    model = S3Rec(SCHEMA, dim=8, heads=2).double().eval()
    users = torch.arange(8)
    windows = torch.full((8, WIDTH + 1), ITEMS)
    for user in users.tolist():
        own = split.items[split.offsets[user] : split.train_end[user]][-WIDTH - 1 :]
        windows[user, : len(own)] = torch.from_numpy(own.astype(np.int64))
    long = (windows != ITEMS).sum(dim=1) > 1
    histories = Histories(windows[long], users[long])
    inputs = objective.training_inputs(histories, SCHEMA)
    plain = NextItem().training_inputs(histories, SCHEMA)
    assert torch.equal(inputs.histories.items, plain.histories.items)
    drawn: dict[str, Any] = {}

    def others(target: Tensor, user: Tensor, width: int, padding: int) -> Tensor:
        drawn["target"] = target
        drawn["other"] = DuoRec.others(objective, target, user, width, padding)
        found: Tensor = drawn["other"]
        return found

    objective.others = others  # type: ignore[method-assign]
    torch.manual_seed(2)
    ours = objective.term(model, model, inputs, torch.zeros(0))
    torch.manual_seed(2)
    chosen = torch.multinomial(inputs.positions.float(), 1)
    prefix = histories.items[:, :-1].masked_fill(torch.arange(WIDTH) > chosen, ITEMS)
    assert torch.equal(histories.items.gather(1, chosen + 1)[:, 0], drawn["target"])
    one, other = (
        latest_queries(model, each, histories.user, ITEMS) for each in (prefix, drawn["other"])
    )
    theirs = 0.3 * authors_loss(one, other, 0.7)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    weights = [each for each in model.parameters() if each.requires_grad]
    grads = [torch.autograd.grad(loss, weights, allow_unused=True) for loss in (ours, theirs)]
    for mine, wanted in zip(*grads, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-12)
