"""ItemKNN against cosines of sets."""

import pytest
import torch

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic.itemknn import ItemKNN
from lightning_rec.models.classic.parts import gram_rows, training_matrix

HISTORY = [3, 17, 4, 4]  # one item twice, which counts once


def users_of(split: Split) -> list[set[int]]:
    """The users of each item in training."""
    users: list[set[int]] = [set() for _ in range(split.num_items)]
    for user, (start, end) in enumerate(zip(split.offsets[:-1], split.train_end, strict=True)):
        for item in split.items[start:end]:
            users[item].add(user)
    return users


def cosines(split: Split, shrink: float) -> list[list[float]]:
    users = users_of(split)
    return [
        [
            len(a & b) / ((len(a) * len(b)) ** 0.5 + shrink) if i != j else 0.0
            for j, b in enumerate(users)
        ]
        for i, a in enumerate(users)
    ]


def fitted(split: Split, neighbours: int, shrink: float) -> ItemKNN:
    model = ItemKNN(Schema(split.num_items, 10, split.num_users), neighbours, shrink)
    model.fit(split)
    return model


@pytest.mark.parametrize("shrink", [0.0, 7.0])
def test_the_score_is_the_sum_of_likenesses_to_the_history(
    leave_one_out: Split, shrink: float
) -> None:
    like = cosines(leave_one_out, shrink)
    model = fitted(leave_one_out, 1000, shrink)
    history = Histories(torch.tensor([HISTORY]), torch.tensor([0]))
    found = model.scores(model(history, torch.tensor([3])))[0]
    wanted = [sum(like[item][h] for h in set(HISTORY)) for item in range(leave_one_out.num_items)]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_each_scored_item_keeps_its_nearest(leave_one_out: Split) -> None:
    like = cosines(leave_one_out, 2.0)
    near = fitted(leave_one_out, 5, 2.0).near.scipy().toarray()
    for item, row in enumerate(near):
        kept = sorted((value for value in row if value), reverse=True)
        assert kept == pytest.approx(sorted(like[item], reverse=True)[: len(kept)])
        assert len(kept) == min(5, sum(value > 0 for value in like[item]))
        assert all(like[item][j] == pytest.approx(row[j]) for j in row.nonzero()[0])


def test_blocks_are_pieces_of_the_whole(leave_one_out: Split) -> None:
    matrix = training_matrix(leave_one_out)
    whole = (matrix.T @ matrix).toarray()
    blocks = list(gram_rows(matrix, block_bytes=7 * 4 * leave_one_out.num_items))
    assert [len(values) for _, values in blocks] == [7] * (len(whole) // 7) + [len(whole) % 7]
    for rows, values in blocks:
        assert (values == whole[rows]).all()
    users = users_of(leave_one_out)
    assert whole[3, 17] == len(users[3] & users[17])
