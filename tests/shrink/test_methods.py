"""Runs that learn from another run, or go on without a part of it, are runs like any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.data.split import Histories, Schema
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.methods.distil import Distil
from lightning_rec.methods.prune import masks
from lightning_rec.models.sequential.bert4rec import BERT4Rec
from lightning_rec.models.sequential.sasrec import SASRec
from lightning_rec.shrink.compact import compacted

Run = Callable[[str], Path]
Train = Callable[..., Path]


@pytest.fixture
def train(log_csv: Path, click_csv: Path, tmp_path: Path) -> Train:
    """``train(model, …)``: the folder of a run on the data of ``trained``."""

    def make(model: str, *overrides: str) -> Path:
        log = [
            "data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts",
            "protocol.drop_doubled=false", "batches.max_len=10",
        ]  # fmt: skip
        quick = ["logger=none", "trainer=cpu", "trainer.max_epochs=1", "baseline=null"]
        run = tmp_path / f"{model}_{len(list(tmp_path.iterdir()))}"
        assert cli.run(["train", f"model={model}", *log, *quick, *overrides, f"run_dir={run}"]) == 0
        return run

    return make


def _distributions(predictor: Any) -> torch.Tensor:
    """Log-probabilities of all items after the histories of 40 users."""
    items = predictor.catalogue.items["item"].to_list()
    pairs = {"user": [f"u{user}" for user in range(2, 42) for _ in items], "item": items * 40}
    scores = torch.tensor(predictor.score(pairs)["score"].to_list())
    return scores.view(40, -1).log_softmax(dim=1)


def state(run: Path) -> dict[str, Any]:
    predictor: Any = load_run(run)
    return dict(predictor.model.state_dict())


def test_a_student_of_weight_one_comes_near_its_teacher(train: Train) -> None:
    longer = ["batches.batch_size=8", "trainer.max_epochs=12", "optimizer.lr=0.01"]
    teacher = train("sasrec", "model.dim=16", *longer)
    own = ["model.dim=8", "model.depth=1", *longer]
    asked = [*own, "method=distil", f"method.teacher={teacher}", "method.weight=1"]
    found = []
    for run in (train("sasrec", *asked), train("sasrec", *own)):
        given, expected = (_distributions(load_run(each)) for each in (run, teacher))
        found.append(
            float(functional.kl_div(given, expected, reduction="batchmean", log_target=True))
        )
    assert found[0] < found[1]
    assert read_json(run / "run.json")["status"] == "completed"


def test_the_distance_is_that_of_both_distributions() -> None:
    torch.manual_seed(0)
    schema = Schema(300, 6, 1)
    student: Any = SASRec(schema, dim=4).eval()
    teacher = SASRec(schema, dim=8).eval()
    items = torch.randint(300, (5, 6))
    histories, positions = Histories(items, items[:, 0]), items < 200

    class Task:
        model, objective = student, None

        def training_loss(self, batch: Any) -> torch.Tensor:
            return student(histories, positions).square().mean()

    method = Distil("x", weight=0.25, temperature=2.0)
    method._teacher = teacher
    task: Any = Task()
    step = method.step(task, None, 0)
    step.backward()
    gradient = student.item.weight.grad.clone()
    student.zero_grad()
    own, theirs = (each.scores(each(histories, positions)) / 2 for each in (student, teacher))
    apart = functional.cross_entropy(own, theirs.detach().softmax(1)) * 4
    expected = 0.75 * task.training_loss(None) + 0.25 * apart
    expected.backward()
    assert torch.allclose(step, expected, rtol=1e-5)
    assert torch.allclose(gradient, student.item.weight.grad, atol=1e-6)


def test_a_teacher_that_does_not_fit_is_refused(
    trained: Run, train: Train, refused: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match=r"method\.teacher is not set"):
        train("sasrec", "method=distil")
    with pytest.raises(UserError, match=r"method\.run=no_such: There is no folder"):
        train("sasrec", "method=prune", "method.run=no_such")
    with pytest.raises(UserError, match="does not know objective=next_item"):
        train("sasrec", "method=distil", f"method.teacher={trained('bert4rec')}")
    with pytest.raises(UserError, match="has another protocol_hash than this run"):
        train("sasrec", "method=distil", f"method.teacher={trained('sasrec')}", "protocol=temporal")
    with pytest.raises(UserError, match="has another data_hash"):
        train("sasrec", "method=prune", f"method.run={trained('deepfm')}")


def test_weights_that_are_cut_stay_cut_and_the_rest_learns(trained: Run, train: Train) -> None:
    before = state(trained("sasrec"))
    run = train(
        "sasrec",
        "model.dim=8",
        "method=prune",
        f"method.run={trained('sasrec')}",
        "method.share=0.6",
    )
    after = state(run)
    for name in ("blocks.0.query.weight", "item.weight"):
        size = before[name].abs().flatten()
        smallest = size.argsort(stable=True)[: int(0.6 * len(size))]
        assert (after[name].flatten()[smallest] == 0).all()
        assert not torch.equal(after[name][after[name] != 0], before[name][after[name] != 0])
    assert cli.run(["evaluate", f"run={run}"]) == 0


def test_layers_begin_as_those_of_the_run(trained: Run, train: Train) -> None:
    run, two = trained("sasrec"), ["method=prune", "method.of=layers", "trainer.max_epochs=0"]
    assert "blocks.0.query.weight" in state(run)
    one = state(
        train(
            "sasrec",
            "model.dim=8",
            "model.depth=1",
            *two[:2],
            f"method.run={run}",
            "optimizer.lr=1e-12",
            "optimizer.weight_decay=0",
        )
    )
    assert torch.allclose(
        one["blocks.0.query.weight"], state(run)["blocks.0.query.weight"], atol=1e-6
    )
    assert not any(name.startswith("blocks.1") for name in one)
    with pytest.raises(UserError, match="has weights of other shapes"):
        train("sasrec", "model.dim=4", "method=prune", f"method.run={run}")


@pytest.mark.parametrize("of", ["heads", "units"])
@pytest.mark.parametrize("make", [BERT4Rec, SASRec])
def test_a_compact_model_answers_the_same(make: Any, of: Any) -> None:
    torch.manual_seed(0)
    model: Any = make(Schema(20, 8, 1), dim=16, heads=4, feedforward=2).eval().requires_grad_(False)
    assert compacted(model) is model
    for each in model.parameters():
        each.copy_(torch.randn_like(each))
    named: dict[str, nn.Parameter] = dict(model.named_parameters())
    for name, kept in masks(model, of, 0.5).items():
        named[name].mul_(kept)
    items = torch.randint(20, (3, 8))
    given = Histories(items, items[:, 0]), torch.tensor([7, 2, 0])
    small: Any = compacted(model)
    assert torch.allclose(small(*given), model(*given), atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    layer = (small.layers if make is BERT4Rec else small.blocks)[0]
    assert (layer.heads, layer.query.out_features) == ((2, 8) if of == "heads" else (4, 16))
    assert layer.expand.out_features == (16 if of == "units" else 32)
