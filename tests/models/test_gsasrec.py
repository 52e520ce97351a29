"""gSASRec against the authors' code, written out: one sequence, padded on the left to its longest."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.gsasrec import GSASRec

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)


def official(model: GSASRec, items: list[int]) -> Tensor:
    """States of the items, float [n, D], as ``GSASRec.forward`` of asash/gSASRec-pytorch has them."""
    row = torch.tensor([SCHEMA.padding] * (SCHEMA.max_len - len(items)) + items)
    mask = row.ne(SCHEMA.padding).float()[:, None]
    seq = (model.item(row) + model.position(torch.arange(SCHEMA.max_len))) * mask
    for block in model.blocks:
        queries = F.layer_norm(seq, seq.shape[1:], block.attention_norm.weight, block.attention_norm.bias)  # fmt: skip
        heads = []
        for q, k, v in zip(
            block.query(queries).chunk(block.heads, dim=1), block.key(seq).chunk(block.heads, dim=1),
            block.value(seq).chunk(block.heads, dim=1), strict=True,
        ):  # fmt: skip
            scores = q @ k.T / k.shape[1] ** 0.5
            scores = scores.masked_fill(seq.abs().sum(dim=1)[None] == 0, -torch.inf)
            scores = scores.masked_fill(torch.tril(torch.ones_like(scores)) == 0, -torch.inf)
            heads.append(scores.softmax(dim=1).nan_to_num(0.0) @ v)
        x = torch.cat(heads, dim=1) + queries
        x = F.layer_norm(x, x.shape[1:], block.norm.weight, block.norm.bias)
        seq = (block.contract(F.relu(block.expand(x))) + x) * mask
    return model.norm(seq)[-len(items) :]


@pytest.mark.parametrize("heads", [1, 2])
def test_states_are_those_of_the_official_code(heads: int) -> None:
    torch.manual_seed(0)
    model = GSASRec(SCHEMA, dim=16, depth=2, heads=heads).eval()
    rows = [[3, 1, 4, 1, 5], [9, 2, 6]]
    items = torch.tensor([rows[0], [*rows[1], 30, 30]])
    states = model(Histories(items, torch.arange(2)), items.ne(SCHEMA.padding))
    expected = torch.cat([official(model, row) for row in rows])
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_the_output_has_a_table_of_its_own_and_tables_start_at_one() -> None:
    model = GSASRec(Schema(2000, 50, 1), dim=64)
    queries = torch.randn(4, 64)
    torch.testing.assert_close(model.scores(queries), queries @ model.output.weight[:2000].T)
    for table in (model.item, model.output):
        assert table.weight.std().item() == pytest.approx(1, rel=0.05)


def test_heads_must_divide_dim() -> None:
    with pytest.raises(ValueError, match="heads=3 must divide dim=64"):
        GSASRec(SCHEMA, dim=64, heads=3)
