"""SASRec or BERT4Rec of RecTools: speed, or quality over training time.

RecTools trains with a deep copy of its trainer and prepares part of its data within ``fit``.
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
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG, Recall, calc_metrics
from rectools.models import BERT4RecModel, SASRecModel

from benchmarks.harness.probe import Step, lightning_callback
from benchmarks.sequences import asked
from benchmarks.sequences.data import TOP, load_split
from benchmarks.sequences.measure import run

IMPORT_SECONDS = record.since_start()
MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}


def count(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Rows and targets of a batch; id 0 stands where nothing is predicted."""
    return len(batch["y"]), int((batch["y"] != 0).sum())


class RecToolsPeer:
    """A RecTools model on the train events."""

    library = "rectools"

    def __init__(self, args: Namespace) -> None:
        self.settings, self.seed = asked.settings(args), args.seed
        self.accelerator = args.accelerator
        self.device = "cuda" if args.accelerator == "gpu" else "cpu"
        own = {name: self.settings[name] for name in ("mask_prob",) if name in self.settings}
        self.model = MODELS[args.model](
            n_factors=self.settings["dim"],
            n_blocks=self.settings["depth"],
            n_heads=self.settings["heads"],
            session_max_len=self.settings["max_len"],
            dropout_rate=self.settings["dropout"],
            loss="softmax",
            lr=self.settings["lr"],
            batch_size=self.settings["batch_size"],
            recommend_batch_size=self.settings["eval_batch_size"],
            recommend_torch_device=self.device,
            **own,
        )
        self.notes: dict[str, Any] = {"adam_betas": [0.9, 0.98]}
        if args.model == "bert4rec":
            self.notes["masking"] = "80 % mask, 10 % random item, 10 % kept"

    def prepare(self, path: Path) -> None:
        """Read the file and build the dataset of the train events."""
        seed_everything(self.seed)
        self.split = load_split(path)
        user, item, position = self.split.train_columns()
        table = {Columns.User: user, Columns.Item: item, Columns.Weight: 1.0}
        table[Columns.Datetime] = pd.to_datetime(position, unit="s")
        self.dataset = Dataset.construct(pd.DataFrame(table))

    def fit(self, step: Step) -> None:
        """Train with a trainer like RecTools' own, and a callback."""
        self.model._trainer = Trainer(
            max_epochs=100_000,
            accelerator=self.accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[lightning_callback(Callback, step, count)],
        )
        self.model.fit(self.dataset)
        self.notes["vocabulary"] = len(self.model.data_preparator.get_known_item_ids())

    def evaluate(self, users: int) -> dict[str, float]:
        """``recommend`` and ``calc_metrics``."""
        wanted = np.arange(users)
        table = self.model.recommend(wanted, self.dataset, k=TOP, filter_viewed=True)
        truth = pd.DataFrame({Columns.User: wanted, Columns.Item: self.split.val[:users]})
        metrics = {
            f"recall@{TOP}": Recall(k=TOP),
            f"ndcg@{TOP}": NDCG(k=TOP, divide_by_achievable=True),
        }
        values = calc_metrics(metrics, table, truth)
        return {name: float(value) for name, value in values.items()}

    @torch.no_grad()
    def scores(self) -> Iterator[torch.Tensor]:
        """The dot products that ``recommend`` ranks, in the order of the split's items."""
        if not hasattr(self, "loader"):
            users = np.arange(len(self.split.train))
            preparator = self.model.data_preparator
            data = preparator.transform_dataset_u2i(self.dataset, users)
            self.loader = list(preparator.get_dataloader_recommend(data, 256))
        module = self.model.lightning_model
        user_embs, item_embs = module._get_user_item_embeddings(self.loader, self.device)
        ids = self.model.data_preparator
        known = torch.as_tensor(np.asarray(ids.get_known_item_ids(), dtype=np.int64))
        for users in user_embs.split(256):
            scores = torch.full((len(users), self.split.n_items), -torch.inf)
            scores[:, known] = users @ item_embs[ids.n_item_extra_tokens :].T
            yield scores
        module.train()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run(RecToolsPeer, __doc__, IMPORT_SECONDS)
