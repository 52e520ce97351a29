"""What both RePlay scripts use: the schema of one item sequence, a quiet trainer, the metrics."""

from typing import Any

import numpy as np
import pandas as pd
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.metrics import NDCG, OfflineMetrics, Recall

from benchmarks.sequences.data import TOP

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def tensor_schema(n_items: int, dim: int, padding: int) -> TensorSchema:
    """One categorical sequence: the items."""
    source = TensorFeatureSource(FeatureSource.INTERACTIONS, "item")
    return TensorSchema(
        TensorFeatureInfo(
            name="item",
            feature_type=FeatureType.CATEGORICAL,
            is_seq=True,
            feature_hint=FeatureHint.ITEM_ID,
            feature_sources=[source],
            cardinality=n_items,
            padding_value=padding,
            embedding_dim=dim,
        )
    )


def metrics(lists: pd.DataFrame, targets: np.ndarray) -> dict[str, float]:
    """RePlay's recall and ndcg of the lists of the first users, one target each."""
    truth = pd.DataFrame({"user": np.arange(len(targets)), "item": targets})
    columns = {"query_column": "user", "item_column": "item", "rating_column": "score"}
    values = OfflineMetrics([Recall(TOP), NDCG(TOP)], **columns)(lists, truth)
    return {name.lower(): value for name, value in values.items()}
