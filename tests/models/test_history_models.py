"""DIN, BST and two towers against explicit loops; any model of sequences as the encoder of any head."""

import math

import pytest
import torch
from shipped import class_of, models_of
from torch import nn

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.models.clicks.bst import BST
from lightning_rec.models.clicks.din import DIN, Dice
from lightning_rec.models.clicks.encoded import HistoryEncoder, WithHistory
from lightning_rec.models.clicks.two_tower import TwoTower
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.history_encoders import make_encoder

SCHEMA = ClickSchema(
    (Field("user", "categorical", 1, 4, 1), Field("item", "categorical", 5, 9, 1)), "item", 5
)
PADDING = 8
LISTS = [[1, 2, 3, 4, 0], [7, 7, 2], [5], []]
ITEMS = torch.tensor([(past + [PADDING] * 5)[:5] for past in LISTS])
ROWS = Rows(
    torch.tensor([[2, 6], [3, 7], [4, 5], [2, 13]], dtype=torch.int32),
    torch.zeros(4, 0),
    Histories(ITEMS, torch.zeros(4, dtype=torch.int64)),
)


def visible(model: nn.Module) -> nn.Module:
    """In evaluation mode, with vectors that are not next to nothing."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def linear(layer: nn.Linear, x: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)]  # fmt: skip


def network(mlp: nn.Sequential, x: list[float], activation: str) -> list[float]:
    """Linear maps and activations one number after another."""
    for layer in mlp:
        if isinstance(layer, nn.Linear):
            x = linear(layer, x)
        elif isinstance(layer, nn.PReLU):
            assert activation == "prelu"
            x = [v if v > 0 else a * v for v, a in zip(x, layer.weight.tolist(), strict=True)]
        elif isinstance(layer, Dice):
            assert activation == "dice"
            moments = zip(x, layer.mean.tolist(), layer.variance.tolist(), layer.alpha.tolist(), strict=True)  # fmt: skip
            share = [(v, 1 / (1 + math.exp(-(v - m) / math.sqrt(s + 1e-8))), a) for v, m, s, a in moments]  # fmt: skip
            x = [p * v + (1 - p) * a * v for v, p, a in share]
        elif isinstance(layer, nn.LeakyReLU):
            x = [v if v > 0 else 0.01 * v for v in x]
        elif isinstance(layer, nn.ReLU):
            x = [max(0.0, v) for v in x]
    return x


def vector(table: nn.Embedding, row: int) -> list[float]:
    return table.weight[row].tolist()


@pytest.mark.parametrize("activation", ["dice", "prelu"])
def test_din_weighs_each_past_item_by_the_item_shown(activation: str) -> None:
    model = visible(DIN(SCHEMA, dim=3, attention=(4,), mlp=(5,), activation=activation))
    assert isinstance(model, DIN)
    for module in model.modules():
        if isinstance(module, Dice):
            module.mean.normal_()
            module.variance.uniform_(0.5, 2)
    logits = model(ROWS).tolist()
    table = model.fields.table
    for row, past in enumerate(LISTS):
        user, item = (vector(table, int(i)) for i in ROWS.ids[row])
        interest = [0.0] * 3
        for code in past:
            e = vector(table, 5 + 1 + code)
            pairs = list(zip(e, item, strict=True))
            asked = [*e, *item, *(a - b for a, b in pairs), *(a * b for a, b in pairs)]
            (weight,) = network(model.unit, asked, activation)
            interest = [total + weight * v for total, v in zip(interest, e, strict=True)]
        (wanted,) = network(model.deep, [*user, *item, *interest], activation)
        assert logits[row] == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_dice_is_normalised_over_the_batch_while_it_learns() -> None:
    dice, x = Dice(2), torch.randn(7, 2)
    nn.init.normal_(dice.alpha)
    mean, variance = x.mean(dim=0), x.var(dim=0, unbiased=False)
    share = torch.sigmoid((x - mean) / (variance + 1e-8).sqrt())
    torch.testing.assert_close(dice(x), share * x + (1 - share) * dice.alpha * x)
    torch.testing.assert_close(dice.mean, 0.1 * mean)
    assert dice(x[:1]).isfinite().all()  # a single row has no variance
    assert dice(x[:0]).shape == (0, 2)


def attention(layer: nn.Module, x: list[list[float]], heads: int) -> list[list[float]]:
    """What each place of ``x`` makes of all."""
    q, k, v = ([linear(layer.get_submodule(part), each) for each in x] for part in ("query", "key", "value"))  # fmt: skip
    width = len(x[0]) // heads
    made = []
    for place in range(len(x)):
        found: list[float] = []
        for head in range(heads):
            cut = slice(head * width, (head + 1) * width)
            score = [sum(a * b for a, b in zip(q[place][cut], each[cut], strict=True)) / math.sqrt(width) for each in k]  # fmt: skip
            total = sum(math.exp(s) for s in score)
            found += [sum(math.exp(s) / total * each[cut][i] for s, each in zip(score, v, strict=True)) for i in range(width)]  # fmt: skip
        made.append(linear(layer.get_submodule("output"), found))
    return made


def norm(layer: nn.LayerNorm, x: list[float]) -> list[float]:
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + layer.eps)
    return [(v - mean) / deviation * w + b for v, w, b in zip(x, layer.weight.tolist(), layer.bias.tolist(), strict=True)]  # fmt: skip


def test_bst_reads_the_item_shown_and_the_past_counted_back_from_it() -> None:
    model = visible(BST(SCHEMA, dim=4, heads=2, mlp=(3,), dropout=0.3))
    assert isinstance(model, BST)
    logits = model(ROWS).tolist()
    table, layer = model.fields.table, model.layers[0]
    assert isinstance(layer.attention_norm, nn.LayerNorm)
    assert isinstance(layer.norm, nn.LayerNorm)
    for row, past in enumerate(LISTS):
        user, item = (vector(table, int(i)) for i in ROWS.ids[row])
        backwards = [item, *(vector(table, 6 + code) for code in reversed(past))]
        x = [[a + b for a, b in zip(e, vector(model.position, back), strict=True)] for back, e in enumerate(backwards)]  # fmt: skip
        hidden = [norm(layer.attention_norm, [a + b for a, b in zip(e, new, strict=True)]) for e, new in zip(x, attention(layer, x, 2), strict=True)]  # fmt: skip
        out: list[float] = []
        for each in hidden:
            inner = [v if v > 0 else 0.01 * v for v in linear(layer.expand, each)]
            out += norm(layer.norm, [a + b for a, b in zip(each, linear(layer.contract, inner), strict=True)])  # fmt: skip
        out += [0.0] * (6 * 4 - len(out))
        (wanted,) = network(model.deep, [*user, *item, *out], "leaky")
        assert logits[row] == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_bst_in_blocks_is_bst_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = SCHEMA._replace(max_len=20)
    model = visible(BST(schema, dim=4))
    length = torch.randint(21, (50, 1)).sort(dim=0, descending=True).values
    items = torch.randint(8, (50, 20)).masked_fill(torch.arange(20) >= length, PADDING)
    ids = torch.stack([torch.randint(1, 5, (50,)), torch.randint(5, 14, (50,))], dim=1).int()
    rows = Rows(ids, torch.zeros(50, 0), Histories(items, torch.zeros(50).long()))
    whole = model(rows)
    monkeypatch.setattr("lightning_rec.models.clicks.bst.BLOCK_TOKENS", 64)
    torch.testing.assert_close(model(rows), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dot", [False, True])
def test_two_towers_meet_at_the_very_end(dot: bool) -> None:
    model = visible(TwoTower(SCHEMA, dim=3, mlp=(4,), width=2, dot=dot, batch_norm=False))
    assert isinstance(model, TwoTower)
    for row, logit in enumerate(model(ROWS).tolist()):
        vectors = [vector(model.fields.table, int(i)) for i in ROWS.ids[row]]
        towers = (model.user, model.shown)
        user, item = (
            linear(tower[1], network(tower[0], x, "relu"))
            for tower, x in zip(towers, vectors, strict=True)
        )
        if dot:
            wanted = sum(a * b for a, b in zip(user, item, strict=True))
        else:
            assert model.output is not None
            wanted = sum(w * v for w, v in zip(model.output.weight[0].tolist(), [*user, *item], strict=True))  # fmt: skip
        assert logit == pytest.approx(wanted + float(model.bias.detach()), rel=1e-4, abs=1e-5)


def test_the_towers_of_named_fields_and_of_none() -> None:
    named = TwoTower(SCHEMA, item_fields=("user",))
    assert (named.of_item, named.of_user) == ([0], [1])
    for fields, item in (((), None), (("user", "item"), "item")):
        with pytest.raises(ValueError, match=r"item_fields=\[…\] must name"):
            TwoTower(SCHEMA._replace(item=item, max_len=0), item_fields=fields)


def reads_order(name: str) -> bool:
    return bool({"next_item", "masked_item"} & set(getattr(class_of(name), "objectives", ())))


SEQUENTIAL = [  # but lcrec, which asks a language model and makes no vector of a history
    name for name in config.choices("model") if reads_order(name) and name != "lcrec"
]
HEADS = [
    name
    for name in models_of("click")
    # Which read no queries, or are fitted at once.
    if name not in ("naive_bayes", "sequence_score", "tallrec", "lr", "lightgbm")
]
SMALL = ["encoder.model.dim=8"]


def test_there_are_encoders_and_heads() -> None:
    assert len(SEQUENTIAL) >= 8
    assert len(HEADS) >= 14


@pytest.mark.parametrize("name", ["lr", "lightgbm"])
def test_what_is_fitted_at_once_takes_no_encoder(name: str) -> None:
    cfg = config.compose([f"model={name}", "model@encoder.model=sasrec", *SMALL])
    with pytest.raises(UserError, match="is fitted at once and takes no encoder"):
        problem_of(cfg)


def node(name: str) -> dict[str, object]:
    """The config of a small model of sequences that knows nobody by a code."""
    settings: dict[str, object] = config.plain(config.compose([f"model={name}"]).model)
    small = {"dim": 8, "user_vectors": False}
    return settings | {key: value for key, value in small.items() if key in settings}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_every_model_of_sequences_encodes_histories(name: str) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(node(name), None, SCHEMA).eval()
    made = encoder(ROWS.history)
    assert made.shape == (4, len(encoder.nothing))
    assert made.isfinite().all()
    assert torch.equal(made[3], encoder.nothing)
    for row, past in enumerate(LISTS[:3]):
        alone = encoder(Histories(torch.tensor([past]), torch.zeros(1).long()))
        torch.testing.assert_close(made[row : row + 1], alone, atol=1e-5, rtol=1e-5)
        other = [*past[:-1], (past[-1] + 1) % 8]
        assert not torch.allclose(encoder(Histories(torch.tensor([other]), torch.zeros(1).long())), alone)  # fmt: skip
    nobody = ROWS.history._replace(items=torch.full((4, 5), PADDING))
    assert torch.equal(encoder(nobody), encoder.nothing.expand(4, -1))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_takes_an_encoded_history_and_teaches_the_encoder(name: str) -> None:
    goals = ["+data.fields.goals={click: {column: rating}, buy: {column: bought}}"]
    goals += ["data.fields.label=null", "data.fields.positive_from=null", "monitor=val/buy/auc"]
    model = config.compose([f"model={name}"]).model
    several = getattr(config.target("model", config.plain(model)), "multi_task", False)
    more = [*SMALL, *(goals if several else [])]
    cfg = config.compose([f"model={name}", "model@encoder.model=sasrec", *more])
    problem = problem_of(cfg)
    assert isinstance(problem, Clicks)
    model = problem.make_model(SCHEMA._replace(goals=("click", "buy")) if several else SCHEMA)
    assert isinstance(model, WithHistory)
    assert model.reads_history
    visible(model)
    before = model(ROWS)
    assert before.shape == ((4, 2) if several else (4,))
    other = ROWS._replace(history=Histories((ITEMS + 1) % 8 * (ITEMS != 8) + 8 * (ITEMS == 8), torch.zeros(4).long()))  # fmt: skip
    changed = (model(other) != before).reshape(4, -1).any(dim=1)
    assert changed.tolist() == [True, True, True, False]
    before.sum().backward()
    learnt = model.encoder.model.blocks[0].query.weight.grad
    assert learnt is not None
    assert learnt.abs().sum() > 0
    assert model.encoder.nothing.grad is not None


def test_items_that_the_encoder_does_not_know_are_left_out() -> None:
    torch.manual_seed(0)
    model = SASRec(Schema(30, 6, 1), dim=8).eval()
    codes = torch.tensor([30, 11, 12, 30, 14, 15, 16, 30, 30])  # 0, 3 and 7 are not known
    encoder = HistoryEncoder(model, NextItem().query_inputs, codes).eval()
    nn.init.normal_(encoder.nothing)
    made = encoder(ROWS.history)
    for row, known in enumerate([[11, 12, 14], [12], [15], []]):
        if not known:
            assert torch.equal(made[row], encoder.nothing)
            continue
        asked = NextItem().query_inputs(Histories(torch.tensor([known]), torch.zeros(1).long()), model.schema)  # fmt: skip
        torch.testing.assert_close(made[row : row + 1], model(*asked))


def test_a_frozen_encoder_drops_nothing() -> None:
    encoder = make_encoder(node("sasrec") | {"dropout": 0.9}, None, SCHEMA)
    encoder.train()
    assert encoder.model.training
    encoder.model.requires_grad_(False)
    encoder.train()
    assert not encoder.model.training
    assert encoder.training  # type: ignore[unreachable]
    assert torch.equal(encoder(ROWS.history), encoder(ROWS.history))


def test_the_question_is_that_of_the_objective() -> None:
    assert make_encoder(node("bert4rec"), None, SCHEMA).ask.__self__.__class__ is MaskedItem  # type: ignore[attr-defined]
    assert make_encoder(node("gru4rec"), None, SCHEMA).ask.__self__.__class__ is NextItem  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        ("sasrec", SCHEMA._replace(max_len=0), "no history to encode"),
        ("ease", SCHEMA, "EASE does not learn from the order"),
        ("bprmf", SCHEMA, "BPRMF does not learn from the order"),
        ("deepfm", SCHEMA, "no model of sequences"),
    ],
)
def test_what_cannot_encode_is_refused(name: str, schema: ClickSchema, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_encoder(node(name), None, schema)


def test_user_vectors_are_refused() -> None:
    with pytest.raises(UserError, match=r"user_vectors=false"):
        make_encoder(node("caser") | {"user_vectors": True}, None, SCHEMA)
