"""SASRec or BERT4Rec of lightning_rec: speed, or quality over training time.

``--variant`` changes one thing: ``bare`` trains the same network in a loop without Lightning,
``plain`` computes by torch's own functions alone, ``whole`` encodes a batch as one block,
``attention-kept`` drops no attention weights, ``bf16`` computes products in 16 bits.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lightning_rec.commands.loading import loading

with loading():  # as the command line does
    import torch
    from pytorch_lightning import Callback, seed_everything

    from benchmarks.harness.probe import Step, lightning_callback
    from benchmarks.sequences import asked
    from benchmarks.sequences.data import load_split
    from benchmarks.sequences.measure import run
    from lightning_rec import config, threads
    from lightning_rec.build import problem_of
    from lightning_rec.build.trainer import make_trainer
    from lightning_rec.data.batches import EvalSet
    from lightning_rec.data.core.module import DataModule
    from lightning_rec.data.pipeline import load
    from lightning_rec.data.split import Histories, Schema
    from lightning_rec.objectives.base import Objective, QueryInputs, TrainingInputs

IMPORT_SECONDS = record.since_start()
VARIANTS = {
    "bare": [],
    "plain": ["task.arithmetic=plain"],
    "whole": ["task.block_tokens=1000000000"],
    "attention-kept": ["model.attention_dropout=0"],
    "bf16": ["trainer.precision=bf16-mixed"],
}


class Counted:
    """An objective that remembers how many rows and targets it last trained on."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.name, self.window = objective, objective.name, objective.window
        self.rows = self.targets = 0

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """What is trained on, counted."""
        inputs = self.objective.training_inputs(histories, schema)
        self.rows, self.targets = len(inputs.positions), len(inputs.targets)
        return inputs

    def query_inputs(self, histories: Histories, schema: Schema) -> QueryInputs:
        """What is asked."""
        return self.objective.query_inputs(histories, schema)


class Ours:
    """A model of lightning_rec on the train events."""

    library = "lightning_rec"

    def __init__(self, args: argparse.Namespace, variant: str | None) -> None:
        wanted = asked.settings(args)
        self.bare = variant == "bare"
        self.users = wanted["eval_batch_size"]
        self.folder = Path(tempfile.mkdtemp())
        self.cfg = config.compose(
            [
                f"experiment={args.model}_ml1m",
                f"seed={args.seed}",
                f"model.dropout={wanted['dropout']}",
                f"model.attention_dropout={wanted['dropout']}",
                f"model.heads={wanted['heads']}",
                f"batches.max_len={wanted['max_len']}",
                f"batches.batch_size={wanted['batch_size']}",
                f"batches.eval_batch_size={self.users}",
                f"run_dir={self.folder}",
                f"trainer.accelerator={args.accelerator}",
                "schedule.warmup=0",
                "schedule.decay=none",
                "callbacks=[]",
                "logger=csv",
                "trainer.max_epochs=100000",
                "trainer.limit_val_batches=0",
                "trainer.gradient_clip_val=null",
                *VARIANTS.get(variant or "", []),
            ]
        )
        self.notes: dict[str, Any] = {"variant": variant or "as it comes"} | threads.described()

    def prepare(self, path: Path) -> None:
        """Prepare, split and audit the raw file, into an empty cache."""
        seed_everything(self.cfg.seed, verbose=False)
        os.environ["LIGHTNING_REC_DATA"] = str(path.parent)
        self.parts = cast(Any, problem_of(self.cfg))
        self.loaded = load(self.parts.source, self.parts.protocol, self.folder / "cache")
        self.path = path

    @property
    def split(self) -> Any:
        """The split that every library is held to; made after ours, and not in its time."""
        if not hasattr(self, "_split"):
            self._split = load_split(self.path)
        return self._split

    def fit(self, step: Step) -> None:
        """Train as ``lightning-rec train`` does, with its CSV log."""
        self.data = self.parts.make_data(self.loaded)
        self.task: Any = self.parts.make_task(self.loaded, self.data)
        counted = self.task.objective = Counted(self.task.objective)
        if self.bare:
            self._loop(step, counted)
            return
        callback = lightning_callback(Callback, step, lambda _: (counted.rows, counted.targets))
        self.trainer = cast(Any, make_trainer(self.cfg, self.folder))
        self.trainer.callbacks.append(callback)
        self.trainer.fit(self.task, DataModule(self.data))

    def _loop(self, step: Step, counted: Counted) -> None:
        """The same steps without Lightning and its logging."""
        task, loader = self.task.train(), self.data.loader("train")
        task.setup("fit")
        optimizer = task.make_optimizer(task.model.parameters())
        epoch = 0
        while True:
            loader.batch_sampler.set_epoch(epoch)
            for batch in loader:
                loss = task.training_loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if step(counted.rows, counted.targets):
                    return
            epoch += 1

    def evaluate(self, users: int) -> dict[str, float]:
        """``validate`` of the trainer, with all its metrics."""
        batches = -(-users // self.users)
        self.cfg.trainer.limit_val_batches = batches
        trainer = make_trainer(self.cfg, self.folder, training=False)
        trainer.validate(self.task, DataModule(self.data), verbose=False)
        return {name: self.task.figures[f"val/{name}"] for name in ("recall@10", "ndcg@10")}

    @torch.no_grad()
    def scores(self) -> Iterator[torch.Tensor]:
        """Scores of every user, items in the order of the common split."""
        split, task = self.loaded.data.split, self.task
        items = self.loaded.data.log.items["item"].gather(split.vocabulary.tolist())
        column = torch.from_numpy(items.cast(int).to_numpy() - 1)  # the file counts from 1
        examples = EvalSet(split, split.val, task.model.schema)
        task.eval()
        for start in range(0, len(examples), self.users):
            batch = examples.__getitems__(
                list(range(start, min(start + self.users, len(examples))))
            )
            scores = task.model.scores(task.steps.encode(task, batch.histories))
            in_order = torch.full((len(scores), self.split.n_items), -torch.inf)
            in_order[(batch.example - start)[:, None], column[None]] = scores
            yield in_order
        task.train()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--variant", choices=sorted(VARIANTS), default=None)
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    run(lambda args: Ours(args, own.variant), __doc__, IMPORT_SECONDS)


if __name__ == "__main__":
    main()
