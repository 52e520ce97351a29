"""A model of clicks of lightning_rec: speed, or the way up to an AUC.

``--variant bare`` trains the same network in a loop without Lightning; ``--variant plain`` computes
by torch's own functions alone, ``--variant compiled`` by what torch.compile makes of them.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
import logging
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

from lightning_rec.commands.loading import loading

with loading():  # as the command line does
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from pytorch_lightning import Callback, seed_everything

    from benchmarks.clicks import asked
    from benchmarks.clicks.data import PARTS, Export, digest
    from benchmarks.clicks.export import columns
    from benchmarks.clicks.measure import run
    from benchmarks.harness.probe import Step, lightning_callback
    from lightning_rec import config, threads
    from lightning_rec.build import problem_of
    from lightning_rec.build.trainer import make_trainer
    from lightning_rec.data.clicks.batches import ClickSet
    from lightning_rec.data.core.module import DataModule
    from lightning_rec.data.fetch import cache_dir

IMPORT_SECONDS = record.since_start()
MEASURES = {
    "speed": ["callbacks=[]", "trainer.limit_val_batches=0"],
    "time": ["callbacks.early_stopping=null"],  # the rate falls all the same
}
VARIANTS = {
    None: [],
    "bare": [],
    "plain": ["task.arithmetic=plain"],
    "compiled": ["task.arithmetic=compiled"],
}


class Ours:
    """A model of lightning_rec on the rows of its own experiment."""

    library = "lightning_rec"

    def __init__(self, args: Namespace, data: Export) -> None:
        if args.measure not in MEASURES:
            raise SystemExit("our figures are those of experiments/clicks: train and record them")
        self.args, self.data = args, data
        self.bare, self.checked = args.variant == "bare", False
        self.notes: dict[str, Any] = {
            "variant": args.variant or "as it comes"
        } | threads.described()

    def prepare(self, seed: int) -> None:
        """Compose the experiment, load its rows, and see that they are the exported ones."""
        self.folder = Path(tempfile.mkdtemp())
        os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # each run compiles for itself
        wanted = asked.settings(self.data.meta, self.args)
        self.cfg = config.compose(
            [
                *self.data.meta["overrides"],
                f"model={self.args.model}",
                f"seed={seed}",
                f"batches.batch_size={wanted['batch_size']}",
                f"run_dir={self.folder}",
                "logger=csv",
                "trainer.max_epochs=100000",
                *MEASURES[self.args.measure],
                *VARIANTS[self.args.variant],
            ]
        )
        self.problem = problem_of(self.cfg)
        self.loaded = self.problem.load(cache_dir())

    def fit(self, step: Step | None) -> int:
        """Train as the command does, with what tells and stops the steps."""
        assert step is not None
        seed_everything(self.cfg.seed, verbose=False)
        self.module = self.problem.make_data(self.loaded)
        self.task = self.problem.make_task(self.loaded, self.module)
        trainer = make_trainer(self.cfg, self.folder, training=not self.bare)
        self.trainer = cast(Any, trainer)
        if self.bare:
            self._loop(step)
            return 0
        self.trainer.callbacks.append(lightning_callback(Callback, step, lambda b: (len(b.label),)))
        self.trainer.fit(self.task, DataModule(self.module))
        return int(self.trainer.current_epoch)

    def _loop(self, step: Step) -> None:
        """The same steps without Lightning, its logging and its validation."""
        task, loader = self.task.train(), self.module.loader("train")
        task.setup("fit")
        optimizer = task.make_optimizer(task.model.parameters())
        epoch, clip = 0, self.cfg.trainer.gradient_clip_val
        while True:
            loader.batch_sampler.set_epoch(epoch)
            for batch in loader:
                loss = task.training_loss(batch)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(task.parameters(), clip)
                optimizer.step()
                if step(len(batch.label)):
                    return
            epoch += 1

    def evaluate(self) -> dict[str, float]:
        """``validate`` of the trainer, with all its metrics."""
        self._check_rows()
        self.trainer.limit_val_batches = 1.0
        self.trainer.validate(self.task, DataModule(self.module), verbose=False)
        return {name: self.task.figures[f"val/{name}"] for name in ("auc", "logloss")}

    def probabilities(self, part: str) -> NDArray[np.float64]:
        """Those of the model as it stands."""
        self._check_rows()
        rows = ClickSet(self.loaded.data.encoded, part)
        size = self.cfg.batches.eval_batch_size
        training_still = self.task.training
        self.task.eval()
        with torch.no_grad():
            logits = [
                self.task.model(rows.__getitems__([*range(at, min(at + size, len(rows)))]).rows)
                for at in range(0, len(rows), size)
            ]
        self.task.train(training_still)
        return torch.sigmoid(torch.cat(logits).double()).numpy()

    def _check_rows(self) -> None:
        """Not before all is measured that depends on it, since it takes time; once."""
        if self.checked:
            return
        own = digest({part: columns(self.loaded.data.encoded, part) for part in PARTS})
        if own != self.data.meta["sha256"]:
            raise SystemExit("the experiment's rows are not the exported ones: export them again")
        self.checked = True


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run(Ours, Ours.library, __doc__, IMPORT_SECONDS)
