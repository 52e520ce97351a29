"""LazyAdamW against AdamW and SparseAdam; which optimizers fit a training."""

import pytest
import torch
from torch import nn

from lightning_rec.tasks.optimizers import LazyAdamW, check_optimizer


def run(optimizer: torch.optim.Optimizer, table: nn.Embedding, batches: list[torch.Tensor]) -> None:
    for rows in batches:
        optimizer.zero_grad()
        (table(rows) ** 2).sum().backward()
        optimizer.step()


def tables(*, sparse: bool) -> tuple[nn.Embedding, nn.Embedding]:
    torch.manual_seed(0)
    first = nn.Embedding(20, 4, sparse=sparse)
    second = nn.Embedding(20, 4, sparse=sparse)
    second.load_state_dict(first.state_dict())
    return first, second


BATCHES = [torch.randint(12, (9,), generator=torch.Generator().manual_seed(n)) for n in range(6)]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_dense_gradients_are_adamws(decay: float) -> None:
    ours, theirs = tables(sparse=False)
    run(LazyAdamW(ours.parameters(), lr=0.05, weight_decay=decay), ours, BATCHES)
    run(torch.optim.AdamW(theirs.parameters(), lr=0.05, weight_decay=decay), theirs, BATCHES)
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_sparse_gradients_are_sparse_adams() -> None:
    ours, theirs = tables(sparse=True)
    run(LazyAdamW(ours.parameters(), lr=0.05), ours, BATCHES)
    run(torch.optim.SparseAdam(theirs.parameters(), lr=0.05), theirs, BATCHES)
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_rows_without_gradient_stay_as_they_are_whatever_the_decay() -> None:
    ours, before = tables(sparse=True)
    run(LazyAdamW(ours.parameters(), lr=0.05, weight_decay=0.1), ours, BATCHES)
    touched = torch.cat(BATCHES).unique()
    left = torch.ones(20, dtype=torch.bool)
    left[touched] = False
    assert torch.equal(ours.weight[left], before.weight[left])
    assert (ours.weight[touched] != before.weight[touched]).all()


def test_its_state_goes_on_where_it_stopped() -> None:
    ours, again = tables(sparse=True)
    whole = LazyAdamW(ours.parameters(), lr=0.05)
    run(whole, ours, BATCHES)
    first = LazyAdamW(again.parameters(), lr=0.05)
    run(first, again, BATCHES[:3])
    second = LazyAdamW(again.parameters(), lr=0.05)
    second.load_state_dict(first.state_dict())
    run(second, again, BATCHES[3:])
    assert torch.equal(ours.weight, again.weight)


@pytest.mark.parametrize(
    ("kind", "sparse", "dense", "why"),
    [
        ("LBFGS", False, True, "LBFGS computes the loss of a batch many times for one step"),
        ("SparseAdam", True, True, "SparseAdam does not support dense gradients"),
        ("SparseAdam", True, False, None),
        ("Adam", True, True, "Adam does not support sparse gradients"),
        ("Adagrad", True, True, None),
        ("SGD", True, True, None),
        ("Adam", False, True, None),
    ],
)
def test_a_trial_step_tells_what_an_optimizer_cannot_do(
    kind: str, sparse: bool, dense: bool, why: str | None
) -> None:
    make = getattr(torch.optim, kind)
    if why is None:
        with torch.device("meta"):
            assert type(check_optimizer(make, sparse=sparse, dense=dense)) is make
        return
    with pytest.raises(ValueError, match=why):
        check_optimizer(make, sparse=sparse, dense=dense)
