"""NextItNet against ``conv1d`` with holes, and what a place can see."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.nextitnet import Convolution, NextItNet

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def convolved(layer: Convolution, x: Tensor) -> Tensor:
    """The same by torch: float [L, D] -> [L, D]."""
    dim = x.shape[1]
    weight = layer.weigh.weight.view(dim, layer.kernel, dim).transpose(1, 2)  # [out, in, kernel]
    padded = F.pad(x.T[None], ((layer.kernel - 1) * layer.dilation, 0))
    return F.conv1d(padded, weight, layer.weigh.bias, dilation=layer.dilation)[0].T


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (3, 2), (3, 8), (5, 3)])
def test_the_convolution_is_torchs(kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer, x = Convolution(4, kernel, dilation), torch.randn(2, 12, 4)
    expected = torch.stack([convolved(layer, row) for row in x])
    torch.testing.assert_close(layer(x), expected)


def test_states_by_hand() -> None:
    torch.manual_seed(0)
    model = NextItNet(SCHEMA, dim=16, dilations=(1, 2)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    assert [(block.near.dilation, block.far.dilation) for block in model.blocks] == [(1, 2), (2, 4)]
    expected = []
    for items in ([3, 1, 4, 1, 5], [9, 2, 6]):
        hidden = model.item.weight[items]
        for block in model.blocks:  # figure 3b
            inner = F.relu(block.near_norm(convolved(block.near, hidden)))
            hidden = hidden + F.relu(block.far_norm(convolved(block.far, inner)))
        expected.append(hidden)
    torch.testing.assert_close(model(HISTORIES, REAL), torch.cat(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("dilations", "seen"), [((1,), range(7)), ((1, 4), range(31)), ((2,), range(0, 13, 2))]
)
def test_a_place_sees_as_far_as_stated(dilations: tuple[int, ...], seen: range) -> None:
    torch.manual_seed(0)
    model = NextItNet(Schema(30, 40, 1), dim=16, dilations=dilations).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    at, user = torch.tensor([39]), torch.zeros(1, dtype=torch.int64)
    items = torch.randint(30, (1, 40))
    changed = []
    for place in range(40):
        other = items.clone()
        other[0, place] = (other[0, place] + 1) % 30
        here = model(Histories(items, user), at) - model(Histories(other, user), at)
        changed.append(bool(here.abs().max() > 1e-7))
    assert [back for back in range(40) if changed[39 - back]] == list(seen)


@pytest.mark.parametrize("tied", [True, False])
def test_scores_are_of_the_stated_table_and_have_a_bias(tied: bool) -> None:
    model = NextItNet(SCHEMA, dim=16, tied=tied)
    nn.init.normal_(model.output_bias)
    table = model.item.weight[:30] if model.output is None else model.output.weight
    assert (model.output is None) == tied
    queries = torch.randn(4, 16)
    torch.testing.assert_close(model.scores(queries), queries @ table.T + model.output_bias)


def test_dropout_works_in_training_alone() -> None:
    model = NextItNet(SCHEMA, dim=16, dropout=0.5)
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.eval()
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
