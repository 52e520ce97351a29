"""A model of FuxiCTR: figures on the test, speed, or the way up to an AUC.

Its models stand in the ``model_zoo`` of its repository, not in the package: ``--zoo`` says where a
clone has it. Whole batches come from memory, which is good enough for figures, or from a loader of
the library: ``--variant npz`` or ``--variant parquet``.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import importlib.util
import logging
import sys
import tempfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.torch_utils import seed_everything
from numpy.typing import NDArray

from benchmarks.clicks import asked
from benchmarks.clicks.data import LABEL, Batches, Export
from benchmarks.clicks.measure import run
from benchmarks.harness.probe import EnoughError, Step

IMPORT_SECONDS = record.since_start()
FILES = {
    "lr_sgd": ("LR", "LR/src/LR.py"),
    "fm": ("FM", "FM/src/FM.py"),
    "deepfm": ("DeepFM", "DeepFM/DeepFM_torch/src/DeepFM.py"),
    "dcnv2": ("DCNv2", "DCNv2/src/DCNv2.py"),
    "autoint": ("AutoInt", "AutoInt/src/AutoInt.py"),
    "finalmlp": ("FinalMLP", "FinalMLP/src/FinalMLP.py"),
}


def network(name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Our words for a model's size in FuxiCTR's."""
    words: dict[str, Callable[[], dict[str, Any]]] = {
        "lr_sgd": lambda: {},
        "fm": lambda: {},
        "deepfm": lambda: {"hidden_units": wanted["mlp"]},
        "dcnv2": lambda: {
            "model_structure": wanted["structure"],
            "num_cross_layers": wanted["depth"],
            "parallel_dnn_hidden_units": wanted["mlp"],
        },
        "autoint": lambda: {
            "dnn_hidden_units": wanted["mlp"],
            "attention_layers": wanted["depth"],
            "num_heads": wanted["heads"],
            "attention_dim": wanted["attention_dim"],
        },
        "finalmlp": lambda: {
            "mlp1_hidden_units": wanted["mlp"],
            "mlp2_hidden_units": wanted["mlp2"],
            "mlp1_dropout": wanted["dropout"],
            "mlp2_dropout": wanted["dropout2"],
            "mlp1_batch_norm": wanted["batch_norm"],
            "mlp2_batch_norm": wanted["batch_norm"],
            "use_fs": wanted["gated"],
            "fs_hidden_units": wanted["gate"],
            "num_heads": wanted["heads"],
        },
    }
    own = words[name]()
    if name in ("lr_sgd", "fm"):
        return own | {"regularizer": float(wanted["embedding_l2"])}
    deep = {"net_dropout": wanted.get("dropout"), "batch_norm": wanted.get("batch_norm")}
    return own | deep | {"embedding_regularizer": float(wanted["embedding_l2"])}


def feature_map(data: Export, dim: int) -> FeatureMap:
    """The fields as FuxiCTR describes them."""
    features: OrderedDict[str, dict[str, Any]] = OrderedDict()
    for field in data.meta["fields"]:
        spec = {"source": "", "type": "numeric", "vocab_size": field["size"]}
        if field["kind"] == "categorical":
            spec["type"] = "categorical"
        elif field["kind"] == "multi_valued":
            spec |= {"type": "sequence", "max_len": field["width"], "padding_idx": 0}
            spec["feature_encoder"] = "layers.MaskedAveragePooling()"
        features[field["name"]] = spec
    found = FeatureMap(data.meta["name"], str(data.folder))
    found.features, found.labels, found.default_emb_dim = features, [LABEL], dim
    found.num_fields = found.get_num_fields()
    found.set_column_index()
    return found


def model_class(zoo: Path, name: str) -> type:
    """The class of a model, from its file."""
    title, path = FILES[name]
    spec = importlib.util.spec_from_file_location(title, zoo / path)
    if spec is None or spec.loader is None or not (zoo / path).exists():
        raise SystemExit(f"{zoo / path} is not there: --zoo is model_zoo of a clone of FuxiCTR")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type = getattr(module, title)
    return found


class FuxiCTR:
    """A FuxiCTR model on the exported rows."""

    library = "fuxictr"

    def __init__(self, args: Namespace, data: Export) -> None:
        if args.zoo is None:
            raise SystemExit("--zoo is missing: FuxiCTR's package lacks its models")
        self.args, self.data = args, data
        self.wanted = asked.settings(data.meta, args)
        self.notes: dict[str, Any] = {
            "numbers": "their vectors begin at Xavier's normal distribution, not at N(0, 1e-4)",
            "lists": "their linear weights are summed, ours averaged",
            "loader": args.variant or "whole batches from memory",
        }

    def prepare(self, seed: int) -> None:
        """Seed, make the model and the loaders."""
        seed_everything(seed)
        dim = self.wanted.get("dim", 1)
        self.map = feature_map(self.data, dim)
        own = {"embedding_dim": dim} if "dim" in self.wanted else {}
        self.model = model_class(self.args.zoo, self.args.model)(
            self.map,
            learning_rate=self.wanted["lr"],
            optimizer="adam",
            loss="binary_crossentropy",
            monitor="AUC",
            early_stop_patience=self.wanted["patience"],
            metrics=["AUC", "logloss"],
            verbose=0,
            model_root=tempfile.mkdtemp(),
            **own,
            **network(self.args.model, self.wanted),
        )
        Path(self.model.model_dir).mkdir(parents=True, exist_ok=True)
        self.train, self.val = self._loaders(seed)

    def _loaders(self, seed: int) -> tuple[Any, Any]:
        size = self.wanted["batch_size"]
        if self.args.variant is None:
            parts = self.data.parts
            val = Batches(parts["val"], self.wanted["eval_batch_size"], None)
            return Batches(parts["train"], size, seed), val
        folder = self.data.folder
        if self.args.variant == "parquet":
            folder = self._as_parquet()
        return RankDataLoader(
            self.map,
            stage="train",
            train_data=str(folder / f"train.{self.args.variant}"),
            valid_data=str(folder / f"val.{self.args.variant}"),
            batch_size=size,
            shuffle=True,
            data_format=self.args.variant,
        )

    def _as_parquet(self) -> Path:
        import polars as pl

        folder = Path(tempfile.mkdtemp())
        for part, columns in self.data.parts.items():
            pl.DataFrame(columns).write_parquet(folder / f"{part}.parquet")
        return folder

    def fit(self, step: Step | None) -> int:
        """``fit`` of the model, with its plateau, its clipping and its early stopping."""
        if step is not None:
            self.model._early_stop_patience = self.wanted["max_epochs"]
            once = self.model.train_step

            def counted(batch: dict[str, torch.Tensor]) -> torch.Tensor:
                loss: torch.Tensor = once(batch)
                if step(len(batch[LABEL])):
                    raise EnoughError
                return loss

            self.model.train_step = counted
        if self.args.measure == "speed":
            self.model._eval_steps = sys.maxsize  # no validation
        self.model.fit(
            self.train,
            epochs=self.wanted["max_epochs"],
            validation_data=self.val,
            max_gradient_norm=self.wanted["clip"],
        )
        return int(self.model._epoch_index) + 1

    def evaluate(self) -> dict[str, float]:
        """``evaluate`` of the model."""
        return {name: float(value) for name, value in self.model.evaluate(self.val).items()}

    def probabilities(self, part: str) -> NDArray[np.float64]:
        """``predict`` of the model."""
        still = self.model.training
        rows = Batches(self.data.parts[part], self.wanted["eval_batch_size"], None)
        found: NDArray[np.float64] = self.model.predict(rows)
        self.model.train(still)
        return found


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    run(FuxiCTR, FuxiCTR.library, __doc__, IMPORT_SECONDS)
