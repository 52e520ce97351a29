"""A run of matching goes on with more pairs: what it has learnt stays out of the test, over any number of updates."""

import re
from pathlib import Path

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.data.matching.splits import ByQuery
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError

for library in ("transformers", "peft"):
    pytest.importorskip(library)


@pytest.fixture(scope="module")
def logs(pairs_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The pairs of the first queries, by how many there are."""
    folder = tmp_path_factory.mktemp("growing")
    number = pl.col("term").rle_id()
    for queries in (70, 80, 96):
        pairs_frame.filter(number < queries).write_csv(folder / f"{queries}.csv")
    return {queries: folder / f"{queries}.csv" for queries in (70, 80, 96)}


@pytest.fixture(scope="module")
def settings(tiny_bert: Path) -> list[str]:
    return [
        "data=pairs", "data.query=term", "data.title=name", "data.item=sku", "data.relevance=grade",
        "data.positive_from=2.5", "data.scale=[1,3]", "data.name=products", "protocol.cutoffs=[1,5,10]",
        "batches.batch_size=16", "trainer=cpu", "model=bi_encoder", f"model.encoder={tiny_bert}",
        "logger=none", "baseline=null", "trainer.max_epochs=0", "task.ranked=[]",
    ]  # fmt: skip


def parts(queries: int, **shares: float) -> dict[str, set[int]]:
    drawn = ByQuery(seed=int(shares.pop("seed")), cutoffs=(1,), **shares).draw(queries).tolist()
    named = {name: {place for place, of in enumerate(drawn) if of == number}
             for number, name in enumerate(("train", "val", "test"))}  # fmt: skip
    return named


def queries_of(run: Path, table: str) -> set[str]:
    return {*pl.read_parquet(run / f"{table}.parquet")["query"]}


def test_a_test_that_reaches_what_was_learnt_is_refused_with_what_to_say(
    logs: dict[int, Path], settings: list[str], tmp_path: Path
) -> None:
    seed = next(seed for seed in range(99) if parts(80, val=0.01, test=0.2, seed=seed)["train"]
                & parts(96, val=0.01, test=0.2, seed=seed)["test"])  # fmt: skip
    dealt = ["protocol.val=0.01", "protocol.test=0.2", f"protocol.seed={seed}"]
    old, new = tmp_path / "old", tmp_path / "new"
    first = [*settings, *dealt, f"data.path={logs[80]}"]
    assert cli.run(["train", *first, f"run_dir={old}"]) == 0
    later = ["train", f"from={old}", f"data.path={logs[96]}", f"run_dir={new}"]
    with pytest.raises(UserError, match=r"queries of test are among those that .* has learnt") as e:
        cli.run(later)
    share = re.search(r"with protocol\.test=([\d.]+) none", str(e.value))
    assert share is not None
    assert 0.1 < float(share[1]) < 0.2
    assert cli.run([*later, f"protocol.test={share[1]}"]) == 0
    tested = queries_of(new, "test_queries")
    assert not tested & queries_of(old, "trained")
    assert len(tested) == read_json(new / "run.json")["split"]["test queries"] > 10
    reversed_ = tmp_path / "reversed.csv"
    pl.read_csv(logs[96]).reverse().write_csv(reversed_)
    with pytest.raises(UserError, match="add pairs at its end"):
        cli.run(["train", f"from={old}", f"data.path={reversed_}", f"run_dir={tmp_path / 'no'}"])


def test_what_an_earlier_run_has_learnt_is_not_forgotten(
    logs: dict[int, Path],
    settings: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A query that trained first and validated then is still one that was learnt."""
    shares = {"val": 0.2, "test": 0.2}
    seed = next(seed for seed in range(99) if parts(70, **shares, seed=seed)["train"]
                & parts(80, **shares, seed=seed)["val"])  # fmt: skip
    runs = [tmp_path / name for name in ("first", "second")]
    dealt = ["protocol.val=0.2", "protocol.test=0.2", f"protocol.seed={seed}"]
    assert cli.run(["train", *settings, *dealt, f"data.path={logs[70]}", f"run_dir={runs[0]}"]) == 0
    cli.run(["train", f"from={runs[0]}", f"data.path={logs[80]}", f"run_dir={runs[1]}"])
    assert "queries of validation are among those that" in caplog.text
    moved = parts(70, **shares, seed=seed)["train"] & parts(80, **shares, seed=seed)["val"]
    terms = pl.read_csv(logs[80])["term"].unique(maintain_order=True).to_list()
    assert {terms[place] for place in moved} <= queries_of(runs[1], "trained")
    assert queries_of(runs[0], "trained") <= queries_of(runs[1], "trained")
    begun = read_json(runs[1] / "run.json")["begun"]
    fresh = parts(80, **shares, seed=seed)["train"] - parts(70, **shares, seed=seed)["train"]
    assert begun["new queries"] == len(fresh)
