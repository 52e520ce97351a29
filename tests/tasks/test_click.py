"""The loss of clicks: likelihoods by weight, and the two penalties, each on its own weights."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_rec.data.clicks.batches import ClickBatch
from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.errors import UserError
from lightning_rec.losses.clicks import LogLoss
from lightning_rec.methods.base import Method
from lightning_rec.metrics.classification import auc, best_threshold
from lightning_rec.metrics.clicks import ClickMetrics
from lightning_rec.metrics.order import in_order
from lightning_rec.models.clicks.deepfm import DeepFM
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.clicks.shared_bottom import SharedBottom
from lightning_rec.tasks.base import Arithmetic, Task, Training
from lightning_rec.tasks.click import ClickSteps, split_parameters
from lightning_rec.tasks.clipping import clip_norm
from lightning_rec.tasks.optimizers import LazyAdamW

SCHEMA = ClickSchema((Field("a", "categorical", 1, 5, 1), Field("b", "categorical", 6, 4, 1)))
BATCH = ClickBatch(
    torch.arange(3),
    Rows(torch.tensor([[1, 6], [2, 7], [3, 9]], dtype=torch.int32), torch.zeros(3, 0)),
    torch.tensor([1.0, 0.0, 1.0]),
)


def task_of(
    model: ClickModel, metrics: Any, arithmetic: Arithmetic = "fast", **settings: Any
) -> Task:
    training = Training(
        torch.optim.SGD,
        lambda optimizer, steps, per_epoch: None,
        arithmetic=arithmetic,
    )
    steps = ClickSteps(model, metrics, **settings)
    return Task(steps, model, None, LogLoss(), Method(), training).eval()


def made(**settings: Any) -> Task:
    torch.manual_seed(0)
    metrics = {stage: {"click": ClickMetrics(BATCH.label)} for stage in ("val", "test")}
    model = DeepFM(SCHEMA, dim=4, mlp=(5,))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return task_of(model, metrics, **settings)


def test_the_loss_is_the_mean_of_the_negative_log_likelihoods() -> None:
    task = made()
    p = torch.sigmoid(task.model(BATCH.rows)).tolist()
    each = [-math.log(p[0]), -math.log(1 - p[1]), -math.log(p[2])]
    assert float(task.training_loss(BATCH).detach()) == pytest.approx(sum(each) / 3, rel=1e-5)
    weighed = BATCH._replace(weight=torch.tensor([0.5, 2.0, 0.0]))
    wanted = (0.5 * each[0] + 2 * each[1]) / 2.5
    assert float(task.training_loss(weighed).detach()) == pytest.approx(wanted, rel=1e-5)
    nothing = BATCH._replace(weight=torch.zeros(3))
    assert float(task.training_loss(nothing).detach()) == 0


def test_penalties_are_on_whole_tables_and_on_all_other_weights_apart() -> None:
    task = made(embedding_l2=0.3, l2=0.07)
    model, wanted = task.model, 0.0
    assert isinstance(model, DeepFM)
    for name, parameter in model.named_parameters():
        factor = 0.3 if "table" in name else 0.07
        wanted += factor / 2 * sum(value**2 for value in parameter.detach().flatten().tolist())
    penalty = task.steps.penalty(task.model)
    assert float(torch.as_tensor(penalty).detach()) == pytest.approx(wanted, rel=1e-5)
    plain = made().training_loss(BATCH)
    assert float((task.training_loss(BATCH) - plain).detach()) == pytest.approx(wanted, rel=1e-5)
    tables, others = split_parameters(model)
    assert {id(t) for t in tables} == {
        id(f.table.weight) for f in (model.fields, model.linear.fields)
    }
    assert len(tables) + len(others) == len(list(model.parameters()))
    # A row that no batch reads is drawn to nothing all the same, as BARS does.
    task.training_loss(BATCH).backward()
    unread = model.fields.table
    assert unread.weight.grad is not None
    torch.testing.assert_close(unread.weight.grad[5], 0.3 * unread.weight[5].detach())


def test_without_penalties_nothing_is_added() -> None:
    task = made()
    assert isinstance(task.steps, ClickSteps)
    assert task.steps.penalty(task.model) == 0.0


def test_what_an_adapter_adds_joins_the_loss_of_a_step() -> None:
    task = made()
    task._logs_now = lambda: False  # type: ignore[method-assign]
    plain = float(task.training_step(BATCH, 0).detach())
    hook = SimpleNamespace(penalty=lambda: 3.0)
    task.adapted = SimpleNamespace(hook=hook)  # type: ignore[assignment]
    assert float(task.training_step(BATCH, 0).detach()) == pytest.approx(plain + 3)


def test_sparse_gradients_step_as_dense_ones_do() -> None:
    weights = []
    for sparse in (False, True):
        task = made(sparse=sparse)
        task.training_loss(BATCH).backward()
        table = task.model.get_submodule("fields").table.weight
        assert table.grad.is_sparse == sparse
        clip_norm(task.model.parameters(), 0.01)
        LazyAdamW(task.model.parameters(), lr=0.1).step()
        weights.append({name: value.clone() for name, value in task.model.state_dict().items()})
    for name, value in weights[0].items():  # the first step of Adam leaves unread rows alone
        torch.testing.assert_close(weights[1][name], value)


@pytest.mark.parametrize("limit", [0.01, 1e6])
def test_clipping_is_torchs_for_sparse_gradients_too(limit: float) -> None:
    gradients = []
    for sparse in (False, True):
        task = made(sparse=sparse)
        for parameter in task.model.parameters():
            parameter.data *= 0.1  # so that both times that a row is read count
        twice = BATCH._replace(rows=Rows(BATCH.rows.ids[[0, 0, 1]], BATCH.rows.values))
        task.training_loss(twice).backward()
        if sparse:
            clip_norm(task.model.parameters(), limit)
        else:
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), limit)
        gradients.append([p.grad.to_dense() for p in task.model.parameters()])
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


GOALS = ("click", "buy")
LABELS = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])


def of_goals(**settings: Any) -> Task:
    torch.manual_seed(0)
    model = SharedBottom(SCHEMA._replace(goals=GOALS), dim=4, mlp=(5,), tower=())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    metrics = {
        stage: {goal: ClickMetrics(LABELS[:, place]) for place, goal in enumerate(GOALS)}
        for stage in ("val", "test")
    }
    return task_of(model, metrics, **settings)


def test_the_loss_of_several_goals_is_the_weighed_sum_of_theirs() -> None:
    batch = BATCH._replace(label=LABELS)
    p = torch.sigmoid(of_goals().model(BATCH.rows)).tolist()
    each = [
        -sum(math.log(p[r][g] if LABELS[r, g] else 1 - p[r][g]) for r in range(3)) / 3
        for g in range(2)
    ]
    assert float(of_goals().training_loss(batch).detach()) == pytest.approx(sum(each), rel=1e-5)
    weighed = of_goals(goal_weights={"buy": 0.3}).training_loss(batch)
    assert float(weighed.detach()) == pytest.approx(each[0] + 0.3 * each[1], rel=1e-5)
    with pytest.raises(ValueError, match="there is no goal bye"):
        of_goals(goal_weights={"bye": 1.0})


def test_each_goal_has_its_figures_and_its_threshold() -> None:
    task, batch = of_goals(), BATCH._replace(label=LABELS)
    kept: dict[str, Any] = {}
    task._record = lambda stage, figures: kept.update({stage: figures})  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        task.validation_step(batch, 0)
        logits = task.model(batch.rows)
    task.on_validation_epoch_end()
    for place, goal in enumerate(GOALS):
        wanted = auc(in_order(logits[:, place], LABELS[:, place]))
        assert kept["val"][f"{goal}/auc"] == wanted
        likely = torch.sigmoid(logits[:, place].double())
        chosen = best_threshold(likely, in_order(likely, LABELS[:, place]))
        assert (
            task.steps.threshold[goal] == float(chosen) == float(kept["val"][f"{goal}/threshold"])
        )
    assert "auc" not in kept["val"]


def test_a_compiled_model_learns_what_the_plain_one_does() -> None:
    found = {}
    for arithmetic in ("plain", "compiled"):
        task = made(arithmetic=arithmetic)
        task.setup("fit")
        loss = task.training_loss(BATCH)
        loss.backward()
        assert isinstance(task.model, DeepFM)
        gradient = task.model.fields.table.weight.grad
        assert gradient is not None
        found[arithmetic] = [float(loss.detach()), *gradient.flatten().tolist()]
        assert bool(task.model._compiled_call_impl) == (arithmetic == "compiled")
        assert not any("orig_mod" in name for name in task.state_dict())
        task.teardown("fit")
    assert found["compiled"] == pytest.approx(found["plain"], rel=1e-4, abs=1e-6)


def test_without_a_compiler_there_is_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"C\+\+ compiler.*task.arithmetic=fast"):
        made(arithmetic="compiled").setup("fit")
