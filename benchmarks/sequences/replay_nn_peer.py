"""SASRec of RePlay's newer interface (``replay.nn``): speed, or quality over training time.

It reads Parquet files batch by batch. ``--buckets N`` wraps the encoder with RePlay's own
``LengthBucketedQueryEncoder``, N rows to a bucket, which it does not do by default. There is no
BERT4Rec in this interface.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import logging
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import Callback, Trainer, seed_everything
from replay.data.nn import ParquetModule
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import PandasTopItemsCallback
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.sequential import SasRec
from replay.nn.sequential.length_bucket import LengthBucketedQueryEncoder
from replay.nn.transform.template import make_default_sasrec_transforms

from benchmarks.harness.probe import Step, lightning_callback
from benchmarks.sequences import asked
from benchmarks.sequences.data import TOP, load_split
from benchmarks.sequences.measure import run
from benchmarks.sequences.replay_common import QUIET, metrics, tensor_schema

IMPORT_SECONDS = record.since_start()


def count(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Rows and targets of a batch."""
    mask = batch["target_padding_mask"]
    return len(mask), int(mask.sum())


class RePlayNNPeer:
    """The newer SASRec of RePlay on the train events."""

    library = "replay-rec"

    def __init__(self, args: Namespace) -> None:
        if args.model != "sasrec":
            raise SystemExit("replay.nn has no BERT4Rec: use replay_peer.py")
        self.settings, self.seed = asked.settings(args), args.seed
        self.accelerator = args.accelerator
        self.buckets = args.buckets
        self.folder = tempfile.TemporaryDirectory()
        self.notes = {"api": "replay.nn", "adam_betas": [0.9, 0.98], "buckets": args.buckets}

    def prepare(self, path: Path) -> None:
        """Read the file and write the train sequences as Parquet."""
        seed_everything(self.seed)
        self.split = load_split(path)
        n_items = self.split.n_items  # the padding is the id after the last
        self.schema = tensor_schema(n_items, self.settings["dim"], padding=n_items)
        self.file = self._write(len(self.split.train))

    def _write(self, users: int) -> str:
        table = {"user": np.arange(users), "item": self.split.train[:users]}
        file = Path(self.folder.name) / f"{users}.parquet"
        pd.DataFrame(table | {"seen_ids": table["item"]}).to_parquet(file)
        return str(file)

    def _batches(self, stage: str, file: str) -> ParquetModule:
        length, padding = self.settings["max_len"], self.split.n_items
        columns: dict[str, Any] = {"user": {}, "item": {"shape": length, "padding": padding}}
        if stage == "train":
            columns["item"]["shape"] = length + 1  # inputs and shifted targets
            size = self.settings["batch_size"]
        else:
            longest = max(len(seq) for seq in self.split.train)
            columns["seen_ids"] = {"shape": longest, "padding": padding}
            size = self.settings["eval_batch_size"]
        transforms = {stage: make_default_sasrec_transforms(self.schema)[stage]}
        return ParquetModule(size, {stage: columns}, transforms, **{f"{stage}_path": file})

    def fit(self, step: Step) -> None:
        """Train through the Lightning trainer and RePlay's data module."""
        model = SasRec.from_params(
            self.schema,
            embedding_dim=self.settings["dim"],
            num_heads=self.settings["heads"],
            num_blocks=self.settings["depth"],
            max_sequence_length=self.settings["max_len"],
            dropout=self.settings["dropout"],
        )
        if self.buckets:
            model.body.encoder = LengthBucketedQueryEncoder(model.body.encoder, self.buckets)
        self.model = LightningModule(model)  # the optimizer's default is Adam at 1e-3
        callback = lightning_callback(Callback, step, count)
        trainer = Trainer(
            max_epochs=100_000,
            limit_val_batches=0,
            callbacks=[callback],
            accelerator=self.accelerator,
            **QUIET,
        )
        trainer.fit(self.model, datamodule=self._batches("train", self.file))

    def evaluate(self, users: int) -> dict[str, float]:
        """``predict`` with the filter of seen items, and RePlay's metrics."""
        seen = SeenItemsFilter(self.split.n_items)
        lists = PandasTopItemsCallback(TOP, "user", "item", "score", postprocessors=[seen])
        trainer = Trainer(callbacks=[lists], accelerator=self.accelerator, **QUIET)
        batches = self._batches("predict", self._write(users))
        trainer.predict(self.model, datamodule=batches, return_predictions=False)
        return metrics(lists.get_result(), self.split.val[:users])

    @torch.no_grad()
    def scores(self) -> Iterator[torch.Tensor]:
        """What the model predicts for every user, item by item."""
        if not hasattr(self, "inputs"):
            module = self._batches("predict", self.file)
            module.setup("predict")
            transform = module.compiled_transforms["predict"]
            self.inputs = [transform(batch) for batch in module.predict_dataloader()]
        self.model.eval()
        for batch in self.inputs:
            yield self.model(batch)["logits"]
        self.model.train()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    run(RePlayNNPeer, __doc__, IMPORT_SECONDS)
