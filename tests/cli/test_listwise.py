"""List-wise re-ranking through the real command line: a run like any other, on the users that were asked for."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cli.processes import read
from languages import language

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.lab import compare
from lightning_rec.runs.folder import RunFolder

pytest.importorskip("transformers")
Refused = Callable[..., str]
QUICK = ["trainer=cpu", "logger=none", "batches.eval_batch_size=16"]


@pytest.fixture(scope="module")
def log(log_csv: Path, catalogue_csv: Path) -> list[str]:
    about = [
        f"data.catalogue={catalogue_csv}",
        "data.catalogue_item=sku",
        "data.catalogue_title=title",
    ]
    named = ["data.user=uid", "data.item=sku", "data.time=ts", "protocol.cutoffs=[5,10]"]
    return ["data=table", f"data.path={log_csv}", *named, *about, *QUICK]


@pytest.fixture(scope="module")
def first(log: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "run"
    small = ["model.dim=8", "model.depth=1", "batches.max_len=10", "trainer.max_epochs=2"]
    assert cli.run(["train", "model=sasrec", *log, *small, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def asked(log: list[str], first: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a run that re-ranks six of the first run's."""
    gpt = language("gpt2", tmp_path_factory.mktemp("gpt") / "gpt", more="b c d e f .", places=128)
    prompt = "model.prompt='the user liked {history} of {items} is'"
    how = [prompt, "model.answer='{letter}'", "model.rerank=6", "model.max_tokens=128"]
    return ["model=listwise", f"model.first={first}", f"model.encoder={gpt}", *how, *log]


@pytest.fixture(scope="module")
def made(asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on twelve users, in three orders."""
    folder = tmp_path_factory.mktemp("listwise") / "run"
    sample = ["protocol.val_users=0", "protocol.test_users=12", "model.shuffles=3"]
    assert cli.run(["train", *asked, *sample, f"run_dir={folder}"]) == 0
    return folder


def test_ranks_are_those_of_the_lists_that_were_read(made: Path, first: Path) -> None:
    tested = RunFolder.open(made).table("test_users")
    lists = RunFolder.open(made).table("lists")
    items = RunFolder.open(first).table("items").sort("code")["item"].to_list()
    before = dict(RunFolder.open(first).table("test_users").select("user", "rank").iter_rows())
    assert 6 < len(tested) < 12  # some of the drawn have targets that were seen before
    assert len(lists) == 3 * len(tested)
    moved = 0
    for row in tested.iter_rows(named=True):
        assert row["first_rank"] == before[row["user"]]
        own = lists.filter(pl.col("user") == row["user"])
        total: dict[str, float] = {}
        for shown, score in own.select("shown", "score").iter_rows():
            for code, each in zip(shown, score, strict=True):
                total[items[code]] = total.get(items[code], 0) + each
        assert len(total) == 6
        order = sorted(total, key=lambda item: -total[item])
        wanted = order.index(row["item"]) + 1 if row["item"] in order else row["first_rank"]
        assert row["rank"] == wanted
        moved += row["rank"] != row["first_rank"]
    assert moved
    told = read(made / "listwise.json")
    rank = tested["rank"].to_numpy()
    gain = np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean()
    assert told["figures"]["ndcg@10"]["listwise"] == pytest.approx(gain)
    assert read(made / "metrics.json")["test/ndcg@10"] == pytest.approx(gain)
    old = np.array([before[user] for user in tested["user"]])
    gain = np.where(old <= 10, 1 / np.log2(old + 1), 0).mean()
    assert told["figures"]["ndcg@10"]["first"] == pytest.approx(gain)
    assert told["random orders"] == 3
    assert len(RunFolder.open(made).table("positions")) == 6


def test_it_is_a_run_that_needs_no_other(
    made: Path, first: Path, asked: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["evaluate", f"run={made}"]) == 0
    assert "to the last bit" in capfd.readouterr().out
    away = tmp_path / "away"
    shutil.move(first, away)
    try:
        assert cli.run(["evaluate", f"run={made}"]) == 0
        predictor = load_run(made)
        user = RunFolder.open(made).table("test_users")["user"][0]
        answer = predictor.recommend(users=[user], k=10)
        assert answer["rank"].to_list() == [*range(1, 11)]
        assert answer["score"].is_sorted(descending=True)
        plain = load_run(away).recommend(users=[user], k=10)
        assert {*answer["item"][:6]} == {*plain["item"][:6]}
        assert answer["item"][6:].equals(plain["item"][6:])
    finally:
        shutil.move(away, first)


def test_the_sample_is_compared_with_the_first_run_on_the_same_users_alone(
    made: Path, first: Path, asked: list[str], tmp_path: Path, refused: Refused
) -> None:
    plain = tmp_path / "plain"
    sample = ["protocol.val_users=0", "protocol.test_users=12", "model.shuffles=0"]
    assert cli.run(["train", *asked, *sample, f"run_dir={plain}"]) == 0
    ranks = RunFolder.open(plain).table("test_users")
    assert ranks["rank"].equals(ranks["first_rank"].rename("rank"))
    assert ranks["user"].equals(RunFolder.open(made).table("test_users")["user"])
    assert not len(RunFolder.open(plain).table("lists"))
    compared = compare({"LLM": made, "SASRec": plain}, figures=["test/ndcg@10"])
    assert compared is not None
    cards = [read(run / "run.json") for run in (made, plain, first)]
    assert cards[0]["protocol_hash"] == cards[1]["protocol_hash"] != cards[2]["protocol_hash"]
    assert cards[0]["protocol"]["test_users"] == 12
    assert "protocol" in refused("compare", str(made), str(first))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.first=null"], "model.first=FOLDER: name a finished run"),
        (["model.first=/nowhere"], "There is no folder"),
        (["protocol=temporal"], "is a run of another protocol than this one"),
        (["protocol.drop_doubled=true"], "is a run of another protocol"),
        (["protocol.val_users=3", "protocol.others_train=true"], "of another protocol"),
        (["model.rerank=30"], "model.rerank=30"),
        (["model.title='{name}'"], "no column 'name'"),
        (["method=update", "method.run={first}"], "nothing is trained in list-wise"),
    ],
)
def test_what_cannot_work_is_told(
    asked: list[str], first: Path, refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in asked if each.partition("=")[0] not in names]
    more = [each.replace("{first}", str(first)) for each in overrides]
    assert said in refused("train", *kept, *more, f"run_dir={tmp_path / 'run'}")


def test_it_is_no_member_and_no_bundle(
    made: Path, first: Path, refused: Refused, tmp_path: Path
) -> None:
    told = "re-ranked by a language model: name the run of its model.first"
    assert told in refused("ensemble", str(made))
    assert "which no bundle takes along" in refused("export", f"run={made}", f"to={tmp_path / 'b'}")
    assert "Listwise" in refused("pipeline", str(made), f"to={tmp_path / 'p'}")
