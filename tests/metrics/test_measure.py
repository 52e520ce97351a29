"""What metrics of a config take and give, beside the refusals that the command line shows."""

import logging

import pytest
import torch
from torch import Tensor

from lightning_rec import trust
from lightning_rec.metrics.measure import measures
from lightning_rec.metrics.ranking import RankingMetrics
from lightning_rec.metrics.targets import Targets


def late(rank: Tensor, k: int, candidates: Tensor | None = None) -> Tensor:
    """Whether a target is behind rank k; undefined from rank 8 on."""
    assert candidates is not None
    return torch.where(rank < 8, (rank > k).double(), torch.nan)


def unseen(top: Tensor, train_counts: Tensor) -> Tensor:
    """Share of a list that has no training event."""
    return (train_counts[top] == 0).double().mean(dim=1)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(trust, "check", lambda node, name: None)  # a test is no module of a user's
    return __name__


def node(target: str, **more: object) -> dict[str, object]:
    return {"_target_": target, "figure": {"better": "max"}, **more}


def test_what_is_optional_is_passed_where_it_is_known_and_what_is_undefined_is_told(
    own: str, caplog: pytest.LogCaptureFixture
) -> None:
    (metric,) = measures(
        {"late": node(f"{own}.late")}, {"ranking": RankingMetrics.sections["ranking"]}
    )
    example, rank = torch.arange(3), torch.tensor([3, 7, 9])
    found = metric(Targets(example, rank, candidates=rank), (2, 5))
    assert {name: values.tolist()[:2] for name, values in found.items()} == {
        "late@2": [1, 1],
        "late@5": [0, 1],
    }
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        metric(Targets(example, rank + 9, candidates=rank), (2,))
    assert "metrics.late: late@2 is nan for all 3 examples" in caplog.text


def test_a_metric_of_lists_is_collected_list_by_list(own: str) -> None:
    nodes = {"unseen": node(f"{own}.unseen")}
    metrics = RankingMetrics(
        torch.tensor([3, 0, 0, 5]), (1, 2), measured=RankingMetrics.of_config(nodes)
    )
    top = torch.tensor([[0, 1], [2, 3], [1, 2]])
    for batch in (torch.tensor([2, 0]), torch.tensor([1]), torch.tensor([], dtype=torch.int64)):
        metrics.update(batch, batch + 1, batch + 9, top[batch])
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(
        {"unseen@1": 2 / 3, "unseen@2": 2 / 3}
    )
