"""LightGBM: boosted trees over codes, numbers and lists, what is tried first on any table.

Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 2017.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError, import_extra
from lightning_rec.models.clicks.parts import FITTED, ClickModel
from lightning_rec.ranges import BelowOne


class LightGBM(ClickModel):
    """z = sum of the leaves that a row falls into, a tree for each round.

    A category is split by LightGBM's own rule, unknown ones as missing; a number by thresholds; of
    a list the number of its values counts, and whether it has each of the ``list_values`` that are
    most frequent in training. Histories are not read. Rounds end when validation brings no better
    logloss; where nothing validates there are ``rounds``.

    Args:
        lr: how much a tree counts.
        rounds: trees, at most.
        patience: rounds without a better logloss on validation before it ends.
        leaves: of a tree.
        min_rows: of a leaf, and of a category that is split on.
        l2: of the values of leaves.
        feature_drop: share of the columns that a tree does not see.
        cat_smooth: how strongly rates of rare categories are drawn to the mean.
        list_values: values of a list with a column of their own.
        learns: ``probability``, or the ``order`` within a group (``data.fields.group``): LambdaMART
            (Burges, MSR-TR-2010-82), whose rounds end by NDCG@10. What comes out is no probability
            then.
        seed: of what is drawn.

    Raises UserError if LightGBM is not installed.
    """

    booster: Tensor

    needs = FITTED

    def __init__(
        self,
        schema: ClickSchema,
        lr: PositiveFloat = 0.05,
        rounds: PositiveInt = 2000,
        patience: PositiveInt = 50,
        leaves: PositiveInt = 31,
        min_rows: PositiveInt = 20,
        l2: NonNegativeFloat = 1.0,
        feature_drop: BelowOne = 0.0,
        cat_smooth: NonNegativeFloat = 10.0,
        list_values: NonNegativeInt = 100,
        learns: Literal["probability", "order"] = "probability",
        seed: NonNegativeInt = 1,
    ) -> None:
        super().__init__(schema)
        _library()
        self.rounds, self.patience, self.list_values = rounds, patience, list_values
        self.learns = learns
        goal: dict[str, Any] = {"objective": "binary"}
        if learns == "order":
            goal = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [10]}
        self.settings = goal | {
            "learning_rate": lr,
            "num_leaves": max(2, leaves),
            "min_data_in_leaf": min_rows,
            "min_data_per_group": min_rows,
            "lambda_l2": l2,
            "feature_fraction": 1 - feature_drop,
            "cat_smooth": cat_smooth,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        # The model as LightGBM writes it, in text; and the values of lists that have columns.
        self.register_buffer("booster", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("frequent", torch.zeros(0, dtype=torch.int32))
        self.made: Any = None

    def fit(self, encoded: Encoded) -> None:
        """Fit to the training rows, and choose the number of rounds by those of validation."""
        library = _library()
        self.frequent = torch.from_numpy(self._most_frequent(encoded))
        train = self._dataset(encoded, encoded.train)
        val = self._dataset(encoded, encoded.val, train) if len(encoded.val) else None
        stop = [library.early_stopping(self.patience, verbose=False)] if val else []
        made = library.train(
            self.settings, train, self.rounds, valid_sets=[val] if val else None, callbacks=stop
        )
        text = made.model_to_string(num_iteration=made.best_iteration if val else None)
        self.booster = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        self.made = None

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]; 0 before it is fitted."""
        if not len(self.booster):
            return torch.zeros(len(rows.ids), device=rows.ids.device)
        if self.made is None:
            text = self.booster.cpu().numpy().tobytes().decode()
            self.made = _library().Booster(model_str=text)
        found = self.made.predict(
            self.columns(rows.ids.cpu().numpy(), rows.values.cpu().numpy()), raw_score=True
        )
        return torch.from_numpy(np.asarray(found)).float().to(rows.ids.device)

    def columns(self, ids: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What trees split on, float32 [n, columns]: categories, numbers, lists.

        A category is its number within its field, NaN for an unknown one.
        """
        singles = self.schema.of("categorical")
        codes = ids[:, : len(singles)] - np.array([f.start for f in singles], dtype=np.int32)
        made = [np.where(codes > 0, codes - 1, np.nan), values]
        begin = len(singles)
        for field in self.schema.of("multi_valued"):
            part = ids[:, begin : begin + field.width]
            begin += field.width
            made.append((part > 0).sum(axis=1, keepdims=True))
            frequent = self.frequent.cpu().numpy()
            own = frequent[(frequent >= field.start) & (frequent < field.start + field.size)]
            made.append((part[:, :, None] == own).any(axis=1))
        return np.concatenate([part.astype(np.float32) for part in made], axis=1)

    def _dataset(self, encoded: Encoded, rows: Ints, like: Any = None) -> Any:
        rows, size = np.asarray(rows), None
        if self.learns == "order":
            if encoded.group is None:
                raise UserError("model.learns=order needs data.fields.group=COLUMN.")
            group = np.asarray(encoded.group)[rows]
            rows = rows[np.argsort(group, kind="stable")]
            size = np.unique(group, return_counts=True)[1]
        return _library().Dataset(
            self.columns(encoded.ids[rows], encoded.values[rows]),
            encoded.label[rows],
            weight=None if encoded.weight is None else encoded.weight[rows],
            group=size,
            categorical_feature=list(range(len(self.schema.of("categorical")))),
            reference=like,
            params=self.settings,
        )

    def _most_frequent(self, encoded: Encoded) -> NDArray[np.int32]:
        """Rows of the table of the values of lists that most training rows have."""
        begin, found = len(self.schema.of("categorical")), [np.zeros(0, dtype=np.int32)]
        train = np.asarray(encoded.train)
        for field in self.schema.of("multi_valued"):
            part = encoded.ids[train, begin : begin + field.width]
            begin += field.width
            counts = np.bincount(part[part > 0] - field.start, minlength=field.size)
            best = np.argsort(-counts, kind="stable")[: self.list_values]
            found.append((np.sort(best[counts[best] > 0]) + field.start).astype(np.int32))
        return np.concatenate(found)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # How long the text is only the saved one knows.
        for name in ("booster", "frequent"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(saved))
        self.made = None
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _library() -> Any:
    return import_extra("lightgbm", "model=lightgbm", "gbdt")
