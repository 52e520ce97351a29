"""Blocks of sequences change no result, and skip padding."""

import pytest
import torch

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.blocks import encode
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem

SCHEMA = Schema(num_items=40, max_len=12, num_users=20)


def batch(rows: int = 20) -> Histories:
    """Random histories of 1 to 12 items, the longest first."""
    torch.manual_seed(0)
    length = torch.randint(1, 13, (rows, 1)).sort(dim=0, descending=True).values
    items = torch.randint(40, (rows, 12)).masked_fill(torch.arange(12) >= length, SCHEMA.padding)
    return Histories(items, torch.arange(rows))


@pytest.mark.parametrize("tokens", [1, 12, 30, 100, 10_000])
@pytest.mark.parametrize("kind", [SASRec, BERT4Rec])
def test_a_batch_encoded_in_blocks_is_the_batch_encoded_at_once(kind: type, tokens: int) -> None:
    model = kind(SCHEMA, dim=16).eval()
    objective = NextItem() if kind is SASRec else MaskedItem()
    questions = [
        objective.training_inputs(batch(), SCHEMA)[:2],
        objective.query_inputs(batch(), SCHEMA),
    ]
    for histories, at in questions:
        torch.testing.assert_close(
            encode(model, histories, at, tokens), encode(model, histories, at, None)
        )


@pytest.mark.parametrize("kind", [SASRec, BERT4Rec])
def test_rows_in_any_order_lose_nothing(kind: type) -> None:
    model = kind(SCHEMA, dim=16).eval()
    objective = NextItem() if kind is SASRec else MaskedItem()
    items, user = (part.flip(0) for part in batch()[:2])
    histories, at = objective.training_inputs(Histories(items, user), SCHEMA)[:2]
    torch.testing.assert_close(
        encode(model, histories, at, 100), encode(model, histories, at, None)
    )


def test_blocks_keep_to_their_budget_and_skip_padding() -> None:
    schema = Schema(num_items=40, max_len=200, num_users=500)
    model = SASRec(schema, dim=16).eval()
    shapes = []
    model.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].items.shape)))
    length = torch.randint(1, 201, (500, 1)).sort(dim=0, descending=True).values
    items = torch.zeros(500, 200, dtype=torch.int64)
    items = items.masked_fill(torch.arange(200) >= length, schema.padding)
    histories = Histories(items, torch.arange(500))
    encode(model, *NextItem().query_inputs(histories, schema), tokens=1024)
    assert sum(rows for rows, _ in shapes) == 500
    assert all(rows * longest <= 1024 for rows, longest in shapes)
    assert all(rows % 4 == longest % 8 == 0 for rows, longest in shapes)  # few shapes occur
    assert sum(rows * longest for rows, longest in shapes) < 1.1 * int(length.sum())
