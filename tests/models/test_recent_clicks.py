"""What GDCN, Wukong, EulerNet, PEPNet and SDIM compute, against an explicit loop."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.split import Histories
from lightning_rec.models.clicks.eulernet import EulerLayer, EulerNet
from lightning_rec.models.clicks.gdcn import GDCN, GatedCross
from lightning_rec.models.clicks.pepnet import PEPNet, Tower
from lightning_rec.models.clicks.sdim import SDIM
from lightning_rec.models.clicks.wukong import Wukong, WukongLayer

SCHEMA = ClickSchema(
    (
        Field("user", "categorical", 1, 4, 1),
        Field("item", "categorical", 5, 9, 1),
        Field("age", "numeric", 14, 1, 0),
    ),
    "item",
    6,
)
PAD = 8  # items of histories are 0 to 7
HISTORIES = [[1, 3, 3, 7, 0], [2], [], [6, 5, 4, 1]]
ROWS = Rows(
    torch.tensor([[2, 6], [1, 8], [4, 5], [3, 13]], dtype=torch.int32),
    torch.tensor([[0.5], [-2.0], [0.0], [1.0]]),
    Histories(
        torch.tensor([[*past, *[PAD] * (5 - len(past))] for past in HISTORIES]), torch.zeros(4)
    ),
)
B, F, D = 4, 3, 4


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def close(got: Tensor, wanted: Any) -> None:
    wanted = torch.as_tensor(wanted, dtype=got.dtype)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def random_weights(module: nn.Module) -> nn.Module:
    """Weights of a size at which no term is lost."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for each in module.modules():
        if isinstance(each, nn.Embedding):
            nn.init.zeros_(each.weight.data[0])
    return module.eval()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_gated_cross_multiplies_what_it_crosses_with_a_gate() -> None:
    cross = GatedCross(3, 2)
    random_weights(cross)
    first = torch.randn(3)
    x = first.tolist()
    for layer, gate in zip(cross.crosses, cross.gates, strict=True):
        w, b, v = layer.weight.tolist(), layer.bias.tolist(), gate.weight.tolist()
        crossed = [sum(w[i][j] * x[j] for j in range(3)) + b[i] for i in range(3)]
        opened = [sigmoid(sum(v[i][j] * x[j] for j in range(3))) for i in range(3)]
        x = [float(first[i]) * crossed[i] * opened[i] + x[i] for i in range(3)]
    close(cross(first[None])[0], x)


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_gdcn_puts_the_network_beside_its_crosses_or_on_top(structure: Any) -> None:
    model = GDCN(SCHEMA, D, 2, structure, mlp=(5,))
    random_weights(model)
    x = model.fields(ROWS).flatten(1)
    crossed = model.cross(x)
    below = torch.cat([crossed, model.deep(x)], 1) if model.beside else model.deep(crossed)
    close(model(ROWS), model.output(below)[:, 0])
    assert model.output.in_features == (F * D + 5 if structure == "parallel" else 5)


@pytest.mark.parametrize("before", [3, 5])
def test_a_wukong_layer_is_a_factorisation_machine_beside_a_compression(before: int) -> None:
    layer = WukongLayer(before, 3, 2, D, 2, (6,), 0.0)
    random_weights(layer)
    x = torch.randn(before, D)
    # X Xᵀ Y by products of pairs.
    inner = [[float(x[i] @ x[j]) for j in range(before)] for i in range(before)]
    pairs = [
        sum(inner[i][j] * float(layer.rank[j, k]) for j in range(before))
        for i in range(before)
        for k in range(2)
    ]
    hidden = layer.machine(layer.norm(torch.tensor([pairs])))
    machine = torch.relu(layer.widen(hidden)).view(3, D)
    weight = layer.compress.weight
    rest = [weight[made] @ x for made in range(2)]
    both = torch.stack([*machine, *rest])
    if before == 5:
        added = x
    else:
        assert isinstance(layer.residual, nn.Linear)
        w, b = layer.residual.weight, layer.residual.bias
        added = torch.stack([sum(w[n, i] * x[i] for i in range(before)) + b[n] for n in range(5)])
    close(layer(x[None])[0], layer.scale(both + added))


def test_wukong_stacks_layers_below_a_network() -> None:
    model = Wukong(SCHEMA, D, depth=2, made=3, kept=2, rank=2, machine=(4,), mlp=(5,))
    random_weights(model)
    x = model.fields(ROWS)
    for layer in model.layers:
        x = layer(x)
    close(model(ROWS), model.deep(x.flatten(1))[:, 0])


@pytest.mark.parametrize("norm", [False, True])
def test_an_euler_layer_multiplies_complex_vectors_to_learnt_powers(norm: bool) -> None:
    layer = EulerLayer(F, 2, D, norm, 0.0)
    random_weights(layer)
    real, imaginary = torch.rand(F, D) + 0.1, torch.randn(F, D)
    made = layer((real[None], imaginary[None]))
    plain = [torch.relu(layer.plain(part.flatten())).view(2, D) for part in (real, imaginary)]
    whole = torch.zeros(2, D, dtype=torch.complex64)
    for n in range(2):
        for d in range(D):
            product = complex(
                math.exp(layer.modulus[d, n]) * math.cos(layer.phase[d, n]),
                math.exp(layer.modulus[d, n]) * math.sin(layer.phase[d, n]),
            )
            for j in range(F):
                product *= complex(real[j, d], imaginary[j, d]) ** float(layer.orders[j, n])
            whole[n, d] = torch.tensor(product)
    parts = [plain[0] + whole.real, plain[1] + whole.imag]
    if norm:
        parts = [each(part) for each, part in zip(layer.norms, parts, strict=True)]
    for got, wanted in zip(made, parts, strict=True):
        torch.testing.assert_close(got[0], wanted, atol=1e-4, rtol=1e-4)


def test_eulernet_adds_a_linear_map_of_both_parts() -> None:
    model = EulerNet(SCHEMA, D, orders=(2,))
    random_weights(model)
    angle = torch.complex(torch.zeros(B, F, D), model.fields(ROWS))
    parts = model.length * torch.exp(angle)  # Euler's formula
    real, imaginary = model.layers((parts.real, parts.imag))
    weight, bias = model.output.weight[0], model.output.bias
    close(model(ROWS), (real + imaginary).flatten(1) @ weight + 2 * bias)
    with pytest.raises(ValueError, match=r"orders=\[\] makes no layer"):
        EulerNet(SCHEMA, D, orders=())


def test_towers_of_pepnet_scale_what_each_layer_hands_on() -> None:
    tower = Tower(6, 5, (4, 3), gate=(2,), dropout=0.0, batch_norm=False)
    random_weights(tower)
    x, prior = torch.randn(6), torch.randn(5)
    state = x
    for layer, gate in zip(tower.layers, tower.gates, strict=True):
        before, after = gate.inner[0], gate.output
        hidden = torch.relu(before.weight @ prior + before.bias)
        opened = [2 * sigmoid(float(each)) for each in after.weight @ hidden + after.bias]
        state = torch.tensor(opened) * torch.relu(layer[0].weight @ state + layer[0].bias)
    close(tower(x[None], prior[None])[0, 0], tower.output.weight[0] @ state + tower.output.bias[0])


def test_gates_of_pepnet_read_domain_and_prior_and_send_no_gradient_into_the_fields() -> None:
    schema = SCHEMA._replace(goals=("click", "buy"))
    model = PEPNet(schema, D, domain=("age",), prior=("user", "item"), gate=(2,), mlp=(5,))
    random_weights(model)
    assert model.known is not None
    assert model.scale is not None
    x, known = model.fields(ROWS).flatten(1), model.known(ROWS)
    scaled = x * model.scale(torch.cat([known[:, 2], x], dim=1))
    prior = torch.cat([known[:, 0], known[:, 1], scaled], dim=1)
    wanted = [tower(scaled, prior)[:, 0] for tower in model.towers]
    close(model(ROWS), torch.stack(wanted, dim=1))
    for part in (model.towers, model.scale):  # where only gates read, nothing reaches the fields
        for each in part.modules():
            if isinstance(each, nn.Linear):
                nn.init.zeros_(each.weight)
    model(ROWS).sum().backward()
    assert model.fields.table.weight.grad is not None
    assert not model.fields.table.weight.grad.any()
    with pytest.raises(ValueError, match="there is no field 'scene'"):
        PEPNet(schema, domain=("scene",))


def buckets_of(model: SDIM, vector: Tensor) -> list[tuple[bool, ...]]:
    signs = [bool(each > 0) for each in vector @ model.rotations]
    return [tuple(signs[h * model.bits : (h + 1) * model.bits]) for h in range(model.hashes)]


@pytest.mark.parametrize("unit", [True, False])
def test_sdim_sums_what_collides_and_attends_to_the_latest(unit: bool) -> None:
    model = SDIM(SCHEMA, D, hashes=3, bits=1, short=2, heads=2, mlp=(5,), unit=unit)
    random_weights(model)
    table = model.fields.table.weight
    vectors = model.fields(ROWS)
    for row, past in enumerate(HISTORIES):
        shown = vectors[row, 1]
        vector = {code: table[5 + 1 + code] for code in past}
        long = torch.zeros(D)
        for h in range(3):
            same = [
                vector[c]
                for c in past
                if buckets_of(model, vector[c])[h] == buckets_of(model, shown)[h]
            ]
            total = sum(same, torch.zeros(D))
            long += total / (total.norm().clamp(min=1e-12) if unit else 1) / 3
        read = torch.zeros(D)
        if latest := past[-2:]:
            heads = []
            for part in (slice(0, 2), slice(2, 4)):
                query = (model.query.weight @ shown)[part]
                keys = [(model.key.weight @ vector[c])[part] for c in latest]
                weights = torch.stack([query @ key / math.sqrt(2) for key in keys]).softmax(0)
                values = [(model.value.weight @ vector[c])[part] for c in latest]
                heads.append(sum(w * v for w, v in zip(weights, values, strict=True)))
            read = model.out.weight @ torch.cat(heads)
        items, described = ROWS.history.items[row : row + 1], shown[None]
        close(model.long(items, described)[0], long)
        close(model.latest(items, described)[0], read)
        wanted = model.deep(torch.cat([vectors[row].flatten(), long, read])[None])[0, 0]
        close(model(ROWS)[row], wanted)


def test_heads_of_sdim_divide_its_width() -> None:
    with pytest.raises(ValueError, match="heads=3 must divide dim=4"):
        SDIM(SCHEMA, D, heads=3)
