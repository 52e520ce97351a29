"""What the classic models share, against loops."""

import torch

from lightning_rec.data.split import Histories, Split
from lightning_rec.models.classic.parts import Penalty, Sparse, bag, past, training_matrix, users_at

ITEMS = 6  # 6 is padding, 7 the mask
HISTORIES = Histories(
    torch.tensor([[1, 5, 1, 2], [3, 7, 6, 6], [0, 4, 6, 6]]), torch.tensor([8, 9, 5])
)


def sets(places: list[tuple[int, int]]) -> list[list[int]]:
    rows = HISTORIES.items.tolist()
    return [sorted({i for i in rows[row][: place + 1] if i < ITEMS}) for row, place in places]


def test_a_query_reads_up_to_its_place_and_neither_padding_nor_mask() -> None:
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    all_places = [(row, place) for row in range(3) for place in range(4)]
    at = torch.tensor([2, 0, 3])
    for asked, places in ((everywhere, all_places), (at, list(enumerate(at.tolist())))):
        found = bag(HISTORIES, asked, ITEMS)
        assert [row.nonzero()[:, 0].tolist() for row in found] == sets(places)
        assert set(found.unique().tolist()) <= {0.0, 1.0}
        users = [HISTORIES.user[row].item() for row, _ in places]
        assert users_at(HISTORIES, asked).tolist() == users
        age = past(HISTORIES, asked, ITEMS).age
        assert age[torch.arange(len(places)), [place for _, place in places]].eq(0).all()


def test_the_training_matrix_holds_each_training_pair_once(leave_one_out: Split) -> None:
    split = leave_one_out
    bounds = enumerate(zip(split.offsets[:-1], split.train_end, strict=True))
    wanted = {(u, int(i)) for u, (start, end) in bounds for i in split.items[start:end]}
    matrix = training_matrix(split).tocoo()
    pairs = list(zip(matrix.row.tolist(), matrix.col.tolist(), strict=True))
    assert len(pairs) == len(wanted) == matrix.nnz
    assert set(pairs) == wanted
    assert (matrix.data == 1).all()


def test_a_sparse_matrix_takes_in_one_with_other_values(leave_one_out: Split) -> None:
    matrix = training_matrix(leave_one_out)
    first, second = Sparse(*matrix.shape), Sparse(matrix.shape[0])
    first.keep(matrix)
    second.load_state_dict(first.state_dict())
    assert second.shape == matrix.shape
    assert (second.scipy() != matrix).nnz == 0
    dense = torch.from_numpy(matrix.toarray())
    torch.testing.assert_close(second.torch().to_dense(), dense)


def test_a_penalty_is_of_the_latest_step_alone() -> None:
    """The mean of each reading; a step that nobody asked about leaves nothing behind."""
    penalty = Penalty(0.5)
    penalty.begin(torch.full((2, 3), 9.0))
    penalty.begin(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    penalty.add(torch.tensor([[2.0, 0.0]]))
    assert penalty.take() == 0.25 * ((1 + 4 + 9 + 16) / 2 + 4)
    assert penalty.take() == 0
