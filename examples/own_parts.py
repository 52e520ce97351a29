# %% [markdown]
# # A model, a loss and a metric of your own
#
# Each is a class or a function in any module that Python can import, and a YAML that names it. Both are written into the
# present folder here; `--config-dir my_conf` finds the YAML. No file of the package is touched.

# %%
import os
import random
import subprocess
import sys
from pathlib import Path

import polars as pl

from lightning_rec.lab import compare

LOG, FOLDER, RUNS = Path("parts.csv"), Path("my_conf"), Path("runs/own_parts")


def write(path: str, text: str) -> None:
    """A file of this example."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def lightning_rec(*arguments: str) -> None:
    """The command line, as in a terminal; `PYTHONPATH` is for modules that are not installed."""
    found = os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "lightning_rec", *arguments]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": found})


# %% [markdown]
# ## The model
#
# A query for each place asked about; the score of an item is its inner product with the item's vector. Shapes: B
# histories of length L, M places, V items. The YAML gives every argument a value, and brings objective and loss along.

# %%
write(
    "my_parts/bag.py",
    '''"""A bag of items: the next item is scored by the mean of the items so far."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_rec.data.split import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.layers import gather


class BagOfItems(InnerProduct):
    """Order plays no part: a query is the mean of the items up to its place."""

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)

    def __init__(self, schema: Schema, dim: int = 64) -> None:
        super().__init__(schema)
        self.item = nn.Embedding(schema.num_items + 1, dim, padding_idx=schema.padding)
        self.output = nn.Embedding(schema.num_items, dim)
        for table in (self.item, self.output):  # torch draws from N(0, 1): scores far too large
            table.weight.data *= 0.02

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, dim] at the places asked about: bool [B, L] or int64 [B]."""
        total = self.item(histories.items).cumsum(dim=1)  # [B, L, dim]
        number = torch.arange(1, total.shape[1] + 1, device=total.device)
        return gather(total / number[:, None], positions)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors of some items, int64 [n], or of all: a score is query times vector."""
        return ItemVectors(self.output.weight if items is None else self.output(items), None)
''',
)
write(
    "my_conf/model/bag.yaml",
    """defaults:
  - _self_
  - override /objective@_global_.objective: next_item
  - override /loss@_global_.loss: full_softmax

_target_: my_parts.bag.BagOfItems
dim: 16
""",
)

# %% [markdown]
# ## The loss
#
# It says what it is a loss of (`kind`), is given the model and M predictions, and returns a value for each target; the
# mean, and weights per target, are made of them.

# %%
write(
    "my_parts/smooth.py",
    '''"""Cross-entropy with label smoothing (Szegedy et al., CVPR 2016) over the whole catalogue."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from lightning_rec.losses.base import Loss, Predictions
from lightning_rec.models.base import SequenceModel


class SmoothedSoftmax(Loss):
    """A share of ``smoothing`` of the target is spread over all items."""

    kind: ClassVar[str] = "sequences"

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing

    def per_target(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Float [M]."""
        scores = model.scores(predictions.queries)  # [M, V]
        return F.cross_entropy(
            scores, predictions.targets, label_smoothing=self.smoothing, reduction="none"
        )
''',
)
write("my_conf/loss/smooth.yaml", "_target_: my_parts.smooth.SmoothedSoftmax\nsmoothing: 0.1\n")

# %% [markdown]
# ## The metric
#
# What it takes is known by the names of its parameters: here the rank of each example's target, 0 for a miss. It gives a
# number for each example, of which the figure is the mean.

# %%
write(
    "my_parts/rbp.py",
    '''"""Rank-biased precision (Moffat and Zobel, TOIS 2008)."""

from torch import Tensor


def rbp(rank: Tensor, p: float = 0.8) -> Tensor:
    """Of a single target: (1 - p) p^(rank - 1). Rank 0 is a miss."""
    return (1 - p) * p ** (rank - 1.0) * (rank > 0)
''',
)
write(
    "my_conf/metrics/rbp.yaml",
    "rbp:\n  _target_: my_parts.rbp.rbp\n  p: 0.8\n  figure: {better: max, title: RBP}\n",
)

# %% [markdown]
# ## All three
#
# A sweep over both losses and three seeds, with the new figure beside those that are always measured: one seed says
# little of a difference, so `compare` gives means and intervals. The log is made up.

# %%
if not LOG.exists():
    chance = random.Random(1)
    events = []
    for user in range(80):
        item = chance.randrange(40)
        for step in range(chance.randint(12, 20)):
            item = chance.randrange(3) if chance.random() < 0.1 else (item + 7) % 40
            events.append((f"u{user:02d}", f"i{item:02d}", 1_700_000_000 + 3600 * step + user))
    pl.DataFrame(events, ["user", "item", "time"], orient="row").write_csv(LOG)
lightning_rec(
    "train",
    "--config-dir",
    str(FOLDER),
    "-m",
    "model=bag",
    "loss=full_softmax,smooth",
    "seed=1,2,3",
    "metrics=[default,rbp]",
    "data=table",
    f"data.path={LOG}",
    "data.user=user",
    "data.item=item",
    "data.time=time",
    "protocol.cutoffs=[1,5,10]",
    "batches.batch_size=16",
    "trainer.max_epochs=8",
    "trainer.check_val_every_n_epoch=1",
    "logger=csv",
    f"run_dir={RUNS}",
)
print(compare(RUNS, figures=["test/rbp", "test/ndcg@10"], baseline="loss=full_softmax"))
