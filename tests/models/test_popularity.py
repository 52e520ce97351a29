"""Popularity, and popularity that fades, against counts by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.popularity import DAY, Popularity, RecentPopularity

ANYONE = Histories(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


def scores(model: Popularity, split: Split) -> Tensor:
    model.fit(split)
    return model.scores(model(ANYONE, torch.zeros(1, dtype=torch.int64)))[0]


def trained(split: Split) -> list[int]:
    """Places of all training events."""
    pairs = zip(split.offsets[:-1], split.train_end, strict=True)
    return [place for start, end in pairs for place in range(start, end)]


def schema_of(split: Split) -> Schema:
    return Schema(split.num_items, 10, split.num_users)


def test_popularity_counts_training_events_alone(leave_one_out: Split) -> None:
    counts = [0] * leave_one_out.num_items
    for place in trained(leave_one_out):
        counts[leave_one_out.items[place]] += 1
    found = scores(Popularity(schema_of(leave_one_out)), leave_one_out)
    assert found.tolist() == counts


@pytest.mark.parametrize("half_life", [0.01, 1.0, 1000.0])
def test_events_fade_by_half_with_each_half_life(leave_one_out: Split, half_life: float) -> None:
    split = leave_one_out
    assert split.times is not None
    places = trained(split)
    now = max(int(split.times[place]) for place in places)
    faded = [0.0] * split.num_items
    for place in places:
        faded[split.items[place]] += 2 ** -((now - int(split.times[place])) / DAY / half_life)
    found = scores(RecentPopularity(schema_of(split), half_life), split)
    torch.testing.assert_close(found.exp2(), torch.tensor(faded), rtol=1e-4, atol=0)


def test_what_is_old_is_still_ranked(leave_one_out: Split) -> None:
    """A half-life of a minute and a log of thirty years: a sum of 2^-t would be zero."""
    last = trained(leave_one_out)
    times = torch.arange(len(leave_one_out.items)).numpy() * DAY * 30
    split = replace(leave_one_out, times=times)
    found = scores(RecentPopularity(schema_of(split), 1 / 1440), split)
    latest = [0] * split.num_items
    for place in last:
        latest[split.items[place]] = int(times[place])
    assert found.isfinite().all()
    assert found.argsort().tolist() == sorted(range(split.num_items), key=lambda i: latest[i])


def test_without_times_nothing_can_fade(leave_one_out: Split) -> None:
    split = replace(leave_one_out, times=None)
    with pytest.raises(UserError, match="model=popularity"):
        RecentPopularity(schema_of(split)).fit(split)
