"""Example users: their latest items and what the model recommends, by title."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from lightning_rec.data.batches import EvalSet
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Split
from lightning_rec.models.base import SequenceModel
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.sequence import SequenceSteps


class Example(NamedTuple):
    """A user, the latest items of the history, and the best candidates, all by title.

    ``ordered`` says whether the history has an order; else its items are some of the user's.
    """

    user: str
    history: list[str]
    recommended: list[str]
    ordered: bool = True


def shown_items(examples: Sequence[Example]) -> str:
    """What the examples show of histories."""
    return "latest items" if all(example.ordered for example in examples) else "some items"


def catalogue(loaded: AuditedLog) -> pl.DataFrame:
    """The catalogue rows of the vocabulary, in the order of item codes, with a column ``code``."""
    items = loaded.data.log.items[loaded.data.split.vocabulary.tolist()]
    numbered: pl.DataFrame = items.with_row_index("code")
    return numbered


def examples_of(
    task: Task, loaded: AuditedLog, number: int, latest: int = 5, top: int = 5
) -> list[Example]:
    """The first ``number`` test users, with ``latest`` items of history and ``top`` of advice."""
    split: Split = loaded.data.split
    number = min(number, split.test.size)
    if not number:
        return []
    # Spread over the users, so that they are not all from the head of the file.
    chosen = np.linspace(0, split.test.size - 1, number).round().astype(int).tolist()
    model = task.model
    assert isinstance(model, SequenceModel)
    batch = EvalSet(split, split.test, model.schema).__getitems__(chosen)
    task.eval()
    batch = task.transfer_batch_to_device(batch, task.device, 0)
    assert isinstance(task.steps, SequenceSteps)
    with torch.no_grad():
        scores = model.scores(task.steps.encode(task, batch.histories))
        scores[batch.seen_row, batch.seen_item] = -torch.inf
        scores, best = torch.topk(scores, min(top, split.num_items), dim=1)
    items = catalogue(loaded)
    names = (
        items["title"].fill_null(items["item"]) if "title" in items.columns else items["item"]
    ).to_list()
    users = loaded.data.log.users["user"]
    examples = []
    for row, example in enumerate(batch.example.tolist()):
        start = int(split.offsets[split.test.user[example]])
        end = int(split.test.end[example])
        history = split.items[max(start, end - latest) : end].tolist()
        advice = best[row][~torch.isneginf(scores[row])].tolist()
        user = users[int(split.test.user[example])]
        read, best_of = ([names[i] for i in items] for items in (history, advice))
        examples.append(Example(user, read, best_of, split.order != "none"))
    return examples
