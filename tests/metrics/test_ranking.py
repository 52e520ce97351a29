"""Figures over a data set: what they are, and that batches, blocks and processes change no bit."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_rec.data.batches import EvalBatch
from lightning_rec.data.split import Histories, Schema
from lightning_rec.methods.base import Method
from lightning_rec.metrics import functional as F
from lightning_rec.metrics.ranking import RankingMetrics
from lightning_rec.models.base import SequenceModel
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.tasks.base import Task, Training
from lightning_rec.tasks.sequence import SequenceSteps

CUTOFFS = (1, 3, 5)
ITEMS = 20


class Table(SequenceModel):
    """A model whose scores for a user are a row of a fixed table."""

    objectives = ("closed_form",)

    def __init__(self, scores: Tensor) -> None:
        super().__init__(Schema(scores.shape[1], 2, len(scores)))
        self.table = scores

    def forward(self, histories: Histories, at: Tensor) -> Tensor:
        return histories.user.unsqueeze(1).float()

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        rows = self.table[queries[:, 0].long()]
        return rows if items is None else rows[:, items]


def users(count: int) -> tuple[Tensor, list[list[int]], list[int], Tensor]:
    """Scores with many ties, seen items (doubled ones too), targets (a cold one), train counts."""
    chance = random.Random(3)
    scores = torch.tensor(
        [[float(chance.randrange(6)) for _ in range(ITEMS)] for _ in range(count)]
    )
    seen = [[chance.randrange(ITEMS) for _ in range(chance.randint(0, 8))] for _ in range(count)]
    seen[0] = list(range(ITEMS - 2))  # fewer candidates than the largest cut-off
    target = [chance.randrange(ITEMS) for _ in range(count)]
    target[1] = -1
    return scores, seen, target, torch.tensor([chance.randrange(9) for _ in range(ITEMS)])


def measured(batches: list[list[int]], count: int = 17) -> dict[str, float]:
    """Test figures of a task when the users come in these batches."""
    scores, seen, target, counts = users(count)
    metrics = {"test": RankingMetrics(counts, CUTOFFS)}
    training = Training(torch.optim.SGD, lambda optimizer, steps, per_epoch: None)
    steps = SequenceSteps(metrics)
    task = Task(steps, Table(scores), ClosedForm(), None, Method(), training)
    for batch in batches:
        pairs = [(row, item) for row, user in enumerate(batch) for item in seen[user]]
        task.test_step(
            EvalBatch(
                example=torch.tensor(batch),
                histories=Histories(torch.zeros(len(batch), 1).long(), torch.tensor(batch)),
                target=torch.tensor([target[user] for user in batch]),
                seen_row=torch.tensor([row for row, _ in pairs], dtype=torch.int64),
                seen_item=torch.tensor([item for _, item in pairs], dtype=torch.int64),
            ),
            0,
        )
    return {name: value.item() for name, value in metrics["test"].compute().items()}


def test_figures_are_the_means_over_users_worked_out_one_by_one() -> None:
    scores, seen, target, _ = users(17)
    figures = measured([list(range(17))])
    ranks = []
    for row in range(17):
        candidates = [i for i in range(ITEMS) if i == target[row] or i not in seen[row]]
        worse = [
            i for i in candidates if i != target[row] and scores[row, i] < scores[row, target[row]]
        ]
        ranks.append(0 if target[row] < 0 else len(candidates) - len(worse))
    one, positive = torch.tensor([0]), torch.tensor([True])
    for name in ("recall", "ndcg", "precision", "f1"):
        for k in CUTOFFS:
            each = [
                float(getattr(F, name)(one, torch.tensor([rank]), positive, k)) for rank in ranks
            ]
            assert figures[f"{name}@{k}"] == pytest.approx(sum(each) / 17)
    assert figures["mrr"] == pytest.approx(sum(1 / rank for rank in ranks if rank) / 17)


def test_coverage_and_popular_share_count_what_is_recommended() -> None:
    counts = torch.tensor([9, 1, 8, 1, 1, 1, 1, 1, 1, 1])  # the head, 20 %, is items 0 and 2
    metrics = RankingMetrics(counts, (1, 3))
    top = torch.tensor([[0, 1, 2], [0, 4, -1]])  # the second user has two candidates
    metrics.update(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([10, 2]), top)
    figures = metrics.compute()
    assert figures["coverage@1"] == 1 / 10
    assert figures["coverage@3"] == 4 / 10
    assert figures["popular@1"] == 1
    assert figures["popular@3"] == 3 / 5


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_no_split_into_batches_changes_a_bit(size: int) -> None:
    order = random.Random(size).sample(range(17), 17)
    batches = [order[start : start + size] for start in range(0, 17, size)]
    assert measured(batches) == measured([list(range(17))])


def test_a_reset_forgets_everything() -> None:
    metrics = RankingMetrics(torch.ones(10), (1,))
    for rank in (1, 2):
        metrics.reset()
        metrics.update(
            torch.tensor([0]), torch.tensor([rank]), torch.tensor([10]), torch.tensor([[rank]])
        )
    assert metrics.compute()["recall@1"] == 0
    assert metrics.compute()["coverage@1"] == 0.1


PROCESS = """
import json, sys
import torch
from lightning_rec.metrics.ranking import RankingMetrics
process, meeting, ranks, top = int(sys.argv[1]), sys.argv[2], *map(json.loads, sys.argv[3:])
torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=process, world_size=2)
ranks, top = torch.tensor(ranks), torch.tensor(top)
features, slices = (torch.arange(90) % 4 < 2).float().reshape(30, 3), {"odd": torch.arange(13) % 2 > 0}
metrics = RankingMetrics(torch.arange(30), (1, 5), features=features, slices=slices)
for batch in list(torch.arange(13).split(3))[process::2]:  # three batches here, two there
    metrics.update(batch, ranks[batch], torch.full_like(batch, 25), top[batch])
figures = {name: value.item() for name, value in metrics.compute().items()}
with metrics.sync_context(should_unsync=True):
    print(json.dumps([figures, metrics.rows().example.tolist(), metrics.rows().rank.tolist()]))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_two_processes_give_the_bits_of_one(tmp_path: Path) -> None:
    chance = random.Random(0)
    ranks = [chance.randrange(20) for _ in range(13)]
    top = [[chance.randrange(30) for _ in range(5)] for _ in range(13)]
    data = [str(tmp_path / "meeting"), json.dumps(ranks), json.dumps(top)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, process, *data], stdout=subprocess.PIPE, text=True
        )
        for process in "01"
    ]
    printed = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    features = (torch.arange(90) % 4 < 2).float().reshape(30, 3)
    slices = {"odd": torch.arange(13) % 2 > 0}
    alone = RankingMetrics(torch.arange(30), (1, 5), features=features, slices=slices)
    alone.update(torch.arange(13), torch.tensor(ranks), torch.full((13,), 25), torch.tensor(top))
    figures = {name: value.item() for name, value in alone.compute().items()}
    assert {"diversity@5", "gini@1", "novelty@5", "odd/ndcg@10"} < set(figures)
    for text in printed:
        assert json.loads(text) == [figures, list(range(13)), ranks]
