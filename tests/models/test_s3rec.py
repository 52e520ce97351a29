"""S3-Rec against the authors' code with equal weights, masks, negatives and segments.

The oracle is ``S3RecModel`` of RUCAIBox/CIKM2020-S3Rec@2a81540 said again: padded on the left, item
0 is padding, one attribute matrix for each position, probabilities and BCELoss as they have it.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.sampled import BCE, SigmoidBPR
from lightning_rec.models.blocks import encode
from lightning_rec.models.layers import PostNormLayer
from lightning_rec.models.sequential.s3rec import S3Rec, S3RecPretraining
from lightning_rec.objectives.base import TrainingInputs
from lightning_rec.objectives.masked_item import hide
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.objectives.s3rec import MutualInformation

DIM, HEADS, LEN = 12, 2, 6
SCHEMA = Schema(num_items=7, max_len=LEN, num_users=3)
PAD, MASK = SCHEMA.padding, SCHEMA.mask
ITEMS = torch.tensor([[3, 1, 4, 0, 5, 6], [2, 5, 6, 1, PAD, PAD], [0, 4, PAD, PAD, PAD, PAD]])
REAL = ITEMS.ne(PAD)
HISTORIES = Histories(ITEMS, torch.arange(3))
HIDDEN = torch.tensor([[0, 1, 0, 0, 0, 1], [1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]).bool()
CATALOGUE = pl.DataFrame({"genres": [["x", "y"], ["y"], ["x", "z"], [], None, ["y", "w"], ["w"]]})
NAMES = ["w", "x", "y", "z"]


def drawn(model: Any) -> Any:
    torch.manual_seed(0)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    with torch.no_grad():
        model.item.weight[PAD] = 0
    return model


def pretraining(**settings: Any) -> S3RecPretraining:
    model = S3RecPretraining(SCHEMA, DIM, 2, HEADS, 4, 0.0, 0.0, **settings)
    model.read_catalogue(CATALOGUE)
    model = drawn(model)
    assert isinstance(model, S3RecPretraining)
    return model


def left(items: Tensor) -> Tensor:
    """Codes of the authors: padding 0 on the left, items from 1, the mask last."""
    moved = torch.zeros(len(items), LEN, dtype=torch.int64)
    for row, codes in zip(moved, items.tolist(), strict=True):
        own = [code for code in codes if code != PAD]
        row[LEN - len(own) :] = torch.tensor(
            [SCHEMA.num_items + 1 if c == MASK else c + 1 for c in own]
        )
    return moved


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """LayerNorm, written out: epsilon inside the square root."""
    u = x.mean(-1, keepdim=True)
    s = (x - u).pow(2).mean(-1, keepdim=True)
    return layer.weight * ((x - u) / torch.sqrt(s + 1e-12)) + layer.bias


def heads(x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], HEADS, -1).permute(0, 2, 1, 3)


def layer_of(layer: PostNormLayer, x: Tensor, attention_mask: Tensor) -> Tensor:
    scores = heads(layer.query(x)) @ heads(layer.key(x)).transpose(-1, -2) / (DIM / HEADS) ** 0.5
    probs = (scores + attention_mask).softmax(dim=-1)
    context = (probs @ heads(layer.value(x))).permute(0, 2, 1, 3).flatten(2)
    hidden = norm(layer.attention_norm, layer.output(context) + x)
    inner = layer.expand(hidden)
    inner = inner * 0.5 * (1.0 + torch.erf(inner / 2**0.5))
    return norm(layer.norm, layer.contract(inner) + hidden)


def item_table(model: S3Rec) -> Tensor:
    table = model.item.weight
    return torch.cat([table[[PAD]], table[:PAD], table[[MASK]]])


def official(model: S3Rec, ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Sequence output [B, L, H]; place L - 1 is that of the latest item."""
    x = item_table(model)[ids] + model.position.weight.flip(0)
    x = norm(model.norm, x)
    for layer in model.layers:
        assert isinstance(layer, PostNormLayer)
        x = layer_of(layer, x, attention_mask)
    return x


def pretrained(model: S3Rec, ids: Tensor) -> Tensor:
    return official(model, ids, (ids == 0).float()[:, None, None] * -1e8)


def finetuned(model: S3Rec, ids: Tensor) -> Tensor:
    mask = (ids > 0).float()[:, None, None] * torch.ones(LEN, LEN).tril()
    return official(model, ids, (1.0 - mask) * -10000.0)


def attributes_of(ids: Tensor) -> Tensor:
    found = torch.zeros(*ids.shape, len(NAMES))
    known = CATALOGUE["genres"].to_list()
    for place in (ids > 0).nonzero().tolist():
        for name in known[int(ids[tuple(place)]) - 1] or []:
            found[(*place, NAMES.index(name))] = 1
    return found


def losses(
    model: S3RecPretraining, masked: Tensor, pos: Tensor, neg: Tensor, segments: list[Tensor]
) -> tuple[Tensor, ...]:
    """AAP, MIP, MAP, SP of the authors' ``pretrain``: sums over the batch."""
    criterion = nn.BCELoss(reduction="none")
    out, table, mask_id = pretrained(model, masked), item_table(model), SCHEMA.num_items + 1
    labels, hidden = attributes_of(pos), (masked == mask_id).float()

    def of_attributes(head: nn.Linear, where: Tensor) -> Tensor:
        score = torch.sigmoid(head(out) @ model.attribute.weight.T)
        return (criterion(score, labels) * where[..., None]).sum()

    def right(better: Tensor, worse: Tensor) -> Tensor:
        distance = torch.sigmoid(better.sum(-1).sigmoid() - worse.sum(-1).sigmoid())
        return criterion(distance, torch.ones_like(distance))

    read = model.mip(out)
    mip = (right(read * table[pos], read * table[neg]) * hidden).sum()
    context, own, other = (pretrained(model, each)[:, -1, :] for each in segments)
    context = model.sp(context)
    sp = right(context * own, context * other).sum()
    shown = (masked != mask_id).float() * (masked != 0).float()
    return of_attributes(model.aap, shown), mip, of_attributes(model.map, hidden), sp


class Given:
    """Draws negatives that are known."""

    shared = "none"

    def __init__(self, items: Tensor) -> None:
        self.items = items

    def draw(self, predictions: Predictions) -> tuple[Tensor, Tensor]:
        return self.items[:, None], torch.ones_like(self.items, dtype=torch.bool)[:, None]


def given(loss: type[Any], items: Tensor) -> Any:
    made = loss.__new__(loss)
    nn.Module.__init__(made)
    made.sampler = Given(items)
    return made


def gradients(loss: Tensor, model: nn.Module) -> Iterator[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for weight, each in zip(model.parameters(), found, strict=True):
        yield torch.zeros_like(weight) if each is None else each


def same(mine: Tensor, theirs: Tensor, model: S3Rec) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    pairs = zip(gradients(mine, model), gradients(theirs, model), strict=True)
    used = 0
    for (name, weight), (one, other) in zip(model.named_parameters(), pairs, strict=True):
        if weight is model.item.weight:  # torch gives padding none, and no loss looks at it
            one, other = one.index_fill(0, torch.tensor(PAD), 0), other.index_fill(0, torch.tensor(PAD), 0)  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
        used += bool(one.abs().max() > 0)
    assert used == len(list(model.parameters()))


NEGATIVES = torch.tensor([[2, 2, 2, 2, 1, 4], [0, 3, 3, 4, 0, 0], [1, 3, 0, 0, 0, 0]])
SEGMENT = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]]).bool()
OTHER = torch.tensor([[0, 5, 6, 0, 0, 0], [0, 0, 0, 3, 0, 0], [2, 0, 0, 0, 0, 0]])


def segments() -> tuple[Tensor, Tensor, Tensor]:
    nothing = ITEMS.masked_fill(REAL, MASK)
    return (
        ITEMS.masked_fill(SEGMENT, MASK),
        torch.where(SEGMENT, ITEMS, nothing),
        torch.where(SEGMENT, OTHER, nothing),
    )


@pytest.mark.parametrize("tokens", [None, 8])
@pytest.mark.parametrize("part", ["aap", "mip", "map", "sp", "all"])
def test_the_four_losses_and_gradients_are_those_of_the_authors(
    part: str, tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pretraining().train()
    weights = {"aap": 0.2, "map": 1.0, "sp": 0.5}
    mine = {name: each if part in (name, "all") else 0.0 for name, each in weights.items()}
    objective = MutualInformation(0.2, **mine)
    monkeypatch.setattr(objective, "segments", lambda items, schema: segments())
    inputs = TrainingInputs(
        hide(HISTORIES, HIDDEN, SCHEMA), REAL, ITEMS[REAL], HIDDEN[REAL].float()
    )
    model.begin_step(HISTORIES)
    read = partial(encode, model, tokens=tokens)
    queries = read(inputs.histories, inputs.positions)
    row = REAL.nonzero()[:, 0]
    predictions = Predictions(queries, inputs.targets, row, HISTORIES.user)
    mip = given(SigmoidBPR, NEGATIVES[REAL])(model, predictions, inputs.weights)
    total = objective.term(model, read, inputs, queries)
    total = total + mip if part in ("mip", "all") else total

    negative = left(NEGATIVES.masked_fill(~REAL, PAD))
    of_segments = [left(each) for each in segments()]
    found = losses(model, left(ITEMS.masked_fill(HIDDEN, MASK)), left(ITEMS), negative, of_segments)
    scale = {"aap": 0.2, "mip": 1.0, "map": 1.0, "sp": 0.5}
    wanted = sum(
        weight * loss
        for (name, weight), loss in zip(scale.items(), found, strict=True)
        if part in (name, "all")
    )
    if part == "all":
        return same(total * HIDDEN.sum(), torch.as_tensor(wanted), model)
    torch.testing.assert_close(total * HIDDEN.sum(), torch.as_tensor(wanted), rtol=1e-5, atol=1e-5)


def test_fine_tuning_is_that_of_the_authors() -> None:
    model = drawn(S3Rec(SCHEMA, DIM, 2, HEADS, 4, 0.0, 0.0)).train()
    shown, at, targets, _ = NextItem().training_inputs(HISTORIES, SCHEMA)
    model.begin_step(HISTORIES)
    queries = model(shown, at)
    negative = NEGATIVES[:, 1:][at]
    row = at.nonzero()[:, 0]
    mine = given(BCE, negative)(model, Predictions(queries, targets, row, HISTORIES.user))

    ids = left(shown.items)
    pos = left(ITEMS[:, 1:].masked_fill(~at, PAD))
    neg = left(NEGATIVES[:, 1:].masked_fill(~at, PAD))
    out, table = finetuned(model, ids), item_table(model)
    torch.testing.assert_close(queries, out[ids > 0], rtol=1e-5, atol=1e-5)
    pos_logits, neg_logits = ((table[each] * out).sum(-1).flatten() for each in (pos, neg))
    istarget = (pos > 0).flatten().float()
    theirs = torch.sum(
        -torch.log(torch.sigmoid(pos_logits) + 1e-24) * istarget
        - torch.log(1 - torch.sigmoid(neg_logits) + 1e-24) * istarget
    ) / torch.sum(istarget)
    with torch.no_grad():
        assert torch.allclose(model.scores(queries), queries @ table[1 : 1 + PAD].T, atol=1e-5)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    for (name, weight), one, other in zip(
        model.named_parameters(), gradients(mine, model), gradients(theirs, model), strict=True
    ):
        rows = slice(0, PAD) if weight is model.item.weight else slice(None)
        torch.testing.assert_close(one[rows], other[rows], rtol=1e-4, atol=1e-5, msg=name)
    model.eval()
    latest = model(HISTORIES, REAL.sum(dim=1) - 1)
    torch.testing.assert_close(latest, finetuned(model, left(ITEMS))[:, -1], rtol=1e-5, atol=1e-5)


def test_masked_items_are_scored_by_their_map() -> None:
    model = pretraining().eval()
    asked = MutualInformation().query_inputs(HISTORIES, SCHEMA)
    queries = model(*asked)
    out = pretrained(model, left(asked.histories.items))[:, -1]
    assert (asked.histories.items == MASK).sum() == 3
    torch.testing.assert_close(queries, out, rtol=1e-5, atol=1e-5)
    expected = model.mip(out) @ model.item.table().T
    torch.testing.assert_close(model.scores(queries), expected, rtol=1e-5, atol=1e-5)


def batch(rows: int = 3000, shortest: int = 2) -> Histories:
    torch.manual_seed(0)
    items = torch.randint(7, (rows, LEN))
    length = torch.randint(shortest, LEN + 1, (rows, 1))
    return Histories(items.masked_fill(torch.arange(LEN) >= length, PAD), torch.arange(rows))


def test_the_last_item_is_always_masked_and_each_other_by_chance() -> None:
    histories = batch()
    shown, at, targets, weights = MutualInformation(0.3).training_inputs(histories, SCHEMA)
    items, real = histories.items, histories.items != PAD
    hidden = shown.items == MASK
    assert torch.equal(at, real)
    assert torch.equal(targets, items[real])
    assert weights is not None
    assert torch.equal(weights.bool(), hidden[real])
    assert torch.equal(shown.items[~hidden], items[~hidden])
    last = torch.arange(LEN) == real.sum(dim=1, keepdim=True) - 1
    assert hidden[last].all()
    assert hidden[real & ~last].double().mean().item() == pytest.approx(0.3, abs=0.02)
    learnt = histories._replace(learnt=torch.rand(items.shape) < 0.5)
    _, _, _, weights = MutualInformation(0.3).training_inputs(learnt, SCHEMA)
    assert weights is not None
    assert learnt.learnt is not None
    assert not weights[~learnt.learnt[real]].any()
    assert 0 < weights[learnt.learnt[real]].mean() < 1


def test_segments_are_stretches_of_up_to_half_and_others_of_the_batch() -> None:
    items = batch().items
    real, length = items != PAD, (items != PAD).sum(dim=1)
    context, own, other = MutualInformation().segments(items, SCHEMA)
    inside = (own != MASK) & real
    assert torch.equal(context, items.masked_fill(inside, MASK))
    assert torch.equal(own[inside], items[inside])
    assert torch.equal(other != MASK, (own != MASK))
    assert all((each == PAD).equal(~real) for each in (context, own, other))
    size = inside.sum(dim=1)
    edges = inside.int().diff(dim=1, prepend=torch.zeros(len(items), 1)).eq(1).sum(dim=1)
    assert (edges == 1).all()  # one stretch each
    for whole in range(2, LEN + 1):
        of = size[length == whole]
        for each in range(1, whole // 2 + 1):  # as likely each
            assert (of == each).double().mean().item() == pytest.approx(
                2 / (whole // 2 * 2), abs=0.07
            )
    begins = inside.int().argmax(dim=1)[(length == LEN) & (size == 1)]
    assert torch.bincount(begins, minlength=LEN).min() > 0.1 * len(begins)
    flat = "".join(map(str, items[real].tolist()))
    for row, there in zip(other[:200], inside[:200], strict=True):
        assert "".join(map(str, row[there].tolist())) in flat
    assert not torch.equal(other, own)


def test_attributes_come_from_a_column_or_are_left_out() -> None:
    model = S3RecPretraining(SCHEMA, DIM, column="kind")
    model.read_catalogue(pl.DataFrame({"kind": ["a|b", "b", "", None, "c", "a", "a"]}))
    assert model.attribute.weight.shape == (3, DIM)
    assert model.labels.tolist() == [0, 1, 1, 2, 0, 0]
    assert model.offsets.tolist() == [0, 2, 3, 3, 3, 4, 5, 6]
    with pytest.raises(UserError, match=r"model\.column"):
        model.read_catalogue(CATALOGUE)
    bare = S3RecPretraining(SCHEMA, DIM)
    with pytest.warns(UserWarning, match="no column of attributes"):
        bare.read_catalogue(pl.DataFrame({"title": list("abcdefg")}))
    none = bare.attribute_loss(torch.randn(3, DIM), torch.arange(3), torch.ones(3).bool())
    assert none.tolist() == [0, 0, 0]
