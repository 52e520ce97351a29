"""A model of torch-rechub: figures on the test, speed, or the way up to an AUC.

For figures whole batches come from memory; else from the library's own data set and loader. Its
trainer has no callbacks: steps are told by a hook of its optimizer, an exception ends the fit.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import contextlib
import io
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.ranking import AutoInt, DCNv2, DeepFM
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

from benchmarks.clicks import asked
from benchmarks.clicks.data import LABEL, Batches, Columns, Export
from benchmarks.clicks.measure import run
from benchmarks.harness.probe import EnoughError, Step

IMPORT_SECONDS = record.since_start()


class Pairs:
    """Batches as the trainer takes them: columns, and the label apart."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        for batch in self.batches:
            yield batch, batch.pop(LABEL)


def model_of(name: str, data: Export, wanted: dict[str, Any]) -> torch.nn.Module:
    """The model over the exported fields."""
    dim, mlp = wanted["dim"], {"dims": wanted["mlp"], "dropout": wanted["dropout"]}
    vectors = [
        SparseFeature(field["name"], field["size"], embed_dim=dim)
        for field in data.of("categorical")
    ] + [
        SequenceFeature(field["name"], field["size"], embed_dim=dim, padding_idx=0)
        for field in data.of("multi_valued")
    ]
    numbers = [DenseFeature(field["name"]) for field in data.of("numeric")]
    if name == "deepfm":
        return DeepFM(vectors + numbers, vectors, mlp)
    if name == "dcnv2":
        return DCNv2(
            vectors + numbers, wanted["depth"], mlp, wanted["structure"], use_low_rank_mixture=False
        )
    if name == "autoint":
        return AutoInt(vectors, numbers, wanted["depth"], wanted["heads"], wanted["dropout"], mlp)
    raise SystemExit(f"torch-rechub has no {name}")


class RecHub:
    """A torch-rechub model on the exported rows."""

    library = "torch-rechub"

    def __init__(self, args: Namespace, data: Export) -> None:
        self.args, self.data = args, data
        self.wanted = asked.settings(data.meta, args)
        self.notes: dict[str, Any] = {
            "numbers": "have no vector and no part in FM; they join the network as they are",
            "linear part": "a map of the vectors, without weights of its own",
            "rate": "constant: its trainer knows no schedule that watches a figure",
            "clipping": "none",
            "initial values": "torch's own for linear maps",
            "AutoInt": "attention as wide as the vectors, scores scaled",
        }

    def prepare(self, seed: int) -> None:
        """Seed, make the model, the trainer and the loaders."""
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the library draws from the old generator
        self.trainer = CTRTrainer(
            model_of(self.args.model, self.data, self.wanted),
            optimizer_params={"lr": self.wanted["lr"]},
            # Ours and FuxiCTR's have half of it.
            regularization_params={"embedding_l2": self.wanted["embedding_l2"] / 2},
            n_epoch=self.wanted["max_epochs"],
            earlystop_patience=self.wanted["patience"],
            model_path=tempfile.mkdtemp(),
        )
        parts, size = self.data.parts, self.wanted["batch_size"]
        if self.args.measure == "parity":
            self.train = Pairs(Batches(parts["train"], size, seed))
            self.val = Pairs(Batches(parts["val"], self.wanted["eval_batch_size"], None))
            return
        self.train, self.val, _ = DataGenerator(*_split(parts["train"])).generate_dataloader(
            *_split(parts["val"]), *_split(parts["test"]), batch_size=size
        )

    def fit(self, step: Step | None) -> int:
        """``fit`` of the trainer; its best weights are kept only if it stops by itself."""
        if step is not None:
            self.trainer.early_stopper.patience = self.wanted["max_epochs"]
            rows = {"batch": 0}
            self.trainer.model.register_forward_pre_hook(
                lambda _, given: rows.update(batch=len(next(iter(given[0].values()))))
            )

            def stepped(*_: Any) -> None:
                if step(rows["batch"]):
                    raise EnoughError

            self.trainer.optimizer.register_step_post_hook(stepped)
        epochs = _Epochs(self.trainer)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.trainer.fit(self.train, None if self.args.measure == "speed" else self.val)
        self.trainer.model.load_state_dict(self.trainer.early_stopper.best_weights)
        return epochs.count

    def evaluate(self) -> dict[str, float]:
        """``evaluate`` of the trainer."""
        with contextlib.redirect_stderr(io.StringIO()):
            return {"auc": float(self.trainer.evaluate(self.trainer.model, self.val))}

    def probabilities(self, part: str) -> NDArray[np.float64]:
        """``predict`` of the trainer."""
        still = self.trainer.model.training
        rows = Pairs(Batches(self.data.parts[part], self.wanted["eval_batch_size"], None))
        with contextlib.redirect_stderr(io.StringIO()):
            found = np.array(self.trainer.predict(self.trainer.model, rows))
        self.trainer.model.train(still)
        return found


class _Epochs:
    """Counts the epochs of a trainer."""

    def __init__(self, trainer: CTRTrainer) -> None:
        self.count, self.once = 0, trainer.train_one_epoch
        trainer.train_one_epoch = self

    def __call__(self, *given: Any) -> Any:
        self.count += 1
        return self.once(*given)


def _split(columns: Columns) -> tuple[Columns, NDArray[Any]]:
    return {name: of for name, of in columns.items() if name != LABEL}, columns[LABEL]


if __name__ == "__main__":
    run(RecHub, RecHub.library, __doc__, IMPORT_SECONDS)
