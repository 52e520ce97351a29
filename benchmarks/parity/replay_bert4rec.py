"""BERT4Rec of RePlay on MovieLens-100K under the protocol of ``split.py``.

``max_seq_len`` counts the mask: 49 items and the mask at inference, 50 items in training.
"""

import logging
import time
import warnings

import lightning
import numpy as np
import pandas as pd
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import (
    PandasSequentialDataset,
    TensorFeatureInfo,
    TensorFeatureSource,
    TensorSchema,
)
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset
from replay.models.nn.sequential.postprocessors import RemoveSeenItems
from torch.utils.data import DataLoader

from benchmarks.parity.record import EVERY, SETTINGS, Record, parse_args
from benchmarks.parity.split import TOP, Split, load_split

EVAL_BATCH = 256
DEFAULTS = {
    "masking": "always the mask; an unpadded row has at least one masked item",
    "training rows": "the last 50 events of each user, one row per user and epoch",
    "vocabulary": "all items of train; no class for padding or mask",
    "block": "pre-norm, no final norm, dropout once more after the block",
    "ffn": "4 x 64, GELU",
    "attention dropout": 0.2,
    "positions": "learned, left-padded rows, so counted from the end",
    "output": "a linear layer of its own (not tied), with bias, no projection",
    "loss": "mean over masked positions",
    "adam betas": [0.9, 0.98],
    "init": "Xavier normal for every matrix",
}


def tensor_schema(n_items: int) -> TensorSchema:
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
            embedding_dim=SETTINGS["dim"],
        )
    )


def sequences(history: list[np.ndarray], schema: TensorSchema) -> PandasSequentialDataset:
    """RePlay's container of one item sequence per user."""
    table = pd.DataFrame({"user": np.arange(len(history)), "item": history})
    return PandasSequentialDataset(schema, "user", "item", table)


class Ranker:
    """Ranks the catalogue for fixed input sequences, with RePlay's own filter of seen items."""

    def __init__(self, data: PandasSequentialDataset) -> None:
        rows = Bert4RecPredictionDataset(data, SETTINGS["max_len"])
        self.batches = list(DataLoader(rows, batch_size=EVAL_BATCH))
        self.unseen = RemoveSeenItems(data)

    @torch.inference_mode()
    def top(self, model: Bert4Rec) -> np.ndarray:
        """The best unseen items of every user [U, TOP]."""
        lists = []
        for batch in self.batches:
            _, scores = self.unseen.on_prediction(batch["query_id"], model.predict(batch))
            lists.append(scores.topk(TOP, dim=1).indices)  # [B, TOP]
        return torch.cat(lists).numpy()


class Evaluate(lightning.Callback):  # type: ignore[misc]
    """Adds an evaluation to the record after every tenth epoch."""

    def __init__(self, record: Record, val: Ranker, test: Ranker) -> None:
        self.record, self.val, self.test = record, val, test

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Bert4Rec) -> None:
        """Rank for validation and test in evaluation mode."""
        epoch = trainer.current_epoch + 1
        if epoch % EVERY:
            return
        began = time.perf_counter()
        pl_module.eval()
        self.record.add(epoch, self.val.top(pl_module), self.test.top(pl_module))
        pl_module.train()
        self.record.eval_seconds += time.perf_counter() - began


def train(split: Split, record: Record, epochs: int) -> None:
    """Fit on train; the record fills through the callback."""
    schema = tensor_schema(split.n_items)
    data = sequences(split.train, schema)
    model = Bert4Rec(
        schema,
        block_count=SETTINGS["depth"],
        head_count=SETTINGS["heads"],
        hidden_size=SETTINGS["dim"],
        max_seq_len=SETTINGS["max_len"],
        dropout_rate=SETTINGS["dropout"],
        loss_type="CE",
    )  # the optimizer's default is Adam at 1e-3
    rows = Bert4RecTrainingDataset(data, SETTINGS["max_len"], mask_prob=SETTINGS["mask_prob"])
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluate(record, Ranker(data), Ranker(sequences(split.test_input, schema)))],
    )
    trainer.fit(model, DataLoader(rows, batch_size=SETTINGS["batch_size"], shuffle=True))


def main() -> None:
    """Train one seed, evaluate every ten epochs, write the JSON."""
    args = parse_args(__doc__)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    lightning.seed_everything(args.seed)

    split = load_split(args.data)
    record = Record(split)
    train(split, record, args.epochs)
    record.write(args.out, "replay-rec", args, DEFAULTS)


if __name__ == "__main__":
    main()
