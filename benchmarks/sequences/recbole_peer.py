"""SASRec or BERT4Rec of RecBole: speed only.

RecBole makes a row of every prefix of a sequence, so that one pass over the training rows of
MovieLens-1M takes hours on two cores; quality over time is not measured. Its trainer has no
callbacks: steps are told by a hook of its optimizer, and the fit is left by an exception.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import os
import sys
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

from benchmarks.harness.probe import EnoughError, Step
from benchmarks.sequences import asked
from benchmarks.sequences.data import TOP, Split, load_split
from benchmarks.sequences.measure import run

IMPORT_SECONDS = record.since_start()
MODELS = {"sasrec": "SASRec", "bert4rec": "BERT4Rec"}


def options(settings: dict[str, Any], model: str, seed: int) -> dict[str, Any]:
    """The configuration of RecBole."""
    own = {"hidden_act": "relu"} if model == "sasrec" else {"mask_ratio": settings["mask_prob"]}
    return own | {
        "seed": seed,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "data_path": ".",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "metrics": ["Recall", "NDCG"],
        "topk": [TOP],
        "valid_metric": f"NDCG@{TOP}",
        "metric_decimal_place": 6,
        "MAX_ITEM_LIST_LENGTH": settings["max_len"],
        "n_layers": settings["depth"],
        "n_heads": settings["heads"],
        "hidden_size": settings["dim"],
        "inner_size": settings["ffn"],
        "hidden_dropout_prob": settings["dropout"],
        "attn_dropout_prob": settings["dropout"],
        "loss_type": "CE",
        "learner": "adam",
        "learning_rate": settings["lr"],
        "train_batch_size": settings["batch_size"],
        "eval_batch_size": settings["eval_batch_size"],
        "epochs": 1000,
    }


def write_inter(split: Split, file: Path) -> None:
    """RecBole's own format: every event, its place in the sequence as its time."""
    user, item, position = split.train_columns()
    train = pd.DataFrame({"user": user, "item": item, "time": position})
    length = train.groupby("user").size().to_numpy()
    users = range(len(length))
    val = pd.DataFrame({"user": users, "item": split.val, "time": length})
    test = pd.DataFrame({"user": users, "item": split.test, "time": length + 1})
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    pd.concat([train, val, test]).to_csv(file, sep="\t", header=header, index=False)


class RecBolePeer:
    """A RecBole model on the train events."""

    library = "recbole"

    def __init__(self, args: Namespace) -> None:
        if args.measure == "quality":
            raise SystemExit("RecBole's quality is not measured: a pass over its rows takes hours")
        self.settings, self.seed, self.name = asked.settings(args), args.seed, args.model
        self.anomaly = not args.no_anomaly
        self.scratch = tempfile.TemporaryDirectory()
        self.notes: dict[str, Any] = {
            "rows": "every prefix of a sequence is a row",
            "evaluation": "seen items are not filtered for sequential models",
        }

    def prepare(self, path: Path) -> None:
        """Write the file in RecBole's format, then let it load, augment and split."""
        sys.argv = sys.argv[:1]  # RecBole would read the command line
        self.split = load_split(path)
        os.chdir(self.scratch.name)  # RecBole writes its logs into the working directory
        Path("events").mkdir()
        write_inter(self.split, Path("events/events.inter"))
        wanted = options(self.settings, self.name, self.seed)
        self.config = Config(model=MODELS[self.name], dataset="events", config_dict=wanted)
        init_seed(self.seed, reproducibility=False)
        dataset = create_dataset(self.config)
        self.train, self.val, _ = data_preparation(self.config, dataset)
        self.notes["training_rows"] = len(self.train._dataset)

    def fit(self, step: Step) -> None:
        """``Trainer.fit`` until there are enough steps."""
        self.model = get_model(self.config["model"])(self.config, self.train._dataset)
        if not self.anomaly:
            torch.autograd.set_detect_anomaly(False)
        self.notes["anomaly_mode"] = torch.is_anomaly_enabled()
        self.trainer = get_trainer(self.config["MODEL_TYPE"], self.config["model"])(
            self.config, self.model
        )
        loss: Callable[[Interaction], torch.Tensor] = self.model.calculate_loss
        batch = {}

        def counted(interaction: Interaction) -> torch.Tensor:
            rows = targets = len(interaction)
            if self.name == "bert4rec":  # its loss skips a mask at position 0
                targets = int((interaction[self.model.MASK_INDEX] > 0).sum())
            batch["size"] = rows, targets
            return loss(interaction)

        def stepped(*_: Any) -> None:
            if step(*batch["size"]):
                raise EnoughError

        self.model.calculate_loss = counted
        hook = self.trainer.optimizer.register_step_post_hook(stepped)
        try:
            self.trainer.fit(self.train, verbose=False, saved=False, show_progress=False)
        except EnoughError:
            hook.remove()

    def evaluate(self, users: int) -> dict[str, float]:
        """``Trainer.evaluate`` on the first users."""
        rows = self.val._dataset
        some = rows.copy(rows.inter_feat[:users])
        loader = FullSortEvalDataLoader(self.config, some, self.val._sampler)
        return dict(self.trainer.evaluate(loader, load_best_model=False))

    def scores(self) -> Iterable[torch.Tensor]:
        """Not measured."""
        raise NotImplementedError


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    run(RecBolePeer, __doc__, IMPORT_SECONDS)
