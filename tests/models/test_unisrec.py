"""UniSRec against the authors' code with equal weights: adaptor, queries, scores, losses, gradients.

The oracle is ``MoEAdaptorLayer`` and ``UniSRec`` of RUCAIBox/UniSRec@05aa5cb (MIT) over RecBole's
SASRec, said again: padded on the right with item 0. In double precision.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.full import FullSoftmax
from lightning_rec.losses.in_batch import InBatch
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.blocks import encode
from lightning_rec.models.items.adaptors import Experts, LinearMap
from lightning_rec.models.items.base import ItemEncoder
from lightning_rec.models.items.vectors import KnownVectors, Projected
from lightning_rec.models.layers import PostNormLayer
from lightning_rec.models.sequential.unisrec import UniSRec
from lightning_rec.objectives import augmentations
from lightning_rec.objectives.base import TrainingInputs
from lightning_rec.objectives.item_drop import ItemDrop

WIDTH, DIM, HEADS, LEN, EXPERTS, TAU = 7, 12, 2, 6, 3, 0.07
SCHEMA = Schema(num_items=11, max_len=LEN, num_users=4)
PAD = SCHEMA.padding
# Next items are all different but for those of NEXT below.
ITEMS = torch.tensor([[3, 1, 4, 0], [2, 5, 6, PAD], [7, 8, PAD, PAD], [9, 10, PAD, PAD]])
TWICE = torch.tensor([[3, 1, 4, 0], [2, 5, 0, PAD], [7, 1, PAD, PAD], [9, 0, PAD, PAD]])
VIEWS = torch.tensor([[3, 4, PAD, PAD], [2, 5, PAD, PAD], [7, PAD, PAD, PAD], [9, PAD, PAD, PAD]])


@pytest.fixture(autouse=True)
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(module: nn.Module) -> None:
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)


def experts(dropout: float = 0.0) -> Experts:
    torch.manual_seed(1)
    made = Experts(WIDTH, DIM, EXPERTS, dropout)
    drawn(made)
    return made


def whole() -> UniSRec:
    torch.manual_seed(2)
    vectors = torch.randn(SCHEMA.num_items, WIDTH)

    def items(schema: Schema, dim: int) -> ItemEncoder:
        return Projected(schema, dim, lambda: KnownVectors(vectors), partial(Experts, number=3))

    model = UniSRec(SCHEMA, DIM, 2, HEADS, 4, 0.0, 0.0, TAU, items)
    model.item.read()
    drawn(model)
    with torch.no_grad():
        model.item.special.weight[0] = 0
    return model.eval()


# The authors' code.


def adapted(own: Experts, x: Tensor, *, train: bool = False) -> Tensor:
    clean = x @ own.gate
    logits = clean
    if train:
        deviation = F.softplus(x @ own.noise) + 1e-2
        logits = clean + torch.randn_like(clean) * deviation
    gates = F.softmax(logits, dim=-1)
    outputs = [F.linear(x - own.bias[k], own.weight[k]).unsqueeze(-2) for k in range(EXPERTS)]
    return (gates.unsqueeze(-1) * torch.cat(outputs, dim=-2)).sum(dim=-2)


def catalogue(model: UniSRec) -> Tensor:
    """What the adaptor makes of all items, float [V, D]."""
    source, own = model.item.source, model.item.project
    assert isinstance(own, Experts)
    return adapted(own, source.vectors)


def heads(x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], HEADS, -1).permute(0, 2, 1, 3)


def layer_of(layer: PostNormLayer, x: Tensor, mask: Tensor) -> Tensor:
    scores = heads(layer.query(x)) @ heads(layer.key(x)).transpose(-1, -2) / (DIM / HEADS) ** 0.5
    context = ((scores + mask).softmax(dim=-1) @ heads(layer.value(x))).permute(0, 2, 1, 3)
    hidden = layer.attention_norm(layer.output(context.flatten(2)) + x)
    return layer.norm(layer.contract(F.gelu(layer.expand(hidden))) + hidden)


def outputs(model: UniSRec, items: Tensor) -> Tensor:
    """The state at each place, of length 1: float [B, L, D]."""
    table = torch.cat([catalogue(model), torch.zeros(1, DIM)])
    x = table[items] + model.position(torch.arange(items.shape[1]))
    x = model.norm(x)
    seen = (items != PAD)[:, None, None] & torch.ones(items.shape[1], items.shape[1]).tril().bool()
    mask = torch.where(seen, 0.0, -10000.0)
    for layer in model.layers:
        x = layer_of(layer, x, mask)
    return F.normalize(x, dim=-1)


def contrast(output: Tensor, other: Tensor, target: Tensor) -> Tensor:
    """``seq_item_contrastive_task`` and ``seq_seq_contrastive_task`` from both vectors on; what the
    same next items add, exp(0), is taken out again.
    """
    same = torch.logical_xor(target[:, None] == target[None], torch.eye(len(target)).bool())
    positive = torch.exp((output * other).sum(dim=1) / TAU)
    negative = torch.where(same, torch.tensor(0.0), output @ other.T / TAU)
    negative = torch.exp(negative).sum(dim=1) - same.sum(dim=1)
    return -torch.log(positive / negative).mean()


# Ours.


def predictions(
    model: SequenceModel, items: Tensor
) -> tuple[Predictions, ItemDrop, TrainingInputs]:
    objective = ItemDrop(weight=0.3)
    inputs = objective.training_inputs(Histories(items, torch.arange(len(items))), SCHEMA)
    queries = model(inputs.histories, inputs.positions)
    row = inputs.positions.nonzero()[:, 0]
    return Predictions(queries, inputs.targets, row, inputs.histories.user), objective, inputs


def in_batch(**settings: bool) -> InBatch:
    loss = InBatch.__new__(InBatch)
    nn.Module.__init__(loss)
    loss.log_q, loss.positives, loss.distinct = False, True, False
    loss.num_items, loss.share = SCHEMA.num_items, torch.full((11,), 1 / 11)
    for name, value in settings.items():
        setattr(loss, name, value)
    return loss


def same(
    mine: Tensor, theirs: Tensor, model: nn.Module, unused: Iterable[str] = (), atol: float = 1e-9
) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=atol)
    weights = dict(model.named_parameters())
    pairs = [
        torch.autograd.grad(each, list(weights.values()), allow_unused=True, retain_graph=True)
        for each in (mine, theirs)
    ]
    for name, one, other in zip(weights, *pairs, strict=True):
        if name in unused:
            continue
        assert one is not None, name
        assert other.abs().max() > 0, name
        torch.testing.assert_close(one, other, rtol=1e-6, atol=atol, msg=name)


@pytest.mark.parametrize("train", [False, True])
def test_the_adaptor_is_the_authors(train: bool) -> None:
    own = experts().train(train)
    x, direction = torch.randn(9, WIDTH), torch.randn(9, DIM)
    torch.manual_seed(5)
    mine = own(x)
    torch.manual_seed(5)
    theirs = adapted(own, x, train=train)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    unused = () if train else ("noise",)
    same((mine * direction).sum(), (theirs * direction).sum(), own, unused)
    assert own.gates(x).sum(dim=1).allclose(torch.ones(9))


def test_each_expert_drops_out_by_itself() -> None:
    own = experts(dropout=0.5)
    with torch.no_grad():
        own.bias.zero_()
        own.weight.copy_(torch.eye(DIM, WIDTH))
    x = torch.ones(2000, WIDTH)
    own.gate.data.zero_()
    own.noise.data.fill_(-100.0)  # the least noise, so that gates are nearly equal
    made = own(x)[:, :WIDTH]
    # Each number is the mean of three draws of 0 or 2.
    shares = [((made - value).abs() < 0.1).double().mean().item() for value in (0, 2 / 3, 4 / 3, 2)]
    assert shares == pytest.approx([1 / 8, 3 / 8, 3 / 8, 1 / 8], abs=0.02)
    assert own.eval()(x)[:, :WIDTH].allclose(x, atol=1e-6)


def test_a_linear_map_begins_as_before() -> None:
    torch.manual_seed(3)
    made = LinearMap(WIDTH, 4)
    torch.manual_seed(3)
    plain = nn.Linear(WIDTH, 4)
    assert made.weight.equal(plain.weight)  # the same draws, for all else to start as it did
    made.draw()
    assert made.bias.abs().max() == 0
    assert 0.01 < made.weight.std() < 0.03


def test_queries_and_scores_are_the_authors() -> None:
    model = whole()
    histories = Histories(ITEMS, torch.arange(4))
    every = model(histories, ITEMS != PAD)
    theirs = outputs(model, ITEMS)[ITEMS != PAD]
    torch.testing.assert_close(every * TAU, theirs, rtol=1e-9, atol=1e-9)
    latest = model(histories, (ITEMS != PAD).sum(dim=1) - 1)
    cosines = F.normalize(catalogue(model), dim=1)
    scores = outputs(model, ITEMS)[torch.arange(4), (ITEMS != PAD).sum(dim=1) - 1] @ cosines.T
    torch.testing.assert_close(model.scores(latest) * TAU, scores, rtol=1e-9, atol=1e-9)


def test_fine_tuning_is_the_authors() -> None:
    model = whole()
    made, *_ = predictions(model, ITEMS)
    shown = ITEMS[:, :-1].masked_fill(ITEMS[:, 1:] == PAD, PAD)
    states = outputs(model, shown)[shown != PAD]
    logits = states @ F.normalize(catalogue(model), dim=1).T / TAU
    theirs = F.cross_entropy(logits, ITEMS[:, 1:][ITEMS[:, 1:] != PAD])
    unused = {"item.project.noise", "item.special.weight"}
    same(FullSoftmax(4)(model, made), theirs, model, unused, atol=1e-6)  # in single precision


@pytest.mark.parametrize("items", [ITEMS, TWICE], ids=["once", "twice"])
@pytest.mark.parametrize("tokens", [None, 3])
def test_pretraining_is_the_authors(
    items: Tensor, tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = whole()
    made, objective, inputs = predictions(model, items)
    monkeypatch.setattr(
        augmentations, "drop", lambda *_: VIEWS[:, : inputs.histories.items.shape[1]]
    )
    term = objective.term(model, partial(encode, model, tokens=tokens), inputs, made.queries)
    mine = in_batch()(model, made) + term

    shown = items[:, :-1].masked_fill(items[:, 1:] == PAD, PAD)
    states, targets = outputs(model, shown), items[:, 1:][items[:, 1:] != PAD]
    of_items = F.normalize(catalogue(model), dim=1)[targets]
    seq_item = contrast(states[shown != PAD], of_items, targets)
    ends = (shown != PAD).sum(dim=1) - 1
    rows = torch.arange(len(items))
    views = outputs(model, VIEWS)[rows, (VIEWS != PAD).sum(dim=1) - 1]
    seq_seq = contrast(states[rows, ends], views, items[rows, ends + 1])
    same(mine, seq_item + 0.3 * seq_seq, model, {"item.project.noise", "item.special.weight"})


def test_views_end_where_a_sequence_is_asked_about_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only some events are learnt, the view is of what the query has read."""
    model, objective = whole(), ItemDrop()
    learnt = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    histories = Histories(ITEMS, torch.arange(4))._replace(learnt=learnt)
    inputs = objective.training_inputs(histories, SCHEMA)
    shown: list[Tensor] = []

    def keep(items: Tensor, *_: object) -> Tensor:
        shown.append(items)
        return items

    monkeypatch.setattr(augmentations, "drop", keep)
    queries = model(inputs.histories, inputs.positions)
    objective.term(model, partial(encode, model, tokens=None), inputs, queries)
    assert shown[0].tolist() == [[3, 1, PAD], [2, PAD, PAD], [9, PAD, PAD]]


def test_items_count_once_or_as_often_as_they_are_there() -> None:
    model = whole()
    made, *_ = predictions(model, TWICE)
    once, often = in_batch(distinct=True)(model, made), in_batch()(model, made)
    assert float(often.detach()) > float(once.detach())  # item 0 stands there three times
    made, *_ = predictions(model, ITEMS)
    torch.testing.assert_close(in_batch(distinct=True)(model, made), in_batch()(model, made))
