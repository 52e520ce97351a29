"""Caser against two-dimensional convolutions over one image, as in the authors' code."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.caser import Caser

SCHEMA = Schema(num_items=30, max_len=8, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 30, 30, 30, 30]])
HISTORIES = Histories(ITEMS, torch.tensor([2, 0]))
REAL = ITEMS.ne(SCHEMA.padding)


def made(seed: int = 0, **settings: float) -> Caser:
    """Small, in evaluation mode, no weight near zero."""
    torch.manual_seed(seed)
    model = Caser(SCHEMA, dim=6, length=4, horizontal=3, vertical=2, **settings).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        model.item.weight[SCHEMA.padding].zero_()
    return model


def by_hand(model: Caser, items: list[int], user: int) -> Tensor:
    """The query after ``items``: equations 4 to 10, convolution by ``conv2d``."""
    dim, length = model.item.dim, model.length
    image = torch.zeros(length, dim)  # rows are items, the latest last
    for row, item in enumerate(items[-length:], start=length - len(items[-length:])):
        image[row] = model.item.weight[item]
    found = []
    for height, filters in enumerate(model.horizontal, start=1):
        weight = filters.weight.view(-1, 1, height, dim)
        answers = F.relu(F.conv2d(image[None, None], weight, filters.bias))
        found.append(answers[0, :, :, 0].max(dim=1).values)
    weight = model.vertical.weight.view(-1, 1, length, 1)
    points = F.conv2d(image[None, None], weight, model.vertical.bias)[0, :, 0]  # [vertical, D]
    sequence = F.relu(model.join(torch.cat([*found, points.T.flatten()])))
    return sequence if model.user is None else torch.cat([sequence, model.user.weight[user]])


@pytest.mark.parametrize("user_vectors", [True, False])
def test_every_place_has_an_image_of_its_own(user_vectors: bool) -> None:
    model = made(user_vectors=user_vectors)
    rows, users = ([3, 1, 4, 1, 5, 9, 2], [6, 5, 3]), (2, 0)
    expected = [
        by_hand(model, row[: place + 1], user)
        for row, user in zip(rows, users, strict=True)
        for place in range(len(row))
    ]
    torch.testing.assert_close(model(HISTORIES, REAL), torch.stack(expected), atol=1e-4, rtol=1e-5)
    latest = model(HISTORIES, torch.tensor([6, 2]))
    torch.testing.assert_close(latest, torch.stack([expected[6], expected[9]]), atol=1e-4, rtol=0)


def test_items_older_than_the_image_do_not_count() -> None:
    model, older = made(), ITEMS.clone()
    older[0, 2] = 7  # four items up to the last place begin after it
    after = model(Histories(older, HISTORIES.user), REAL)
    changed = (after - model(HISTORIES, REAL)).abs().amax(dim=1) > 1e-6
    assert changed.nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_users_differ_and_one_who_was_never_trained_on_adds_nothing() -> None:
    model = Caser(SCHEMA)
    asked = Histories(ITEMS[:1].expand(4, -1), torch.arange(4)), torch.full((4,), 6)
    fresh = model.eval()(*asked)
    torch.testing.assert_close(fresh, fresh[:1].expand(4, -1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    trained = Histories(ITEMS, torch.tensor([1, 3]))
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model.scores(model(trained, torch.tensor([5, 1]))), torch.tensor([2, 3])).backward()  # fmt: skip
        optimizer.step()
    assert model.user is not None
    assert (model.user.weight[[0, 2]] == 0).all()
    assert (model.user.weight[[1, 3]] != 0).any(dim=1).all()


def test_scores_are_of_a_second_table_with_a_bias() -> None:
    model, queries = made(), torch.randn(3, 12)
    expected = queries @ model.output.weight.T + model.output_bias
    torch.testing.assert_close(model.scores(queries), expected)
    assert model.output.weight.shape == (30, 12)
    assert made(user_vectors=False).output.weight.shape == (30, 6)


def test_dropout_works_in_training_alone() -> None:
    model = made(dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
