"""iALS against the authors' loop over users and items, and against its own loss."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic import ials
from lightning_rec.models.classic.ials import IALS

L2, UNOBSERVED, EPOCHS, DIM = 0.02, 0.15, 3, 5


def sets_of(split: Split) -> list[list[int]]:
    ranges = zip(split.offsets[:-1], split.train_end, strict=True)
    return [sorted(set(split.items[start:end].tolist())) for start, end in ranges]


def project(history: list[int], other: np.ndarray, number: int, exponent: float) -> np.ndarray:
    """One user or item, as the authors have it: an outer product for each pair that was seen."""
    left, right = np.zeros((DIM, DIM)), np.zeros(DIM)
    for one in history:
        left += np.outer(other[one], other[one])
        right += other[one]
    left += UNOBSERVED * other.T @ other
    left += np.eye(DIM) * L2 * (len(history) + UNOBSERVED * number) ** exponent
    return np.linalg.solve(left, right)


def trained(split: Split, start: Tensor, exponent: float) -> np.ndarray:
    """Vectors of items after some epochs."""
    by_user = sets_of(split)
    by_item = [
        [user for user, items in enumerate(by_user) if item in items]
        for item in range(split.num_items)
    ]
    known = [item for item, users in enumerate(by_item) if users]
    items = start.double().numpy().copy()
    items[[item for item, users in enumerate(by_item) if not users]] = 0
    for _ in range(EPOCHS):
        users = np.array([project(each, items, len(known), exponent) for each in by_user])
        for item in known:
            items[item] = project(by_item[item], users, split.num_users, exponent)
    return items


def made(split: Split, exponent: float = 1.0) -> IALS:
    torch.manual_seed(0)
    schema = Schema(split.num_items, 10, split.num_users)
    return IALS(schema, DIM, l2=L2, unobserved=UNOBSERVED, exponent=exponent, epochs=EPOCHS)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_vectors_are_those_of_the_authors_code(leave_one_out: Split, exponent: float) -> None:
    model = made(leave_one_out, exponent)
    wanted = trained(leave_one_out, model.item, exponent)
    model.fit(leave_one_out)
    np.testing.assert_allclose(model.item.numpy(), wanted, atol=1e-5, rtol=1e-4)


def test_a_history_has_the_vector_that_a_user_with_it_has(
    leave_one_out: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(leave_one_out)
    model.fit(leave_one_out)
    padding = leave_one_out.num_items
    histories = Histories(torch.tensor([[5, 9, 5, padding], [7, 1, 2, 3]]), torch.tensor([0, -1]))
    items = model.item.double().numpy()
    known = int((items != 0).any(axis=1).sum())
    wanted = [project(each, items, known, 1.0) for each in ([5, 9], [1, 2, 3, 7])]
    found = model(histories, torch.tensor([2, 3]))
    np.testing.assert_allclose(found.numpy(), np.array(wanted), atol=1e-5, rtol=1e-3)
    monkeypatch.setattr(ials, "BLOCK", 1)  # one at a time
    torch.testing.assert_close(model(histories, torch.tensor([2, 3])), found)


def test_blocks_change_nothing(leave_one_out: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = made(leave_one_out), made(leave_one_out)
    whole.fit(leave_one_out)
    monkeypatch.setattr(ials, "BLOCK", 500)
    parts.fit(leave_one_out)
    torch.testing.assert_close(parts.item, whole.item)
