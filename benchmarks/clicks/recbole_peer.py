"""A model of RecBole: speed, or the way up to an AUC.

Its trainer has no callbacks: steps are told by a hook of its optimizer, and the fit is left by an
exception. Figures of the test are not compared: it has neither the penalty nor the schedule.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import os
import sys
import tempfile
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

from benchmarks.clicks import asked
from benchmarks.clicks.data import LABEL, PARTS, Export
from benchmarks.clicks.measure import run
from benchmarks.harness.probe import EnoughError, Step

IMPORT_SECONDS = record.since_start()
MODELS = {"lr_sgd": "LR", "fm": "FM", "deepfm": "DeepFM", "dcnv2": "DCNV2", "autoint": "AutoInt"}
TYPES = {"categorical": "token", "multi_valued": "token_seq", "numeric": "float"}
FILES = {"train": "train", "val": "valid", "test": "test"}


def options(wanted: dict[str, Any], data: Export, seed: int) -> dict[str, Any]:
    """The configuration of RecBole."""
    depth = wanted.get("depth", 1)
    return {
        "seed": seed,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "data_path": ".",
        "benchmark_filename": list(FILES.values()),
        "load_col": {"inter": [field["name"] for field in data.meta["fields"]] + [LABEL]},
        "USER_ID_FIELD": "user",
        "ITEM_ID_FIELD": "item",
        "LABEL_FIELD": LABEL,
        "numerical_features": [field["name"] for field in data.of("numeric")],
        "train_neg_sample_args": None,
        "eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "metric_decimal_place": 6,
        "embedding_size": wanted.get("dim", 1),
        "mlp_hidden_size": wanted.get("mlp"),
        "dropout_prob": wanted.get("dropout"),
        "dropout_probs": [wanted.get("dropout")] * 3,
        "structure": wanted.get("structure"),
        "cross_layer_num": depth,
        "mixed": False,
        "reg_weight": 0.0,
        "n_layers": depth,
        "num_heads": wanted.get("heads"),
        "attention_size": wanted.get("attention_dim"),
        "learner": "adam",
        "learning_rate": wanted["lr"],
        "clip_grad_norm": {"max_norm": wanted["clip"]},
        "train_batch_size": wanted["batch_size"],
        "eval_batch_size": wanted["eval_batch_size"],
        "epochs": 1000,
        "stopping_step": 1000,
    }


def write_inter(data: Export, folder: Path) -> None:
    """RecBole's own format: a file a part; the values of a list in one cell."""
    folder.mkdir()
    kinds = {field["name"]: TYPES[field["kind"]] for field in data.meta["fields"]}
    for part in PARTS:
        table = {}
        for name, values in data.parts[part].items():
            if values.ndim > 1:
                lists = pd.DataFrame(values).astype(str).replace("0", "")
                table[f"{name}:token_seq"] = lists.agg(" ".join, axis=1).str.split().str.join(" ")
            else:
                table[f"{name}:{kinds.get(name, 'float')}"] = values
        file = folder / f"{folder.name}.{FILES[part]}.inter"
        pd.DataFrame(table).to_csv(file, sep="\t", index=False)


class RecBole:
    """A RecBole model on the exported rows."""

    library = "recbole"

    def __init__(self, args: Namespace, data: Export) -> None:
        self.args, self.data = args, data
        self.wanted = asked.settings(data.meta, args)
        self.notes: dict[str, Any] = {
            "penalty": "none: it knows only that of the optimizer",
            "rate": "constant",
            "initial values": "Xavier's normal distribution for vectors too",
            "batch norm": "none but in DCN-V2",
            "vocabulary": "of all parts together",
        }

    def prepare(self, seed: int) -> None:
        """Write the rows in RecBole's format, let it load and encode them, make the model."""
        sys.argv = sys.argv[:1]  # RecBole would read the command line
        os.chdir(tempfile.mkdtemp())  # RecBole writes its logs into the working directory
        write_inter(self.data, Path("clicks"))
        wanted = options(self.wanted, self.data, seed)
        config = Config(model=MODELS[self.args.model], dataset="clicks", config_dict=wanted)
        init_seed(seed, reproducibility=False)
        self.train, self.val, _ = data_preparation(config, create_dataset(config))
        self.model = get_model(config["model"])(config, self.train._dataset)
        self.trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, self.model)

    def fit(self, step: Step | None) -> int:
        """``Trainer.fit`` until there is enough."""
        if step is None:
            raise SystemExit("RecBole's figures are not compared: it has no plateau, no penalty")
        loss, batch = self.model.calculate_loss, {"rows": 0}

        def counted(rows: Interaction) -> torch.Tensor:
            batch["rows"] = len(rows)
            result: torch.Tensor = loss(rows)
            return result

        def stepped(*_: Any) -> None:
            if step(batch["rows"]):
                raise EnoughError

        self.model.calculate_loss = counted
        self.hook = self.trainer.optimizer.register_step_post_hook(stepped)
        val = None if self.args.measure == "speed" else self.val
        self.trainer.fit(self.train, val, verbose=False, saved=False, show_progress=False)
        return int(self.trainer.epochs)

    def evaluate(self) -> dict[str, float]:
        """``Trainer.evaluate``."""
        return dict(self.trainer.evaluate(self.val, load_best_model=False))

    @torch.no_grad()
    def probabilities(self, part: str) -> NDArray[np.float64]:
        """``predict`` of the model, for validation alone."""
        assert part == "val"
        still = self.model.training
        self.model.eval()
        rows = self.val._dataset.inter_feat
        size = self.wanted["eval_batch_size"]
        found = [
            self.model.predict(rows[at : min(at + size, len(rows))])
            for at in range(0, len(rows), size)
        ]
        self.model.train(still)
        return torch.cat(found).double().numpy()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    run(RecBole, RecBole.library, __doc__, IMPORT_SECONDS)
