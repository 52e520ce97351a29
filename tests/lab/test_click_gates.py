"""A gate between two runs of clicks, or of matching, by figures that are worked out otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.lab.gates import gate
from lightning_rec.runs.folder import RunFolder

SETTINGS = [
    "model=din", "model.dim=4", "model.mlp=[8]", "data=click_table", "protocol=temporal_rows",
    "data.fields.label=clicked", "data.fields.categorical=[uid,sku,device]",
    "data.fields.group=uid", "data.fields.time=ts", "data.fields.item=sku",
    "data.fields.past=clicks", "data.fields.history_max_len=5", "logger=none", "trainer=cpu",
    "baseline=null", "batches.batch_size=64", "optimizer.lr=0.02",
]  # fmt: skip
START = 1_600_000_000


@pytest.fixture(scope="module")
def logs(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The first 500 rows without two items, and all 600."""
    folder = tmp_path_factory.mktemp("logs")
    early = click_frame.head(500).filter(~pl.col("sku").is_in(["i4", "i9"]))
    early.write_csv(folder / "old.csv")
    click_frame.write_csv(folder / "new.csv")
    return {name: folder / f"{name}.csv" for name in ("old", "new")}


@pytest.fixture(scope="module")
def runs(logs: dict[str, Path]) -> dict[str, Path]:
    """A run on the earlier rows, and one that went on from it, whose tests overlap."""
    found = {name: path.with_suffix("") for name, path in logs.items()}
    cuts = ["protocol.val_from=0.5", "protocol.test_from=0.7"]
    asked = [*SETTINGS, *cuts, f"data.path={logs['old']}", "trainer.max_epochs=3"]
    assert cli.run(["train", *asked, f"run_dir={found['old']}"]) == 0
    more = ["protocol.val_from=0.6", "protocol.test_from=0.75", f"data.path={logs['new']}"]
    assert cli.run(["train", f"from={found['old']}", *more, f"run_dir={found['new']}"]) == 0
    return found


@pytest.fixture(scope="module")
def asked(runs: dict[str, Path], click_frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of the newer test, with histories of a loop, and what both models say of them."""
    rows = click_frame.with_columns(row=pl.int_range(pl.len())).to_dicts()
    for row in rows:
        earlier = [each for each in rows[: row["row"]] if each["uid"] == row["uid"]]
        row["history"] = [each["sku"] for each in earlier if each["clicked"]]
    schema: Any = {**click_frame.schema, "row": pl.Int64, "history": pl.List(pl.String)}
    frame = pl.DataFrame(rows, schema=schema)
    frame = frame.filter(pl.col("ts") >= frame["ts"].quantile(0.75, "higher"))
    models: dict[str, Any] = {name: load_run(path) for name, path in runs.items()}
    scores = {name: model.score(frame)["score"] for name, model in models.items()}
    return frame.with_columns(**scores)


def test_figures_are_those_of_rows_asked_one_by_one(
    runs: dict[str, Path], asked: pl.DataFrame, logs: dict[str, Path]
) -> None:
    own = read_json(runs["new"] / "metrics.json")
    assert roc_auc_score(asked["clicked"], asked["new"]) == pytest.approx(own["test/auc"])
    early = pl.read_csv(logs["old"])
    first, last = early["ts"].quantile(0.7, "higher"), early["ts"].max()
    train = early.filter(pl.col("ts") < early["ts"].quantile(0.5, "higher"))
    old, known = (
        pl.col("ts").is_between(first, last),
        pl.col("sku").is_in(train["sku"].unique().implode()),
    )
    masks = {"new": ~old, "of known items": ~old & known, "of new items": ~old & ~known, "old": old}
    for figure in ("auc", "logloss", "gauc"):
        found = {part.name: part for part in gate(runs["new"], runs["old"], figure).parts}
        assert [*found] == [*masks]
        for name, mask in masks.items():
            rows = asked.filter(mask)
            part = found[name]
            assert (part.targets, part.users) == (len(rows), rows["uid"].n_unique())
            then, now = (measured(figure, rows, asked, each) for each in ("old", "new"))
            assert part.before == pytest.approx(then)
            assert part.now == pytest.approx(now)
            assert part.difference == pytest.approx(now - then)
            assert part.low is not None
            assert part.high is not None
            assert part.low <= now - then <= part.high


def measured(figure: str, rows: pl.DataFrame, every: pl.DataFrame, score: str) -> float:
    if figure == "auc":
        return float(roc_auc_score(rows["clicked"], rows[score]))
    if figure == "logloss":
        return float(log_loss(rows["clicked"], rows[score]))
    values = []  # the area of each user's rows of the whole test, for each of his rows here
    for (user,), own in every.partition_by("uid", as_dict=True).items():
        if own["clicked"].n_unique() == 2:
            area = roc_auc_score(own["clicked"], own[score])
            values += [area] * len(rows.filter(pl.col("uid") == user))
    return float(np.mean(values))


def test_the_margin_is_a_share_of_what_lies_above_chance(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clicked = RunFolder.open(runs["new"]).table("test_rows")["label"]
    base = float(log_loss(clicked, np.full(len(clicked), clicked.mean())))
    for figure, margin in (("auc", 0.05), ("logloss", 0.001), ("logloss", 0.9), ("auc", 0.99)):
        found = gate(runs["new"], runs["old"], figure, margin)
        judged = [part for part in found.parts if part.name in ("new", "old")]
        passes = []
        for part in judged:
            assert part.before is not None
            assert part.low is not None
            assert part.high is not None
            if figure == "auc":
                passes.append(part.low >= -margin * max(0, part.before - 0.5))
            else:
                passes.append(part.high <= margin * max(0, base - part.before))
        assert found.released == all(passes)
        assert len(found.reasons) == passes.count(False)
    to = tmp_path / "gate.json"
    asked = [f"run={runs['new']}", f"against={runs['old']}", "margin=0", f"to={to}"]
    assert cli.run(["gate", *asked]) == (0 if read_json(to)["released"] else 3)
    assert "auc" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused(runs: dict[str, Path]) -> None:
    new, old = (f"{runs[name]}" for name in ("new", "old"))
    for said, words in {
        (f"run={new}", f"against={old}", "figure=ndcg@10"): "one of auc, logloss",
        (f"run={new}", f"against={old}", "figure=buy/auc"): "one of auc, logloss",
        (f"run={old}", f"against={new}"): "has learnt",
    }.items():
        with pytest.raises(UserError, match=words):
            cli.run(["gate", *said])


def test_of_matching_both_rank_the_texts_of_now(
    pairs_frame: pl.DataFrame, tiny_bert: Path, tmp_path: Path
) -> None:
    """A bi-encoder goes on with pairs that were added, and its figures are those of its own test."""
    for library in ("transformers", "peft"):
        pytest.importorskip(library)
    path, old, new = tmp_path / "pairs.csv", tmp_path / "old", tmp_path / "new"
    number = pl.col("term").rle_id()
    pairs_frame.filter(number < 80, pl.col("sku") != "p07").write_csv(path)
    settings = [
        "data=pairs", f"data.path={path}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]", "protocol.val=0.2",
        "protocol.test=0.2", "protocol.cutoffs=[1,5,10]", "batches.batch_size=16", "trainer=cpu",
        "model=bi_encoder", f"model.encoder={tiny_bert}", "logger=none", "baseline=null",
        "trainer.max_epochs=1", "data.name=products",
    ]  # fmt: skip
    assert cli.run(["train", *settings, f"run_dir={old}"]) == 0
    later = tmp_path / "later.csv"
    pairs_frame.write_csv(later)
    more = [f"data.path={later}", "trainer.max_epochs=0", "method.replay=0.5", f"run_dir={new}"]
    assert cli.run(["train", f"from={old}", *more]) == 0
    begun, learnt = read_json(new / "run.json")["begun"], pl.read_parquet(old / "trained.parquet")
    now = pl.read_parquet(new / "trained.parquet")
    fresh = now.join(learnt, ["query", "item"], "anti")
    assert begun["new queries"] == len(set(now["query"]) - set(learnt["query"]))
    assert begun["new items"] == len(set(now["item"]) - set(learnt["item"]))
    good = pairs_frame.filter(pl.col("grade") >= 2.5)
    of = fresh.join(good, left_on=["query", "item"], right_on=["term", "sku"], how="semi")
    assert begun["new pairs"] in (len(fresh), len(of))
    assert 0 < begun["replayed pairs"] < len(now) - len(fresh)
    # Without a step both are the same model.
    found = {part.name: part for part in gate(new, old).parts}
    assert (
        sum(part.targets for part in found.values())
        == read_json(new / "run.json")["split"]["test queries"]
    )
    for part in found.values():
        assert part.before == part.now
    value = sum(part.targets * (part.now or 0) for part in found.values())
    own = read_json(new / "metrics.json")["test/ndcg@10"]
    assert value / sum(part.targets for part in found.values()) == pytest.approx(own)
    with pytest.raises(UserError, match="of queries there is none"):
        gate(new, old, "nonsense")
    bm25 = tmp_path / "bm25"
    plain = [each for each in settings if "encoder" not in each and "max_epochs" not in each]
    assert cli.run(["train", *plain, "model=bm25", f"run_dir={bm25}"]) == 0
    with pytest.raises(UserError, match="nothing to go on with"):
        cli.run(["train", f"from={bm25}", f"data.path={later}", f"run_dir={tmp_path / 'no'}"])
