"""What each paper computes, against an explicit loop over rows, fields and pairs."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import polars
import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.models.clicks import naive_bayes
from lightning_rec.models.clicks.autoint import Interacting
from lightning_rec.models.clicks.click_neumf import ClickNeuMF
from lightning_rec.models.clicks.dcn import DCN, Cross
from lightning_rec.models.clicks.dcnv2 import DCNv2, MatrixCross
from lightning_rec.models.clicks.deepfm import DeepFM
from lightning_rec.models.clicks.fibinet import Bilinear, FiBiNET, Squeeze
from lightning_rec.models.clicks.finalmlp import FinalMLP, Fusion, Gate
from lightning_rec.models.clicks.fm import FM, pairs
from lightning_rec.models.clicks.lr import LR
from lightning_rec.models.clicks.masknet import MaskBlock, MaskNet
from lightning_rec.models.clicks.naive_bayes import NaiveBayes
from lightning_rec.models.clicks.parts import MLP, FieldVectors, RowNorm
from lightning_rec.models.clicks.xdeepfm import CIN, XDeepFM
from lightning_rec.models.layers import Dropout

SCHEMA = ClickSchema(
    (
        Field("user", "categorical", 1, 4, 1),
        Field("item", "categorical", 5, 4, 1),
        Field("tags", "multi_valued", 9, 4, 3),
        Field("age", "numeric", 13, 1, 0),
    )
)
ROWS = Rows(
    torch.tensor([[2, 6, 10, 12, 0], [1, 8, 0, 0, 0], [4, 5, 11, 0, 0]], dtype=torch.int32),
    torch.tensor([[0.5], [-2.0], [0.0]]),
)
B, F, D = 3, 4, 5


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def vectors() -> Tensor:
    return torch.randn(B, F, D)


def close(got: Tensor, wanted: Any) -> None:
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), atol=1e-5, rtol=1e-5)


def random_weights(module: nn.Module) -> None:
    """Weights of a size at which no term is lost."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for each in module.modules():
        if isinstance(each, nn.Embedding):
            nn.init.zeros_(each.weight.data[0])  # fills lists


def test_vectors_of_fields() -> None:
    fields = FieldVectors(SCHEMA, D)
    random_weights(fields)
    table = fields.table.weight
    for row, (ids, (age,)) in enumerate(zip(ROWS.ids.tolist(), ROWS.values.tolist(), strict=True)):
        own = fields(ROWS)[row]
        close(own[0], table[ids[0]])
        close(own[1], table[ids[1]])
        there = [table[number] for number in ids[2:] if number]
        close(own[2], sum(there) / len(there) if there else torch.zeros(D))
        close(own[3], age * table[13])


def test_initial_values_are_those_of_the_benchmark() -> None:
    wide = ClickSchema((Field("user", "categorical", 1, 20_000, 1),))
    model = DeepFM(wide, dim=16, mlp=(400, 300))
    for fields in (model.fields, model.linear.fields):
        assert (fields.table.weight[0] == 0).all()
        assert float(fields.table.weight.detach().std()) == pytest.approx(1e-4, rel=0.05)
    hidden = model.deep[4]
    assert isinstance(hidden, nn.Linear)
    assert float(hidden.weight.detach().std()) == pytest.approx(math.sqrt(2 / 700), rel=0.05)
    assert (hidden.bias == 0).all()


def test_layers_stand_in_the_order_of_the_benchmark() -> None:
    kinds = [type(layer) for layer in MLP(4, (3,), 0.5, True)]
    assert kinds == [nn.Linear, RowNorm, nn.ReLU, Dropout, nn.Linear]
    assert issubclass(RowNorm, nn.BatchNorm1d)
    assert [type(layer) for layer in MLP(4, (3,), 0.5, False, output=False)] == [
        nn.Linear,
        nn.ReLU,
        Dropout,
    ]


def test_logistic_regression() -> None:
    model = LR(SCHEMA)
    random_weights(model)
    fields, weight = model.linear.fields, model.linear.fields.table.weight[:, 0]
    close(model(ROWS), fields(ROWS).sum(dim=(1, 2)) + model.linear.bias)
    close(
        model(ROWS)[0],
        weight[2]
        + weight[6]
        + (weight[10] + weight[12]) / 2
        + 0.5 * weight[13]
        + model.linear.bias,
    )


def test_factorization_machine_by_pairs() -> None:
    x = vectors()
    wanted = [
        sum(float(x[b, i] @ x[b, j]) for i, j in itertools.combinations(range(F), 2))
        for b in range(B)
    ]
    close(pairs(x), wanted)
    model = FM(SCHEMA, D)
    random_weights(model)
    close(model(ROWS), model.linear(ROWS) + pairs(model.fields(ROWS)))


def test_deepfm_is_a_sum_of_three() -> None:
    model = DeepFM(SCHEMA, D, (6,)).eval()
    random_weights(model)
    x = model.fields(ROWS)
    close(model(ROWS), model.linear(ROWS) + pairs(x) + model.deep(x.flatten(1))[:, 0])


def test_crosses_with_a_vector() -> None:
    cross, x = Cross(D, 3), torch.randn(B, D)
    random_weights(cross)
    for row in range(B):
        now = x[row]
        for weight, bias in zip(cross.weights, cross.biases, strict=True):
            inner = sum(now[n] * weight.weight[0, n] for n in range(D))  # type: ignore[misc]
            now = torch.stack([x[row, n] * inner + bias[n] + now[n] for n in range(D)])
        close(cross(x)[row], now)


@pytest.mark.parametrize("rank", [None, 2])
def test_crosses_with_a_matrix(rank: int | None) -> None:
    cross, x = MatrixCross(D, 2, rank), torch.randn(B, D)
    random_weights(cross)
    for row in range(B):
        now = x[row]
        for layer in cross.layers:
            if rank is None:
                matrix, bias = layer.weight, layer.bias
            else:
                matrix, bias = layer[1].weight @ layer[0].weight, layer[1].bias
            mapped = [sum(matrix[n, m] * now[m] for m in range(D)) for n in range(D)]  # type: ignore[misc]
            now = torch.stack([x[row, n] * (mapped[n] + bias[n]) + now[n] for n in range(D)])
        close(cross(x)[row], now)


def test_deep_and_cross_are_joined_as_said() -> None:
    beside, stacked = (
        DCNv2(SCHEMA, D, mlp=(6,), structure=how).eval() for how in ("parallel", "stacked")
    )
    x = beside.fields(ROWS).flatten(1)
    joined = torch.cat([beside.cross(x), beside.deep(x)], dim=1)
    close(beside(ROWS), beside.output(joined)[:, 0])
    x = stacked.fields(ROWS).flatten(1)
    close(stacked(ROWS), stacked.output(stacked.deep(stacked.cross(x)))[:, 0])
    for alone in (DCN(SCHEMA, D, mlp=()), DCNv2(SCHEMA, D, mlp=())):
        x = alone.fields(ROWS).flatten(1)
        close(alone(ROWS), alone.output(alone.cross(x))[:, 0])


def test_compressed_interactions() -> None:
    cin, x = CIN(F, (3, 2)), vectors()
    random_weights(cin)
    for b in range(B):
        before, pooled = x[b], []  # [H, D]
        for layer in cin.layers:
            after = torch.zeros(layer.out_features, D)
            for h in range(layer.out_features):
                weight = layer.weight[h].view(len(before), F)
                for i, j in itertools.product(range(len(before)), range(F)):
                    after[h] += weight[i, j] * before[i] * x[b, j]
                after[h] += layer.bias[h]
            pooled.append(after.sum(dim=1))
            before = after
        close(cin(x)[b], torch.cat(pooled))
    with pytest.raises(ValueError, match="at least one layer"):
        XDeepFM(SCHEMA, cin=())


def test_fields_attend_to_one_another() -> None:
    heads, dim = 2, 6
    layer, x = Interacting(D, dim, heads, 0.0), vectors()
    random_weights(layer)
    for b in range(B):
        wanted = torch.zeros(F, dim)
        for h in range(heads):
            part = slice(h * dim // heads, (h + 1) * dim // heads)
            query, key, value = (
                torch.stack([m.weight[part] @ x[b, f] for f in range(F)])
                for m in (layer.query, layer.key, layer.value)
            )
            for i in range(F):
                scores = torch.stack([query[i] @ key[j] for j in range(F)]).exp()
                wanted[i, part] = sum(scores[j] / scores.sum() * value[j] for j in range(F))
        close(layer(x)[b], torch.relu(wanted + x[b] @ layer.residual.weight.T))


def test_fields_are_squeezed_and_weighed() -> None:
    squeeze, x = Squeeze(F, 2), vectors()
    random_weights(squeeze)
    for b in range(B):
        means = torch.stack([x[b, f].mean() for f in range(F)])
        weights = torch.relu(squeeze.expand.weight @ torch.relu(squeeze.reduce.weight @ means))
        close(squeeze(x)[b], torch.stack([weights[f] * x[b, f] for f in range(F)]))


@pytest.mark.parametrize("kind", ["all", "each", "pair"])
def test_bilinear_pairs(kind: Any) -> None:
    bilinear, x = Bilinear(F, D, kind), vectors()
    for b in range(B):
        for p, (i, j) in enumerate(itertools.combinations(range(F), 2)):
            matrix = bilinear.weight[{"all": 0, "each": i, "pair": p}[kind]]
            close(bilinear(x)[b, p], (x[b, i] @ matrix) * x[b, j])
    one = ClickSchema(SCHEMA.fields[:1])
    with pytest.raises(ValueError, match="only one field"):
        FiBiNET(one)


def test_masks_multiply_what_is_hidden() -> None:
    block, x, hidden = MaskBlock(7, 4, 3, 2.0, 0.0), torch.randn(B, 7), torch.randn(B, 4)
    random_weights(block)
    first, _, second = block.mask
    linear, norm = block.hidden[0], block.hidden[1]
    assert first.out_features == 8
    for b in range(B):
        mask = second.weight @ torch.relu(first.weight @ x[b] + first.bias) + second.bias
        mapped = linear.weight @ (mask * hidden[b])
        normed = (mapped - mapped.mean()) / (mapped.var(unbiased=False) + norm.eps).sqrt()
        close(block(x, hidden)[b], torch.relu(normed * norm.weight + norm.bias))


@pytest.mark.parametrize("structure", ["serial", "parallel"])
def test_masknet_norms_each_field_by_itself(structure: Any) -> None:
    model = MaskNet(SCHEMA, D, structure, blocks=2, block_dim=3, mlp=(6, 4)).eval()
    random_weights(model)
    x = model.fields(ROWS)
    normed = []
    for f in range(F):
        norm = nn.LayerNorm(D)
        norm.weight.data, norm.bias.data = model.scale[f].data, model.shift[f].data
        normed.append(norm(x[:, f]))
    flat, hidden = x.flatten(1), torch.cat(normed, dim=1)
    if structure == "parallel":
        hidden = torch.cat([block(flat, hidden) for block in model.blocks], dim=1)
    else:
        assert len(model.blocks) == 2
        hidden = model.blocks[1](flat, model.blocks[0](flat, hidden))
    close(model(ROWS), model.deep(hidden)[:, 0])


def test_streams_are_fused_by_heads() -> None:
    fusion, left, right = Fusion(6, 4, 2), torch.randn(B, 6), torch.randn(B, 4)
    for b in range(B):
        wanted = fusion.left(left[b])[0] + fusion.right(right[b])[0]
        for h in range(2):
            for i, j in itertools.product(range(3), range(2)):
                wanted = wanted + left[b, 3 * h + i] * fusion.weight[h, i, j] * right[b, 2 * h + j]
        close(fusion(left, right)[b], wanted)
    with pytest.raises(ValueError, match="heads=3 must divide the last width of mlp2"):
        FinalMLP(SCHEMA, mlp=(6,), mlp2=(4,), heads=3)


@pytest.mark.parametrize("training", [False, True])
def test_finalmlp_is_what_fuxictr_makes_of_the_same_weights(training: bool) -> None:
    """As its FinalMLP of 0245987 goes: gates, two MLP_Blocks, and an aggregation by heads."""
    model = FinalMLP(SCHEMA, D, (6, 4), (4,), dropout=0.0, dropout2=0.0, gate=(3,), heads=2)
    random_weights(model)
    model.train(training)
    flat = model.fields(ROWS).flatten(1)

    def block(x: Tensor, weights: dict[str, Tensor], last: bool) -> Tensor:
        places = sorted({int(name.split(".")[0]) for name in weights})
        for at in places:  # linear, norm, ReLU: a norm has a mean, too
            weight, bias = weights[f"{at}.weight"], weights[f"{at}.bias"]
            if weight.ndim == 2:
                x = x @ weight.T + bias
                x = x if last or at + 1 in places else torch.relu(x)
                continue
            mean, var = weights[f"{at}.running_mean"], weights[f"{at}.running_var"]
            if training:
                mean, var = x.mean(dim=0), x.var(dim=0, unbiased=False)
            x = torch.relu((x - mean) / (var + 1e-5).sqrt() * weight + bias)
        return x

    streams = []
    for gate, stream in zip(model.gates, (model.first, model.second), strict=True):
        hidden = block(gate.context.repeat(B, 1), gate.network.state_dict(), last=False)
        opened = torch.sigmoid(hidden @ gate.output.weight.T + gate.output.bias) * 2
        streams.append(block(flat * opened, dict(stream.state_dict()), last=False))
    x, y = streams
    w_xy = model.fusion.weight.reshape(-1, 1)  # as it lies there: heads x 2 x 2, 1
    wanted = model.fusion.left(x) + model.fusion.right(y)
    head_x, head_y = x.view(-1, 2, 2), y.view(-1, 2, 2)
    xy = (head_x.unsqueeze(2) @ w_xy.view(2, 2, -1)).view(-1, 2, 1, 2) @ head_y.unsqueeze(-1)
    close(model(ROWS), (wanted + xy.squeeze(-1).sum(dim=1))[:, 0].detach())


def test_gates_open_by_their_context() -> None:
    gate, x = Gate(SCHEMA, ("item",), D, (6,)), torch.randn(B, F * D)
    random_weights(gate)
    assert gate.fields is not None
    context = gate.fields(ROWS)[:, 1]
    close(gate(ROWS, x), x * 2 * torch.sigmoid(gate.output(gate.network(context))))
    free = Gate(SCHEMA, (), D, ())
    close(free(ROWS, x), x * 2 * torch.sigmoid(free.output(free.context)))
    with pytest.raises(ValueError, match=r"no field 'itme'.*'item'"):
        FinalMLP(SCHEMA, context=("itme",))


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_naive_bayes_counts(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naive_bayes, "BLOCK", block)
    label = np.array([1, 1, 0], dtype=np.float32)
    every, empty = np.arange(3), polars.DataFrame()
    train = np.array([0, 1])
    encoded = Encoded(
        SCHEMA, ROWS.ids.numpy(), ROWS.values.numpy(), label, None, None, train, every, every, empty, empty, None, {}
    )  # fmt: skip
    label[1] = 0
    model = NaiveBayes(SCHEMA, strength=2.0)
    model.fit(encoded)

    def odds(clicks: int, seen: int) -> float:
        rate = (clicks + 2 * 0.5) / (seen + 2)
        return math.log(rate / (1 - rate))

    # Row 0 was seen once, with a click, in each of its values; values of row 2 never.
    close(model(ROWS)[:, 0], [3 * odds(1, 1), 2 * odds(0, 1), 0])
    weighted, doubled = NaiveBayes(SCHEMA, strength=2.0), NaiveBayes(SCHEMA, strength=2.0)
    weighted.fit(dataclasses.replace(encoded, weight=np.array([3, 1, 1], dtype=np.float32)))
    doubled.fit(
        dataclasses.replace(encoded, train=np.array([0, 0, 0, 1]))
    )  # the same as a row three times
    close(weighted(ROWS), doubled(ROWS))


def test_neumf_weighs_the_products_of_user_and_item_beside_a_network() -> None:
    model = ClickNeuMF(SCHEMA, D, (6,), ("item", "tags")).eval()
    random_weights(model)
    vectors, network = model.gmf(ROWS), model.deep(model.fields(ROWS).flatten(1))
    for row in range(B):
        user, item = (
            [sum(float(vectors[row, f, d].detach()) for f in side) for d in range(D)]
            for side in ((0, 3), (1, 2))
        )
        h = model.output.weight[0].tolist()
        wanted = sum(h[d] * user[d] * item[d] for d in range(D)) + float(network[row].detach())
        assert float(model(ROWS)[row].detach()) == pytest.approx(wanted, rel=1e-4)
