"""Vectors of fields against a loop, with tables apart, and with sparse gradients."""

import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.models.clicks.deepfm import DeepFM
from lightning_rec.models.clicks.parts import MLP, FieldVectors, FirstOrder

SCHEMA = ClickSchema(
    (
        Field("user", "categorical", 1, 4, 1),
        Field("item", "categorical", 5, 3, 1),
        Field("tags", "multi_valued", 8, 4, 2),
        Field("age", "numeric", 12, 1, 0),
        Field("price", "numeric", 13, 1, 0),
    )
)
ROWS = Rows(
    torch.tensor([[1, 5, 8, 0], [4, 7, 11, 9], [2, 6, 0, 0], [2, 5, 10, 8]], dtype=torch.int32),
    torch.tensor([[1.0, 0.5], [-2.0, 0.0], [0.0, 3.0], [0.5, 1.0]]),
)
DIM = 6


def by_loop(vectors: FieldVectors, schema: ClickSchema) -> Tensor:
    """What the docstring says, value by value."""
    apart = [field for field in schema.fields if field.dim not in (None, DIM)]

    def vector(field: Field, row: int) -> Tensor:
        if row == 0:
            return torch.zeros(DIM)
        for own, table in zip(apart, vectors.apart, strict=True):
            if own == field:
                return table.project(table.table.weight[row - field.start + 1])
        before = sum(own.size for own in apart if own.start < field.start)
        return vectors.table.weight[row - before]

    rows = []
    for ids, values in zip(ROWS.ids.tolist(), ROWS.values.tolist(), strict=True):
        user, item, tags, age, price = schema.fields
        listed = [vector(tags, row) for row in ids[2:] if row]
        mean = torch.stack(listed).mean(0) if listed else torch.zeros(DIM)
        numbers = [
            x * vector(field, field.start) for field, x in zip((age, price), values, strict=True)
        ]
        rows.append(torch.stack([vector(user, ids[0]), vector(item, ids[1]), mean, *numbers]))
    return torch.stack(rows)


@pytest.mark.parametrize(
    "dims", [{}, {"user": 2}, {"tags": 3}, {"user": 2, "item": 9, "tags": 1}, {"item": DIM}]
)
def test_vectors_by_a_loop(dims: dict[str, int]) -> None:
    torch.manual_seed(0)
    schema = SCHEMA.with_dims(dims)
    vectors = FieldVectors(schema, DIM)
    for module in vectors.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
            module.weight.data[0] = 0
    torch.testing.assert_close(vectors(ROWS), by_loop(vectors, schema))
    apart = [schema.place(name) for name, dim in dims.items() if dim != DIM]
    gone = sum(schema.fields[place].size for place in apart)
    assert vectors.table.num_embeddings == schema.num_rows - gone
    vectors(ROWS).square().sum().backward()
    for name, parameter in vectors.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("table.weight"):
            assert not parameter.grad[0].any(), name


def test_the_linear_part_knows_no_widths() -> None:
    assert not FirstOrder(SCHEMA.with_dims({"user": 2})).fields.apart
    assert DeepFM(SCHEMA.with_dims({"user": 2}), dim=DIM)(ROWS).shape == (4,)


@pytest.mark.parametrize("dims", [{}, {"item": 2}])
def test_sparse_gradients_are_the_dense_ones(dims: dict[str, int]) -> None:
    gradients = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = DeepFM(SCHEMA.with_dims(dims), dim=DIM, mlp=(5,), dropout=0.0)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.sparse = sparse
        model(ROWS).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    dense, sparse_ones = gradients
    tables = [name for name in dense if name.endswith("table.weight")]
    assert len(tables) == 2 + len(dims)
    for name, gradient in sparse_ones.items():
        assert gradient is not None
        assert gradient.is_sparse == (name in tables)
        torch.testing.assert_close(gradient.to_dense(), dense[name])


@pytest.mark.parametrize("dims", [{}, {"user": 2}, {"item": 3}, {"user": 2, "item": 9, "tags": 1}])
def test_items_of_histories_have_the_vectors_of_items_shown(dims: dict[str, int]) -> None:
    torch.manual_seed(0)
    schema = SCHEMA._replace(item="item", max_len=4).with_dims(dims)
    vectors = FieldVectors(schema, DIM)
    for module in vectors.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
            module.weight.data[0] = 0
    shown = vectors(ROWS._replace(ids=torch.tensor([[1, 6, 0, 0], [1, 7, 0, 0]]).int(), values=ROWS.values[:2]))  # fmt: skip
    items = vectors.items(torch.tensor([[0, 1, 2], [1, 1, 2]]))  # 2 is padding
    torch.testing.assert_close(items[0, :2], shown[:, 1])
    torch.testing.assert_close(items[1, :2], shown[[1, 1], 1])
    assert (items[:, 2] == 0).all()


def test_a_lone_row_is_normed_by_what_was_seen_before() -> None:
    network, rows = MLP(3, (4,), 0.0, batch_norm=True), torch.randn(8, 3)
    network(rows)  # moves the running statistics
    before = {name: value.clone() for name, value in network.state_dict().items()}
    alone = network(rows[:1])
    alone.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(alone, network.eval()(rows[:1]))
