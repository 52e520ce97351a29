"""Columns of events and of users: read by every network, and never those of what is to be predicted.

A log is made whose next item is told by the device of the event before it, and by nothing else.
"""

import datetime
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from shipped import models_of
from torch import Tensor

import lightning_rec
from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.bundle.export import export
from lightning_rec.bundle.opening import open_bundle
from lightning_rec.data.batches import EvalSet, SideRows
from lightning_rec.data.side import Columns, fitted, of_times, share
from lightning_rec.data.split import Examples, Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.lab.reading import check_comparable, read_runs
from lightning_rec.models.sequential.base import NeuralSequenceModel
from lightning_rec.models.side import ColumnVectors, Side
from lightning_rec.objectives.base import Objective, QueryInputs, TrainingInputs
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.problems.ensembles import Members
from lightning_rec.problems.history_encoders import Pretrained
from lightning_rec.problems.sequences import Sequences

ITEMS, USERS, LENGTH, DEVICES = 12, 80, 9, 4
SCHEMA = Schema(ITEMS, 8, USERS)


def columns(**values: int) -> Columns:
    """Columns of so many values each."""
    return Columns.of_plain(
        {"name": name, "values": [str(i) for i in range(n)], "edges": []} for name, n in values.items()
    )  # fmt: skip


def test_categories_and_bins_are_those_of_training() -> None:
    draw = np.random.default_rng(0)
    price = draw.normal(size=200)
    table = pl.DataFrame(
        {"kind": ["view", "cart", None, "view"] * 50, "stars": [1.0, 2, 2.5, None] * 50, "price": price}
    )  # fmt: skip
    found = fitted(table.head(100))
    assert [(each.name, each.values) for each in found] == [
        ("kind", ["cart", "view"]),
        ("stars", ["1", "2", "2.5"]),
        ("price", None),
    ]
    more = pl.DataFrame({"kind": ["buy", "view"], "stars": [2, 9], "price": [None, 99.0]})
    rows = found.rows(more)
    assert rows[:, 0].tolist() == [0, 2]  # what training did not have is as what is missing
    assert rows[:, 1].tolist() == [4, 0]
    assert rows[0, 2] == 0
    assert rows[1, 2] == found.size - 1  # the last bin
    cuts = np.quantile(price[:100], [i / 16 for i in range(1, 16)])
    expected = [6 + sum(value >= cut for cut in cuts) for value in price]
    assert found.rows(table)[:, 2].tolist() == expected
    assert Columns.of_plain(found.plain()) == found
    assert found.rows(table.drop("kind"))[:, 0].max() == 0


def test_what_times_tell_is_what_python_says() -> None:
    times = np.array([0.0, 5, 5, 3_700, 86_400 * 3 + 60], dtype=np.float64)
    told = of_times(times, np.array([0, 3, 3, 5]))
    assert told["gap"].to_list() == [None, 5, 0, None, 86_400 * 3 + 60 - 3_700]
    moments = [datetime.datetime.fromtimestamp(each, datetime.UTC) for each in times]
    assert told["hour"].to_list() == [each.hour for each in moments]
    assert told["weekday"].to_list() == [each.isoweekday() for each in moments]


def test_vectors_are_summed_less_the_mean_of_training() -> None:
    of = columns(a=3, b=2)
    rows = np.array([[1, 4], [2, 4], [2, 0], [0, 5]], dtype=np.int32)
    made = ColumnVectors(5, of)
    with torch.no_grad():
        made.table.normal_()
        made.met(torch.from_numpy(share(rows, of.size)))
        table, found = made.table, made(torch.from_numpy(rows).long())
    mean_a = (table[1] + 2 * table[2]) / 3
    mean_b = (2 * table[4] + table[5]) / 3
    expected = torch.stack(
        [
            table[1] - mean_a + table[4] - mean_b,
            table[2] - mean_a + table[4] - mean_b,
            table[2] - mean_a,
            table[5] - mean_b,
        ]
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(0), torch.zeros(5), atol=1e-5, rtol=0)


NETWORKS = []
for _name in models_of("sequence"):
    _class = config.target("model", config.plain(config.compose([f"model={_name}"]).model))
    if isinstance(_class, type) and issubclass(_class, NeuralSequenceModel):
        NETWORKS.append(_name)


def network(name: str) -> tuple[NeuralSequenceModel, Objective]:
    """A small one with two columns of events and one of users, their vectors drawn."""
    cfg = config.compose([f"model={name}", "batches.max_len=8"])
    small = {"dim": 8, "depth": 1, "heads": 2, "dropout": 0.0}
    known = [f"model.{key}={value}" for key, value in small.items() if key in cfg.model]
    problem: Any = problem_of(config.compose([f"model={name}", "batches.max_len=8", *known]))
    torch.manual_seed(0)
    model = problem.make_model(SCHEMA)
    model.side = Side(model.item.dim, columns(device=4, stars=5), columns(age=3))
    for part in (model.side.events, model.side.users):
        torch.nn.init.normal_(part.table)
    return model.eval(), problem.objective


def some(batch: int, length: int) -> Histories:
    items = torch.randint(ITEMS, (batch, length))
    events = torch.stack(
        [torch.randint(1, 5, items.shape), torch.randint(5, 10, items.shape)], dim=2
    )
    return Histories(
        items, torch.zeros(batch).long(), None, events, torch.randint(1, 4, (batch, 1))
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_reads_them_and_none_reads_later_ones(name: str) -> None:
    model, objective = network(name)
    histories = some(3, 6)
    with torch.no_grad():
        asked, at = objective.query_inputs(histories, SCHEMA)
        before = model(asked, at)
        assert histories.events is not None
        for change in ("events", "about"):
            moved = getattr(histories, change).clone()
            moved[..., 0] = moved[..., 0] % 3 + 1
            moved = histories._replace(**{change: moved})
            after = model(objective.query_inputs(moved, SCHEMA)[0], at)
            assert not torch.allclose(after, before, atol=1e-5), change
        none = model(
            objective.query_inputs(histories._replace(events=None, about=None), SCHEMA)[0], at
        )
        zeros = histories._replace(events=histories.events * 0, about=torch.zeros(3, 1).long())
        torch.testing.assert_close(model(objective.query_inputs(zeros, SCHEMA)[0], at), none)
        if "next_item" not in model.objectives:
            return
        everywhere = torch.ones(3, 6, dtype=torch.bool)
        first = model(histories, everywhere).view(3, 6, -1)
        for place in range(5):
            later = histories.events.clone()
            later[:, place + 1 :, 0] = later[:, place + 1 :, 0] % 4 + 1
            again = model(histories._replace(events=later), everywhere).view(3, 6, -1)
            torch.testing.assert_close(again[:, : place + 1], first[:, : place + 1])


def seen_of_targets(made: TrainingInputs | QueryInputs, marks: Tensor) -> bool:
    """Whether what a model is given holds the mark of an event that it is to predict. ``marks``:
    of the targets, int64 [M], by their row; each event of a batch has another one.
    """
    assert made.histories.events is not None
    return bool(torch.isin(made.histories.events, marks).any())


class Planted(MaskedItem):
    """Hides items and leaves what is said of their events, which tells them."""

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        made = super().training_inputs(histories, schema)
        return made._replace(histories=made.histories._replace(events=histories.events))


class Shifted(NextItem):
    """Shows at each place what is said of the event that follows."""

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        made = super().training_inputs(histories, schema)
        assert histories.events is not None
        return made._replace(histories=made.histories._replace(events=histories.events[:, 1:]))


def leaks(objective: Objective) -> bool:
    """Whether a place of a training batch shows the event that is predicted there, or, of a model
    that sees all places, any does.
    """
    lengths = torch.tensor([8, 5, 2])
    items = torch.randint(ITEMS, (3, 8)).masked_fill(torch.arange(8) >= lengths[:, None], ITEMS)
    marks = torch.arange(1, 25).view(3, 8, 1).masked_fill((items == ITEMS)[..., None], 0)
    made = objective.training_inputs(Histories(items, lengths, None, marks), SCHEMA)
    assert made.histories.events is not None
    shown, causal = made.histories.events[..., 0], isinstance(objective, NextItem)
    found = []
    for row, place in made.positions.nonzero().tolist():
        target = marks[row, place + causal, 0]
        visible = shown[row, : place + 1] if causal else shown[row]
        found.append(bool((visible == target).any()))
        real = [mark for mark in visible.tolist() if mark]
        # What is shown belongs to the item that is shown with it.
        own = {int(marks[row, at, 0]): int(items[row, at]) for at in range(8)}
        inputs = made.histories.items[row].tolist()
        found.append(
            any(own[mark] != inputs[at] for at, mark in enumerate(shown[row].tolist()) if mark)
        )
        assert len(real) == len(set(real))
    return any(found)


def test_the_event_to_be_predicted_is_hidden_and_a_planted_leak_is_found() -> None:
    torch.manual_seed(3)
    assert not leaks(NextItem())
    assert not leaks(MaskedItem(mask_prob=0.3, mask_last=0.3))
    assert leaks(Planted(mask_prob=0.3, mask_last=0.3))
    assert leaks(Shifted())


def test_a_question_shows_what_belongs_to_its_items_and_nothing_of_the_next() -> None:
    lengths = torch.tensor([8, 5, 1])
    items = torch.randint(ITEMS, (3, 8)).masked_fill(torch.arange(8) >= lengths[:, None], ITEMS)
    marks = torch.arange(1, 25).view(3, 8, 1).masked_fill((items == ITEMS)[..., None], 0)
    asked, at = MaskedItem().query_inputs(Histories(items, lengths, None, marks), SCHEMA)
    assert asked.events is not None
    for row in range(3):
        for place in range(asked.items.shape[1]):
            mark = int(asked.events[row, place, 0])
            shown = int(asked.items[row, place])
            assert (mark == 0) == (shown >= ITEMS), (row, place)
            if mark:
                assert int(items.flatten()[mark - 1]) == shown
        assert asked.events[row, at[row]] == 0


def test_batches_of_evaluation_hold_the_events_of_the_history_alone() -> None:
    items = np.arange(10, dtype=np.int32) % ITEMS
    rows = np.arange(1, 11, dtype=np.int32)[:, None]  # each event another
    offsets = np.array([0, 6, 10])
    asked = Examples(np.array([0, 1]), np.array([5, 9]), items[[5, 9]].astype(np.int64),
                     np.array([5, 9]), np.zeros(2, dtype=bool))  # fmt: skip
    split = Split(offsets, items, np.arange(10), np.array([4, 8]), np.arange(ITEMS),
                  np.bincount(items, minlength=ITEMS), asked, asked, None, {})  # fmt: skip
    about = np.array([[1], [2]], dtype=np.int32)
    batch = EvalSet(split, asked, Schema(ITEMS, 4, 2), None, SideRows(rows, about)).__getitems__(
        [0, 1]
    )
    assert batch.histories.events is not None
    assert batch.histories.about is not None
    assert batch.histories.events[..., 0].tolist() == [[2, 3, 4, 5], [7, 8, 9, 0]]
    assert batch.histories.about.tolist() == [[1], [2]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes next is the item plus one and the device; users are of two kinds, in a table."""
    draw, rows = random.Random(0), []
    for user in range(USERS):
        item = draw.randrange(ITEMS)
        for place in range(LENGTH):
            device = draw.randrange(DEVICES)
            rows.append(
                (f"u{user}", f"i{item}", 1_700_000_000 + 60 * place, f"d{device}", place % 5)
            )
            item = (item + 1 + device) % ITEMS
    folder = tmp_path_factory.mktemp("side")
    log = pl.DataFrame(rows, ["uid", "sku", "ts", "device", "stars"], orient="row")
    log.write_csv(folder / "log.csv")
    people = pl.DataFrame(
        {"uid": [f"u{u}" for u in range(USERS)], "team": ["a", "b"] * (USERS // 2)}
    )
    people.write_csv(folder / "users.csv")
    return folder / "log.csv"


def asked(log: Path, *more: str) -> list[str]:
    return [
        *["data=table", f"data.path={log}", "data.user=uid", "data.item=sku", "data.time=ts"],
        *["data.rating=stars", "data.features=[device]", f"data.users={log.parent / 'users.csv'}"],
        *["data.users_user=uid", "model.dim=16", "batches.max_len=8", "logger=none", "protocol.seen=keep"],
        *["protocol.cutoffs=[1,5]", "monitor=val/ndcg@5", "trainer=cpu", "optimizer.lr=0.01"],
        *["batches.batch_size=16", "examples=2", *more],
    ]  # fmt: skip


READS = ("task.events=[device,rating,gap]", "task.users=[team]")


@pytest.fixture(scope="module")
def run(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("runs") / "side"
    more = ["model=sasrec", "model.depth=1", "trainer.max_epochs=40", f"run_dir={folder}", *READS]
    return lightning_rec.train(*asked(log, *more))


def test_a_network_learns_what_only_the_event_tells(run: Any, log: Path, tmp_path: Path) -> None:
    assert run.metrics["test/recall@1"] > 0.8
    again = lightning_rec.evaluate(run.path)
    assert again["test/recall@1"] == run.metrics["test/recall@1"]
    plain = lightning_rec.train(
        *asked(
            log, "model=sasrec", "model.depth=1", "trainer.max_epochs=8", f"run_dir={tmp_path}/p"
        )
    )
    assert plain.metrics["test/recall@1"] < 0.5  # a quarter by chance
    check_comparable(read_runs({"columns": [run.path], "plain": [plain.path]}))  # of the same data
    assert run.card["side_hash"]
    assert "side_hash" not in plain.card


def test_columns_that_changed_since_are_told(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("log.csv", "users.csv"):
        (folder / name).write_bytes((log.parent / name).read_bytes())
    more = [
        "model=sasrec",
        "model.depth=1",
        "trainer.max_epochs=1",
        f"run_dir={tmp_path}/r",
        *READS,
    ]
    made = lightning_rec.train(*asked(folder / "log.csv", *more))
    text = (folder / "log.csv").read_text()
    (folder / "log.csv").write_text(text.replace("d1,", "d2,"))
    with pytest.raises(UserError, match=r"side_hash of .* the data or the protocol is not the one"):
        lightning_rec.evaluate(made.path)


def test_what_a_question_does_not_say_is_told(
    run: Any, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = lightning_rec.load_run(run.path)
    frame = pl.read_csv(log).rename({"uid": "user", "sku": "item", "ts": "time", "stars": "rating"})
    caplog.clear()
    model.recommend(users=["u1"], k=2)
    model.recommend(frame.head(5), k=2)
    assert "of each event" not in caplog.text
    model.recommend(frame.head(5).drop("rating"), k=2)
    assert "SASRec reads rating of each event, which is not said" in caplog.text
    model.recommend([["i1", "i2"]], k=2)
    assert "SASRec reads device, rating, time of each event" in caplog.text


def test_users_frames_and_bundles_answer_alike(run: Any, log: Path, tmp_path: Path) -> None:
    model = lightning_rec.load_run(run.path)
    by_user = model.recommend(users=["u0", "u7"], k=3)
    frame = pl.read_csv(log).rename({"uid": "user", "sku": "item", "ts": "time", "stars": "rating"})
    given = frame.filter(pl.col("user").is_in(["u0", "u7"]))
    by_frame = model.recommend(given, k=3)
    # Who is asked for by a history is nobody known, so what is said of users is as for a new one.
    model.users = model.users.drop("about")
    assert model.recommend(users=["u0", "u7"], k=3)["item"].equals(by_frame["item"])
    bare = model.recommend(given.select("user", "item"), k=3)
    assert not bare["score"].equals(by_frame["score"])
    export(run.path, tmp_path / "bundle")
    opened: Any = open_bundle(tmp_path / "bundle")
    again = opened.recommend(users=["u0", "u7"], k=3)
    assert again["item"].equals(by_user["item"])
    np.testing.assert_allclose(again["score"], by_user["score"], rtol=1e-4)
    export(run.path, tmp_path / "alone", users=False)
    alone: Any = open_bundle(tmp_path / "alone")
    np.testing.assert_allclose(alone.recommend(given, k=3)["score"], by_frame["score"], rtol=1e-4)


def test_what_a_model_ignores_is_told(
    log: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        more = [READS[0], "monitor=val/ndcg@5", f"run_dir={tmp_path}/run"]
        given = [each for each in asked(log, "model=itemknn", *more) if "model." not in each]
        lightning_rec.train(*(each for each in given if "optimizer" not in each))
    assert "ItemKNN does not read what is known of events or users: task.events=[device,rating,gap] is ignored" in caplog.text  # fmt: skip


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("task.events=[devise]", "task.events: no column 'devise' is known; there are .*Did you mean 'device'"),
        ("task.users=[age]", "task.users: no column 'age' is known; there are team"),
        ("data.features=[gap]", "data.features names 'gap', which is what this program calls"),
        ("data.features=[color]", "has no column 'color' for data.features"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told(said: str, told: str, log: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        lightning_rec.train(*asked(log, "model=sasrec", said, f"run_dir={tmp_path}/run"))


def test_where_nobody_gives_them_such_a_run_is_refused(run: Any) -> None:
    with pytest.raises(UserError, match=r"reads columns of events or users \(task\.events, task"):
        Members({"a": str(run.path)}, Sequences)
    with pytest.raises(UserError, match=r"encoder\.run=.* reads columns of events or users"):
        Pretrained(run.path)
