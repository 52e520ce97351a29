"""Naive Bayes over the fields: what each value's click rate says, as if they were independent.

Fitted by counting, it is what a model of clicks is shown beside. Duda and Hart, Pattern
Classification and Scene Analysis, 1973, and many others.
"""

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import FITTED, ClickModel, FieldVectors

BLOCK = 1 << 20  # rows that are counted at once


class NaiveBayes(ClickModel):
    """z = logit(rate) + sum over fields of (logit(rate of the value) - logit(rate)).

    Rates of values are drawn to the rate of all rows, as if ``strength`` more rows had that one. A
    list of values counts as the mean of theirs; numbers are not read. Goals are counted apart.

    ``strength``: rows that the common rate is worth.
    """

    multi_task = True

    needs = FITTED

    def __init__(self, schema: ClickSchema, strength: PositiveFloat = 20.0) -> None:
        super().__init__(schema)
        self.strength = strength
        self.fields = FieldVectors(schema.with_dims({}), len(schema.goals))
        self.bias = nn.Parameter(torch.zeros(len(schema.goals)))
        self.requires_grad_(False)

    def fit(self, encoded: Encoded) -> None:
        """Count the training rows, each by its weight, and them alone."""
        train, rows = np.asarray(encoded.train), self.schema.num_rows
        labels = encoded.label.reshape(len(encoded.label), -1)  # [N, G]
        weight = np.ones(len(labels)) if encoded.weight is None else encoded.weight.astype(float)
        rate = np.average(labels[train], axis=0, weights=weight[train])
        totals = np.zeros((1 + len(rate), rows))  # of rows, then of clicks
        for some in np.split(train, range(BLOCK, len(train), BLOCK)):
            ids = encoded.ids[some]
            each = np.column_stack([np.ones(len(some)), labels[some]]) * weight[some, None]
            for total, column in zip(totals, each.T, strict=True):
                repeated = np.repeat(column, ids.shape[1])
                total += np.bincount(ids.ravel(), weights=repeated, minlength=rows)
        seen, clicks = totals[:1].T, totals[1:].T
        rates = (clicks + self.strength * rate) / (seen + self.strength)
        weights = torch.logit(torch.from_numpy(rates)) - torch.logit(torch.from_numpy(rate))
        weights[0] = 0  # fills lists, and stands for no value
        self.fields.table.weight.copy_(weights)
        self.bias.copy_(torch.logit(torch.from_numpy(rate)))

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B, G]."""
        return self.fields(rows).sum(dim=1) + self.bias
