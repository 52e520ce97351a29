"""Sources of clicks on small made-up copies of their formats, and on the real files where they are."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from lightning_rec import cli, config
from lightning_rec.data.clicks.pipeline import AuditedClicks, load_clicks
from lightning_rec.data.clicks.table import PART, ClickSource, prepare_clicks
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.frappe import unused_items
from lightning_rec.data.sources.movielens import MovieLens100K
from lightning_rec.errors import UserError


def source(name: str) -> ClickSource:
    made: ClickSource = config.build(
        "data", OmegaConf.load(config.config_dir() / "data" / f"{name}.yaml")
    )
    return made


def rows_of(
    name: str, folder: Path, files: dict[str, str], data: pytest.MonkeyPatch
) -> pl.DataFrame:
    """The rows that are prepared of these files in this folder."""
    (folder / "raw").mkdir()
    for file, text in files.items():
        raw = text.encode()
        (folder / "raw" / file).write_bytes(gzip.compress(raw) if file.endswith(".gz") else raw)
    data.setenv("LIGHTNING_REC_DATA", str(folder / "raw"))
    return prepare_clicks(source(name), folder / "cache").rows.collect()


def test_movielens_100k_is_joined_with_users_and_movies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["0"] * 19
    flags[1] = flags[5] = "1"
    files = {
        "u.data": "2\t1\t3\t7200\n1\t2\t5\t90000\n",
        "u.item": f"1|Toy Story (1995)|01-Jan-1995||url|{'|'.join(flags)}\n"
        f"2|Usual Suspects, The (1995)|14-Aug-1995||url|{'|'.join(['0'] * 19)}\n",
        "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    }
    rows = rows_of("ml_100k_clicks", tmp_path, files, monkeypatch)
    first, second = rows.iter_rows(named=True)
    assert (first["user"], first["item"], first["rating"], first["hour"]) == ("2", "1", 3.0, 2)
    assert (first["age"], first["occupation"], first["genres"]) == (
        53,
        "other",
        ["Action", "Comedy"],
    )
    assert (second["title"], second["year"], second["hour"]) == ("The Usual Suspects", 1995, 1)
    prepare(MovieLens100K(), tmp_path / "cache")  # the same log for models of sequences
    written = [path.name for path in (tmp_path / "cache").rglob("*.parquet")]
    assert sorted(written) == ["interactions.parquet", "items.parquet", "users.parquet"]


def test_collm_keeps_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "uid\tiid\tlabel\ttimestamp\tnot_cold\thistory\n"
    files = {
        "train.tsv.gz": head + "1\t1\t1\t994556598\t1\t0\n1\t2\t0\t994556636\t1\t0 1\n",
        "valid.tsv.gz": head + "7\t2\t1\t1018930306\t1\t0\n",
        "test.tsv.gz": head + "4\t3\t0\t1040544350\t0\t0 10 2\n",
        "items.tsv.gz": 'iid\ttitle\n1\t"Great" Escape, The (1963)\n2\tSting, The (1973)\n',
    }
    rows = rows_of("ml_1m_collm", tmp_path, files, monkeypatch)
    assert rows[PART].to_list() == ["train", "train", "val", "test"]
    assert rows["label"].to_list() == [1, 0, 1, 0]
    assert rows["history"].to_list() == ["", "1", "", "10 2"]
    assert rows["title"].to_list()[1:] == ["Sting, The (1973)"] * 2 + [None]


def test_frappe_has_sampled_rows_after_each_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "user item cnt daytime weekday isweekend homework cost weather country city\n"
    logs = [
        f"{i % 3} {i} 9 noon sunday weekend unknown free sunny Spain {i % 2}\n" for i in range(9)
    ]
    text = (head + "".join(logs)).replace(" ", "\t")
    rows = rows_of("frappe", tmp_path, {"frappe.csv.gz": text}, monkeypatch)
    assert rows["label"].to_list() == [1, 0, 0] * 9
    assert "cnt" not in rows.columns
    assert rows["city"].to_list() == [i % 2 for i in range(9) for _ in range(3)]
    drawn = rows.filter(label=0)
    assert (drawn["item"] % 3 != drawn["user"]).all()  # user u uses the items u, u + 3 and u + 6


def test_draws_are_uniform_over_what_a_user_does_not_use() -> None:
    user = np.repeat(np.arange(5), 2_000)
    item = np.tile([10, 20, 30, 40], 2_500)
    item[:2_000] = 10  # user 0 uses one item, users 1 to 3 four of five
    item = np.append(item, [10] * 3)
    item[8_000:10_000] = 50  # and user 4 another one
    user = np.append(user, [0, 0, 0])
    drawn = unused_items(user, item, 2, seed=1)
    mine = drawn[:2_000].ravel()
    assert np.bincount(mine)[[20, 30, 40, 50]].tolist() == pytest.approx([1_000] * 4, rel=0.15)
    assert (drawn[2_000:8_000] == 50).all()
    assert set(drawn[8_000:10_000].ravel()) == {10, 20, 30, 40}
    assert (unused_items(user, item, 2, seed=1) == drawn).all()
    assert (unused_items(user, item, 2, seed=2) != drawn).any()


def test_a_user_of_everything_is_told() -> None:
    with pytest.raises(UserError, match="uses every item"):
        unused_items(np.array([0, 0, 1]), np.array([1, 2, 1]), 1, seed=0)


def test_criteo_and_avazu_read_their_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "\t".join(["0", "1", "-1", "", *["5"] * 10, *["05db9164"] * 25, ""])
    files = {f"{part}.tsv.gz": line + "\n" for part in ("train", "dev", "test")}
    rows = rows_of("criteo_sample", tmp_path, files, monkeypatch)
    assert rows[PART].to_list() == ["train", "val", "test"]
    assert rows.select("label", "I2", "I3", "C1", "C26").row(0) == (0, -1, None, "05db9164", None)
    ids = ",".join(["7", "1", "14102113", *[f"x{i}" for i in range(21)]])
    head = "id,click,hour,C1,banner_pos" + ",x" * 19
    folder = tmp_path / "avazu"
    folder.mkdir()
    files = {
        "train.csv.gz": f"{head}\n{ids}\n",
        "dev.csv.gz": ids + "\n",
        "test.csv.gz": ids + "\n",
    }
    rows = rows_of("avazu_sample", folder, files, monkeypatch)
    assert rows[PART].to_list() == ["train", "val", "test"]
    chosen = rows.select("click", "C1", "C21", "weekday", "weekend", "of_day")
    assert chosen.row(0) == ("1", "x0", "x20", 2, False, "13")


def in_the_format_of_bars(experiment: str, random: np.random.Generator) -> None:
    """Three files with the columns that BARS gives them, one of whose categories is the label."""
    data = config.compose([f"experiment={experiment}"]).data
    fields, folder = data.fields, Path(data.path).parent
    folder.mkdir()
    timed = "of_day" in fields.categorical
    made = {"weekday", "weekend", "of_day"} if timed else set()
    columns = [*fields.numeric, *(name for name in fields.categorical if name not in made)]
    for part, rows in (("train", 300), ("valid", 60), ("test", 60)):
        label = random.integers(0, 2, rows)
        values = {name: random.integers(0, 3, rows).astype(float) for name in columns}
        values[fields.categorical[1]] = label * 1.0
        hour = 14102100 + 100 * random.integers(0, 7, rows) + random.integers(0, 24, rows)
        hours = {"hour": hour} if timed else {}
        pl.DataFrame({fields.label: label, **hours, **values}).write_csv(folder / f"{part}.csv")


@pytest.mark.parametrize("data", ["criteo_x1", "criteo_x4", "avazu_x1", "avazu_x4", "frappe_x1", "movielenslatest_x1"])  # fmt: skip
def test_the_splits_of_bars_run_as_soon_as_their_files_are_there(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_REC_DATA", str(tmp_path))
    in_the_format_of_bars(f"deepfm_{data}", np.random.default_rng(1))
    run = tmp_path / "run"
    few = [
        "model.mlp=[8]",
        "model.dropout=0",
        "trainer.max_epochs=8",
        "optimizer.lr=0.05",
        "logger=none",
    ]
    few += ["task.embedding_l2=0", "batches.batch_size=30", "patience=8"]
    assert cli.run(["train", f"experiment=deepfm_{data}", *few, f"run_dir={run}"]) == 0
    card = json.loads((run / "run.json").read_text())
    assert card["split"] == {"rows": 420, "train rows": 300, "val rows": 60, "test rows": 60}
    assert json.loads((run / "metrics.json").read_text())["test/auc"] > 0.9


def test_a_field_that_is_not_there_is_told_with_the_nearest(click_csv: Path) -> None:
    node = OmegaConf.load(config.config_dir() / "data" / "click_table.yaml")
    fields = {"label": "clicked", "categorical": ["uid", "skus"]}
    made = config.build("data", OmegaConf.merge(node, {"path": str(click_csv), "fields": fields}))
    with pytest.raises(UserError, match=r"no column 'skus' for data\.fields\.categorical.*'sku'"):
        made.read(made.files())


def real(name: str, protocol: str, folder: Path) -> AuditedClicks:
    split = config.build(
        "protocol", OmegaConf.load(config.config_dir() / "protocol" / f"{protocol}.yaml")
    )
    try:
        return load_clicks(source(name), split, folder)
    except UserError as error:
        if "LIGHTNING_REC_DATA" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "protocol", "rows", "rate", "data_hash"),
    [
        ("ml_100k_clicks", "random_rows", 100_000, 0.5538, "3f5ae2125ba4"),
        ("ml_100k_clicks", "temporal_rows", 100_000, 0.5538, "3f5ae2125ba4"),
        ("frappe", "random_rows", 288_609, 0.3333, "bc177695a558"),
        ("ml_1m_collm", "given_rows", 51_623, 0.5364, "f54ca3c902e2"),
        ("criteo_sample", "given_rows", 8_000, 0.2159, "505daa94480e"),
        ("avazu_sample", "given_rows", 8_999, 0.1736, "7e22fd0d2c09"),
    ],
)
def test_the_real_files_pass_the_audit(
    name: str, protocol: str, rows: int, rate: float, data_hash: str, tmp_path: Path
) -> None:
    loaded = real(name, protocol, tmp_path)
    assert loaded.counts["rows"] == rows
    assert loaded.data_hash.startswith(data_hash)
    assert float(loaded.data.encoded.label.mean()) == pytest.approx(rate, abs=1e-3)
