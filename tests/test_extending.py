"""What a newcomer adds takes its file and its YAML, and no change of the package.

Each toy is written as a user would, into a module and a config folder of his own, and run by the
command line.
"""

import json
from pathlib import Path

import pytest

from lightning_rec import cli, evaluate, load_run
from lightning_rec.errors import UserError

LOG = ["data=table", "data.user=user", "data.item=item", "data.time=time"]
QUICK = [
    "trainer=cpu",
    "logger=none",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
    "protocol.cutoffs=[1,5,10]",
]

TOYS: dict[str, dict[str, str]] = {
    "loss": {
        "toys_loss.py": '''
"""A loss of sequences."""

from typing import ClassVar

import torch

from lightning_rec.losses.base import Loss


class Hinge(Loss):
    """The target should score above the mean of the catalogue by 1."""

    kind: ClassVar[str] = "sequences"

    def per_target(self, model, predictions):
        """Float [M]."""
        scores = model.scores(predictions.queries)
        own = scores.gather(1, predictions.targets[:, None])[:, 0]
        return torch.relu(1 + scores.mean(dim=1) - own)
''',
        "conf/loss/hinge.yaml": "_target_: toys_loss.Hinge\n",
    },
    "method": {
        "toys_method.py": '''
"""Adversarial training: the loss once more, on weights that are moved to where it is higher."""

import torch

from lightning_rec.methods.base import Method


class Adversarial(Method):
    """FGM (Miyato et al., ICLR 2017) on the table of items.

    Args:
        epsilon: length of the perturbation.
    """

    def __init__(self, epsilon: float = 0.1) -> None:
        self.epsilon = epsilon

    def step(self, task, batch, batch_idx):
        """The loss, and that under the perturbation."""
        table = max(task.model.parameters(), key=lambda weight: weight.numel())
        plain = task.training_loss(batch)
        (gradient,) = torch.autograd.grad(plain, table, retain_graph=True)
        moved = self.epsilon * gradient / gradient.norm().clamp(min=1e-12)
        with torch.no_grad():
            table.add_(moved)
        other = task.training_loss(batch)
        with torch.no_grad():
            table.sub_(moved)
        return plain.detach() * 0 + other
''',
        "conf/method/adversarial.yaml": "_target_: toys_method.Adversarial\nepsilon: 0.1\n",
    },
    "model": {
        "toys_model.py": '''
"""A model of sequences."""

from typing import ClassVar

from torch import nn

from lightning_rec.models.base import InnerProduct, ItemVectors


class Bag(InnerProduct):
    """The mean of the items so far."""

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)

    def __init__(self, schema, dim: int = 8) -> None:
        super().__init__(schema)
        self.item = nn.Embedding(schema.num_items + 1, dim, padding_idx=schema.padding)
        self.output = nn.Embedding(schema.num_items, dim)

    def forward(self, histories, positions):
        """Float [M, dim]."""
        from lightning_rec.models.layers import gather

        return gather(self.item(histories.items).cumsum(dim=1), positions)

    def vectors(self, items=None):
        """A vector of each item."""
        return ItemVectors(self.output.weight if items is None else self.output(items), None)
''',
        "conf/model/bag.yaml": """
defaults:
  - _self_
  - override /objective@_global_.objective: next_item
  - override /loss@_global_.loss: full_softmax

_target_: toys_model.Bag
dim: 8
""",
    },
}

TOYS["turns"] = {
    "toys_turns.py": '''
"""Two optimizers that take turns."""

from lightning_rec.methods.base import Method


class Turns(Method):
    """The item table in even steps, all else in odd ones."""

    automatic = False

    def optimizers(self, task):
        """One for the item table, one for all else."""
        items = list(task.model.item.parameters())
        known = {id(weight) for weight in items}
        others = [each for each in task.model.parameters() if id(each) not in known]
        return [task.make_optimizer(items), task.make_optimizer(others)]

    def step(self, task, batch, batch_idx):
        """A step of one of them."""
        optimizer = task.optimizers()[batch_idx % 2]
        loss = task.training_loss(batch)
        optimizer.zero_grad()
        task.manual_backward(loss)
        optimizer.step()
        return loss
''',
    "conf/method/turns.yaml": "_target_: toys_turns.Turns\n",
}
TOYS["problem"] = {
    "toys_problem.py": '''
"""How long a history is, told by its items: a problem of its own."""

from typing import ClassVar

import torch
from torch import nn

from lightning_rec.data.batches import SequenceData
from lightning_rec.data.pipeline import load
from lightning_rec.data.split import Schema
from lightning_rec.losses.base import Loss
from lightning_rec.metrics.words import WordMetrics
from lightning_rec.problems.base import Problem
from lightning_rec.tasks.steps import Steps


class Length(nn.Module):
    """A number for each history."""

    kind: ClassVar[str] = "lengths"

    def __init__(self, schema, dim: int = 4) -> None:
        super().__init__()
        self.schema = schema
        self.item = nn.Embedding(schema.num_items + 1, dim, padding_idx=schema.padding)
        self.out = nn.Linear(dim, 1)

    def forward(self, items):
        """Float [B]."""
        return self.out(self.item(items).sum(dim=1))[:, 0]


class SquaredError(Loss):
    """Squared distance."""

    kind: ClassVar[str] = "lengths"

    def per_target(self, model, predictions):
        """Float [B]."""
        return (predictions[0] - predictions[1]).square()


class LengthSteps(Steps):
    """Learns lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.errors = []

    def told(self, task, histories):
        """Predictions and targets."""
        return task.model(histories.items), (histories.items != task.model.schema.padding).sum(1)

    def loss_of(self, task, batch):
        """Mean squared error."""
        return task.loss(task.model, self.told(task, batch.histories))

    def evaluate(self, task, batch, stage):
        """Keep errors."""
        predicted, target = self.told(task, batch.histories)
        self.errors.append((predicted - target).square())

    def figures(self, task, stage):
        """Mean squared error."""
        errors, self.errors = torch.cat(self.errors), []
        return {"loss": errors.mean()}


class Lengths(Problem):
    """Learn how long a history is."""

    name: ClassVar = "length"
    takes: ClassVar = {
        "data": ("interactions",), "protocol": ("interactions",), "model": ("lengths",),
        "loss": ("lengths",),
    }
    batches: ClassVar = SequenceData
    metric: ClassVar = WordMetrics

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        with torch.device("meta"):
            self.meta_model = self._build("model", schema=Schema(9, 5, 9))
        self.check()

    def known_figures(self):
        """That of validation."""
        return ["val/loss"]

    def load(self, cache):
        """As sequences are."""
        return load(self.source, self.protocol, cache)

    def make_data(self, loaded):
        """Windows."""
        live = {"window": lambda number: number, "candidates": None, "seed": 1}
        return self._build("batches", split=loaded.data.split, **live)

    def make_task(self, loaded, data):
        """Over a new model."""
        model = self._build("model", schema=data.schema)
        return self.task(LengthSteps(), model, self.make_loss())

    def make_baseline(self, loaded, data):
        """None."""
        return None

    def tables(self, task, loaded):
        """None."""
        return {}

    def described(self):
        """Its model."""
        return {"model": "Length"}
''',
    "conf/task/length.yaml": """
# @package _global_
defaults:
  - override /objective: null
  - override /item: null
  - override /loss: squared

task:
  _target_: toys_problem.Lengths

monitor: val/loss
monitor_mode: ${direction:${monitor}}
patience: 2
baseline: null
""",
    "conf/model/length.yaml": """
defaults:
  - _self_
  - override /task@_global_.task: length

_target_: toys_problem.Length
dim: 4
""",
    "conf/metrics/of/length.yaml": "# None of the package's.\n{}\n",
    "conf/loss/squared.yaml": "_target_: toys_problem.SquaredError\n",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, importable, with a log."""
    lines = [f"{user},{(user * 3 + t) % 20},{t}" for user in range(30) for t in range(8)]
    (tmp_path / "log.csv").write_text("user,item,time\n" + "\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(home: Path, name: str, *overrides: str) -> dict[str, float]:
    """The figures of a run with a toy that is written first."""
    for path, text in TOYS[name].items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip(), encoding="utf-8")
    run = [f"data.path={home / 'log.csv'}", f"run_dir={home / 'run'}"]
    config = ["--config-dir", str(home / "conf")]
    assert cli.run(["train", *config, *LOG, *QUICK, *run, *overrides]) == 0
    figures: dict[str, float] = json.loads((home / "run" / "metrics.json").read_text())
    return figures


CHOICES: dict[str, list[str]] = {
    "loss": ["model=sasrec", "model.dim=16", "loss=hinge"],
    "method": ["model=sasrec", "model.dim=16", "method=adversarial"],
    "model": ["model=bag"],
    "turns": [
        "model=sasrec",
        "model.dim=16",
        "method=turns",
        *[f"trainer.{each}" for each in ("gradient_clip_val=null",)],
    ],
    "problem": ["model=length"],
}
FILES = {"problem": 5}  # its own module, and a YAML for each of its parts


@pytest.mark.parametrize("name", list(TOYS))
def test_a_toy_takes_its_file_and_its_yaml(home: Path, name: str) -> None:
    figures = train(home, name, *CHOICES[name])
    assert {"test/ndcg@10", "test/loss"} & set(figures)
    assert len(TOYS[name]) == FILES.get(name, 2)


def test_a_run_of_ones_own_model_is_opened_from_python_with_trust(home: Path) -> None:
    figures = train(home, "model", *CHOICES["model"])
    for ask in (load_run, evaluate):
        with pytest.raises(UserError, match=r"--trust toys_model, .*trust='toys_model'\)"):
            ask(home / "run")
    assert evaluate(home / "run", trust="toys_model")["test/mrr"] == figures["test/mrr"]
    assert len(load_run(home / "run", trust=["toys_model"]).recommend([[1, 4]], k=3)) == 3
    with pytest.raises(UserError, match="--trust toys_model"):
        load_run(home / "run")  # trust ends with the call
    with pytest.raises(UserError, match="no module no_such_module"):
        load_run(home / "run", trust=["toys_model", "no_such_module"])


def test_a_method_changes_what_is_learnt(home: Path) -> None:
    moved = train(home, "method", *CHOICES["method"])
    (home / "run").rename(home / "first")
    plain = train(home, "method", "model=sasrec", "model.dim=16")
    assert moved != plain


def test_a_method_that_steps_by_itself_is_not_clipped_from_outside(home: Path) -> None:
    with pytest.raises(
        UserError, match=r"Turns steps its optimizers itself.*gradient_clip_val=null"
    ):
        train(home, "turns", *CHOICES["turns"], "trainer.gradient_clip_val=1.0")


def test_a_source_says_its_kind(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (home / "toys_source.py").write_text("class Shop:\n    kind = 'baskets'\n")
    (home / "conf" / "data").mkdir(parents=True)
    (home / "conf" / "data" / "shop.yaml").write_text("_target_: toys_source.Shop\n")
    folder = ["--config-dir", str(home / "conf")]
    assert cli.run(["data", *folder]) == 0
    assert "your own data" in capfd.readouterr().out
    with pytest.raises(UserError, match=r"toys_source\.Shop has kind 'baskets', but has to say"):
        cli.run(["data", *folder, "name=shop"])
