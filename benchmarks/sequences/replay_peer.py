"""SASRec or BERT4Rec of RePlay (``replay.models.nn``): speed, or quality over training time.

RePlay 0.22 marks these classes as deprecated; for SASRec see also ``replay_nn_peer.py``. For
BERT4Rec there is nothing newer.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import logging
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import Callback, Trainer, seed_everything
from replay.data.nn import PandasSequentialDataset
from replay.models.nn.sequential import Bert4Rec, SasRec
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset
from replay.models.nn.sequential.callbacks import PandasPredictionCallback
from replay.models.nn.sequential.postprocessors import RemoveSeenItems
from replay.models.nn.sequential.sasrec import SasRecPredictionDataset, SasRecTrainingDataset
from torch.utils.data import DataLoader

from benchmarks.harness.probe import Step, lightning_callback
from benchmarks.sequences import asked
from benchmarks.sequences.data import TOP, load_split
from benchmarks.sequences.measure import run
from benchmarks.sequences.replay_common import QUIET, metrics, tensor_schema

IMPORT_SECONDS = record.since_start()
PREDICTION = {"sasrec": SasRecPredictionDataset, "bert4rec": Bert4RecPredictionDataset}


def count_sasrec(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Rows and targets of a batch."""
    return len(batch["query_id"]), int(batch["target_padding_mask"].sum())


def count_bert4rec(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Rows and targets of a batch; a masked token is False in the token mask."""
    return len(batch["query_id"]), int((~batch["token_mask"] & batch["pad_mask"]).sum())


class RePlayPeer:
    """A RePlay model on the train events."""

    library = "replay-rec"

    def __init__(self, args: Namespace) -> None:
        self.settings, self.seed, self.name = asked.settings(args), args.seed, args.model
        self.accelerator = args.accelerator
        self.notes = {"api": "replay.models.nn, deprecated in 0.22", "adam_betas": [0.9, 0.98]}

    def prepare(self, path: Path) -> None:
        """Read the file and build the sequential dataset of the train events."""
        seed_everything(self.seed)
        self.split = load_split(path)
        self.schema = tensor_schema(self.split.n_items, self.settings["dim"], padding=0)
        self.data = self._sequences(len(self.split.train))

    def _sequences(self, users: int) -> PandasSequentialDataset:
        table = pd.DataFrame({"user": np.arange(users), "item": self.split.train[:users]})
        return PandasSequentialDataset(self.schema, "user", "item", table)

    def _inputs(self, data: PandasSequentialDataset) -> DataLoader[Any]:
        rows = PREDICTION[self.name](data, self.settings["max_len"])
        return DataLoader(rows, batch_size=self.settings["eval_batch_size"])

    def fit(self, step: Step) -> None:
        """Train through the Lightning trainer, as RePlay's examples do."""
        kind = SasRec if self.name == "sasrec" else Bert4Rec
        self.model = kind(
            self.schema,
            block_count=self.settings["depth"],
            head_count=self.settings["heads"],
            hidden_size=self.settings["dim"],
            max_seq_len=self.settings["max_len"],
            dropout_rate=self.settings["dropout"],
            loss_type="CE",
        )  # the optimizer's default is Adam at 1e-3
        length = self.settings["max_len"]
        if self.name == "sasrec":
            rows, count = SasRecTrainingDataset(self.data, length), count_sasrec
        else:
            mask_prob = self.settings["mask_prob"]
            rows = Bert4RecTrainingDataset(self.data, length, mask_prob=mask_prob)
            count = count_bert4rec
        callback = lightning_callback(Callback, step, count)
        loader = DataLoader(rows, batch_size=self.settings["batch_size"], shuffle=True)
        Trainer(
            max_epochs=100_000, callbacks=[callback], accelerator=self.accelerator, **QUIET
        ).fit(self.model, loader)

    def evaluate(self, users: int) -> dict[str, float]:
        """``predict`` with the filter of seen items, and RePlay's metrics."""
        data = self._sequences(users)
        lists = PandasPredictionCallback(
            TOP, "user", "item", "score", postprocessors=[RemoveSeenItems(data)]
        )
        trainer = Trainer(
            callbacks=[lists], inference_mode=True, accelerator=self.accelerator, **QUIET
        )
        trainer.predict(self.model, self._inputs(data), return_predictions=False)
        return metrics(lists.get_result(), self.split.val[:users])

    @torch.no_grad()
    def scores(self) -> Iterator[torch.Tensor]:
        """What ``predict`` gives for every user, item by item."""
        if not hasattr(self, "batches"):
            self.batches = list(self._inputs(self.data))
        self.model.eval()
        for batch in self.batches:
            yield self.model.predict(batch)
        self.model.train()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    run(RePlayPeer, __doc__, IMPORT_SECONDS)
