"""A model of sequences on the rows of clicks: its own scores, put on a logistic curve."""

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.clicks.encoded import HistoryEncoder, WithHistory, with_field
from lightning_rec.models.clicks.sequence_score import SequenceScore
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.objectives.next_item import NextItem

CLICKS = ClickSchema((Field("user", "categorical", 1, 4, 1), Field("item", "categorical", 5, 7, 1)), "item", 5)  # fmt: skip
KNOWN = Schema(9, 5, 1)  # of the encoder: items of its own, some of which the rows have
CODES = torch.tensor([4, 0, 9, 8, 2, 1, 9])  # of the rows' six items; two are unknown, padding last


def made() -> WithHistory:
    torch.manual_seed(0)
    model = SASRec(KNOWN, dim=8, dropout=0.0, attention_dropout=0.0)
    nn.init.normal_(model.item.weight)
    encoder = HistoryEncoder(model, NextItem().query_inputs, CODES)
    both = WithHistory(encoder, SequenceScore(with_field(CLICKS, 8)))
    head = both.head
    assert isinstance(head, SequenceScore)
    with torch.no_grad():
        head.unknown.fill_(-3.0)
        head.scale.fill_(2.0)
        head.bias.fill_(0.5)
    return both


def rows(histories: list[list[int]], items: list[int]) -> Rows:
    """Histories by the rows' codes; shown items by the rows' ids, 0 for an unknown one."""
    padded = torch.full((len(items), 5), 6)
    for row, history in enumerate(histories):
        padded[row, : len(history)] = torch.tensor(history)
    ids = torch.tensor([[1, 5 + item] for item in items], dtype=torch.int32)
    return Rows(ids, torch.zeros(len(items), 0), Histories(padded, torch.zeros(len(items)).long()))


def scores(model: nn.Module, history: list[int]) -> Tensor:
    """Of all items of the encoder after a history by its own codes."""
    assert isinstance(model, SASRec)
    alone = Histories(torch.tensor([history]), torch.zeros(1).long())
    return model.scores(model(alone, torch.tensor([len(history) - 1])))[0]


def test_the_logit_is_the_score_of_the_item_shown() -> None:
    model = made().eval()
    asked = rows([[0, 1, 3], [5, 2], [4]], [2, 6, 1])
    with torch.no_grad():
        found = model(asked)
        # Item 2 is of unknown code: item i of the rows has place i - 1 in CODES.
        wanted = [
            scores(model.encoder.model, [4, 0, 8])[0],
            scores(model.encoder.model, [1])[1],  # of the history's items one is unknown
            scores(model.encoder.model, [2])[4],
        ]
    torch.testing.assert_close(found, 2 * torch.stack(wanted) + 0.5, atol=1e-4, rtol=1e-4)


def test_an_unknown_item_has_a_logit_of_its_own() -> None:
    model = made().eval()
    with torch.no_grad():
        found = model(rows([[0], [1]], [0, 3]))  # unknown to the rows, unknown to the encoder
    assert found.tolist() == [-3.0, -3.0]


def test_all_of_it_is_learnt() -> None:
    model = made().train()
    model(rows([[0, 1], [3], [], [4]], [1, 2, 4, 0])).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
