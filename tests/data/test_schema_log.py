"""``data schema`` of a log with tables about its items and users writes configs that train."""

import random
from pathlib import Path

import polars as pl
import pytest
import yaml

import lightning_rec
from lightning_rec.commands.data import run
from lightning_rec.data.beside import Beside
from lightning_rec.data.dialect import Dialect
from lightning_rec.data.sources.table import TableSource
from lightning_rec.errors import UserError

GENRES = ("Action", "Comedy", "Drama", "Film-Noir")


@pytest.fixture
def movielens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in the very form of MovieLens-1M: parted by ``::``, no header, latin-1 titles."""
    draw = random.Random(1)
    movies = [f"{i}::Film é {i} ({1950 + i})::{draw.choice(GENRES)}|{draw.choice(GENRES)}" for i in range(1, 41)]  # fmt: skip
    users = [f"{u}::{'FM'[u % 2]}::{(1, 18, 25)[u % 3]}::{u % 5}::{10000 + 7 * u}-{u:04}" for u in range(1, 61)]  # fmt: skip
    rows = [
        f"{u}::{1 + (u * 3 + n) % 40}::{1 + (u + n) % 5}::{978300000 + 1000 * u + 60 * n}"
        for u in range(1, 61)
        for n in range(12)
    ]
    for name, lines in (("movies", movies), ("users", users), ("ratings", rows)):
        (tmp_path / f"{name}.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASKED = ["schema", "ratings.dat", "catalogue=movies.dat", "users=users.dat", "name=ml"]


def test_the_files_of_movielens_1m(movielens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ASKED) == 0
    told = capsys.readouterr().out
    assert "train --config-dir my_conf experiment=ml" in told
    data = yaml.safe_load(Path("my_conf/data/ml.yaml").read_text())
    assert data["columns"] == ["user", "item", "rating", "time"]
    assert data["catalogue_columns"] == ["item", "title", "column_3"]
    assert data["catalogue_encoding"] == "latin-1"
    assert data["users_columns"] == ["user", "column_2", "column_3", "column_4", "column_5"]
    experiment = yaml.safe_load(Path("my_conf/experiment/ml.yaml").read_text())
    assert experiment["item"]["parts"]["features"] == {"columns": ["column_3"]}
    assert experiment["task"] == {
        "events": ["rating", "gap", "hour", "weekday"],
        "users": ["column_2", "column_3", "column_4"],
    }
    with pytest.raises(UserError, match="is there already"):
        run(ASKED)
    small = ["model.dim=8", "model.depth=1", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    chosen = ["experiment=ml", "logger=none", "run_dir=run", "protocol.cutoffs=[1,10]", *small]
    run_of = lightning_rec.train(*chosen, config_dir="my_conf")
    assert "test/ndcg@10" in run_of.metrics
    users = TableSource(**{k: v for k, v in data.items() if k != "defaults"}).about["users"].read()
    assert users.collect().columns == ["user", "column_2", "column_3", "column_4", "column_5"]


def test_ids_are_found_by_their_values_whatever_columns_are_called(
    movielens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.DataFrame(
        {
            "brand": [i % 3 for i in range(40)],
            "key": [f"{40 - i}" for i in range(40)],
            "label": [f"thing {i}" for i in range(40)],
            "price": [i / 7 for i in range(40)],
        }
    ).write_parquet("things.parquet")
    assert run(["schema", "ratings.dat", "catalogue=things.parquet", "name=t"]) == 0
    data = yaml.safe_load(Path("my_conf/data/t.yaml").read_text())
    assert (data["catalogue_item"], data["catalogue_title"]) == ("key", "label")
    features = yaml.safe_load(Path("my_conf/experiment/t.yaml").read_text())["item"]["parts"]
    assert features["features"] == {"columns": ["brand", "price"], "categories": ["brand"]}
    pl.DataFrame({"a": ["x", "y"], "b": [1, 2]}).write_csv("other.csv")
    with pytest.raises(UserError, match="no column holds the user ids of the log"):
        run(["schema", "ratings.dat", "users=other.csv", "name=u"])


def test_columns_of_the_log_are_offered(movielens: Path) -> None:
    lines = [f"{u},{(u + n) % 20},{978300000 + n},{'pc' if n % 2 else 'app'},{n},s{u}-{n}" for u in range(1, 30) for n in range(9)]  # fmt: skip
    Path("events.csv").write_text("\n".join(["uid,sku,ts,device,shelf,session_key", *lines]))
    assert run(["schema", "events.csv", "user=uid", "item=sku", "time=ts", "name=e"]) == 0
    assert yaml.safe_load(Path("my_conf/data/e.yaml").read_text())["features"] == [
        "device",
        "shelf",
    ]
    written = yaml.safe_load(Path("my_conf/experiment/e.yaml").read_text())
    assert written["task"] == {"events": ["gap", "hour", "weekday", "device", "shelf"]}
    assert "item" not in written


def test_a_log_without_an_order_gets_no_model_of_sequences(movielens: Path) -> None:
    Path("pairs.csv").write_text("user,item\n" + "\n".join(f"{u},{i}" for u in range(1, 20) for i in range(1, 9)))  # fmt: skip
    asked = ["schema", "pairs.csv", "catalogue=movies.dat", "name=p"]
    assert run(asked) == 0
    assert not Path("my_conf/experiment/p.yaml").exists()
    assert run([*asked[:-1], "name=q", "protocol=leave_one_out"]) == 0
    written = yaml.safe_load(Path("my_conf/experiment/q.yaml").read_text())
    assert {"override /protocol": "leave_one_out"} in written["defaults"]


def test_faults_of_the_table_of_users_are_told(movielens: Path) -> None:
    Path("twice.csv").write_text("user,age\n1,3\n1,4\n")
    with pytest.raises(UserError, match="column 'user': ids must be unique, but these are not: 1"):
        Beside(Path("twice.csv"), "user", "users", "user", Dialect()).read()
    with pytest.raises(UserError, match=r"has no column 'uid' for data\.users_user"):
        Beside(Path("twice.csv"), "user", "users", "uid", Dialect()).read()
    with pytest.raises(UserError, match=r"with data\.session sessions stand where users would"):
        TableSource("ratings.dat", session="s", item="item", users="users.dat")
