"""What models of clicks share: vectors of fields, the linear part, the network on top.

A model of clicks is made of vectors of its fields and of a head over them. Whatever else is known
of a row, such as an encoded history, can join as one more field: heads take any number of them.

Initial values and the order of layers are those of the published benchmark of CTR models (BARS, Zhu
et al., SIGIR 2022; FuxiCTR 1.1): embeddings from N(0, 1e-4²), linear maps by Xavier's normal
distribution, biases 0; linear, batch norm, activation, dropout. Shapes: B rows, F fields, D = dim.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Protocol, runtime_checkable

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.batches import Rows
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import ClickSchema
from lightning_rec.models.layers import Dropout, Embedding

Probability = Annotated[float, Field(ge=0, lt=1)]
Widths = tuple[PositiveInt, ...]
EMBEDDING_STD = 1e-4


class ClickModel(nn.Module, ABC):
    """A module that gives a row of clicks the logit of its probability."""

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__()
        self.schema = schema

    @abstractmethod
    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B].

        Args:
            rows: ids int32 [B, I] and values float32 [B, D'].
        """


@runtime_checkable
class FittedToClicks(Protocol):
    """A model that reads the training rows at once, instead of gradient steps."""

    def fit(self, encoded: Encoded) -> None:
        """Fit on the training rows of ``encoded``, and on them alone."""
        ...


class FieldVectors(nn.Module):
    """One vector per field, out of one table for all fields.

    A category has a row of the table; a list of values the mean of theirs, or zeros if it is empty;
    a number its value times its field's row.

    Args:
        schema: which rows belong to which field.
        dim: width of a vector.
    """

    def __init__(self, schema: ClickSchema, dim: int) -> None:
        super().__init__()
        self.table = Embedding(schema.num_rows, dim, padding_idx=0)
        nn.init.normal_(self.table.weight, std=EMBEDDING_STD)
        with torch.no_grad():
            self.table.weight[0] = 0
        self.single = len(schema.of("categorical"))
        self.widths = [field.width for field in schema.of("multi_valued")]
        self.first_number = schema.num_rows - len(schema.of("numeric"))

    def forward(self, rows: Rows) -> Tensor:
        """Vectors of the fields, in the order of the schema: float [B, F, dim]."""
        vectors = self.table(rows.ids)  # [B, I, dim]
        sizes = [self.single, *self.widths]
        # Split, since slices would make a copy each of the whole gradient.
        single, *lists = torch.split(vectors, sizes, dim=1)
        fields = [single]
        for own, ids in zip(lists, torch.split(rows.ids, sizes, dim=1)[1:], strict=True):
            number = (ids > 0).sum(dim=1, keepdim=True).clamp(min=1)  # [B, 1]
            fields.append(own.sum(dim=1, keepdim=True) / number[:, :, None])
        if rows.values.shape[1]:
            number_rows = self.table.weight[self.first_number :]  # [D', dim]
            fields.append(rows.values[:, :, None] * number_rows)
        return torch.cat(fields, dim=1) if len(fields) > 1 else fields[0]


class FirstOrder(nn.Module):
    """The linear part: a bias and a weight per category, times its value for a number."""

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__()
        self.fields = FieldVectors(schema, 1)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, rows: Rows) -> Tensor:
        """Sum of the weights, float [B]."""
        total: Tensor = self.fields(rows).sum(dim=(1, 2)) + self.bias
        return total


class MLP(nn.Sequential):
    """Layers of linear, batch norm, ReLU and dropout, in this order.

    Args:
        inputs: width of what comes in.
        widths: of the layers.
        dropout: chance of an element to be zeroed while training.
        batch_norm: whether there is any.
        output: whether a linear map to one number follows.
    """

    def __init__(
        self,
        inputs: int,
        widths: Widths,
        dropout: float,
        batch_norm: bool,
        output: bool = True,
    ) -> None:
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *widths), widths, strict=False):
            layers.append(nn.Linear(before, width))
            if batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers += [nn.ReLU(), Dropout(dropout)]
        if output:
            layers.append(nn.Linear(widths[-1] if widths else inputs, 1))
        super().__init__(*layers)


def initialise(model: nn.Module) -> None:
    """Linear maps by Xavier's normal distribution, their biases 0; the rest stays as it is."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
