"""A run of clicks goes on with a later log: rows of values are kept by value, new ones are learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import shipped

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.models.clicks.parts import ClickModel, FittedToClicks

GOALS = ("esmm", "mmoe", "ple", "shared_bottom")
APART = ("tallrec", "sequence_score")  # over a language model; over a run of sequences
MOMENT = (
    1_600_000_000 + 60 * 400
)  # of the row where the test of the later log begins at the earliest
FEATURES = [
    "data.fields.categorical=[uid,sku,device]", "data.fields.multi_valued=[tags]",
    "data.fields.numeric=[price,age]", "+data.fields.buckets={age: 4}", "+data.fields.dims={sku: 4}",
    "data.fields.group=uid", "data.fields.time=ts", "data.fields.item=sku",
    "data.fields.past=clicks", "data.fields.history_max_len=5",
]  # fmt: skip
SETTINGS = [
    "data=click_table", "protocol=temporal_rows", "logger=none", "trainer=cpu", "baseline=null",
    "batches.batch_size=64", *FEATURES,
]  # fmt: skip
Train = Callable[..., Path]


def models() -> list[str]:
    """Every model of clicks that has weights to learn."""
    return [
        name
        for name in shipped.models_of("click")
        if name not in APART
        and issubclass(made := shipped.class_of(name), ClickModel)
        and not issubclass(made, FittedToClicks)
    ]


@pytest.fixture(scope="module")
def logs(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The rows until a moment, without a user and two items, and all of them, in another order."""
    folder = tmp_path_factory.mktemp("logs")
    number = pl.int_range(pl.len())
    frame = click_frame.with_columns(
        age=(number * 7 % 50 + number // 10).cast(pl.Float64),
        bought=pl.col("clicked") * (number % 2),
    )
    early = frame.filter(
        pl.col("ts") < MOMENT, pl.col("uid") != "u3", ~pl.col("sku").is_in(["i4", "i9"])
    )
    early.write_csv(folder / "early.csv")
    frame.sort("sku", descending=True, maintain_order=True).write_csv(folder / "late.csv")
    return {name: folder / f"{name}.csv" for name in ("early", "late")}


@pytest.fixture
def early(logs: dict[str, Path], tmp_path: Path) -> Train:
    def make(model: str, *overrides: str) -> Path:
        run, small = tmp_path / "early", []
        known = shipped.said("model", model)
        small += ["model.dim=8"] if "dim" in known else []
        goals = "+data.fields.goals={click: {column: clicked}, buy: {column: bought}}"
        small += [goals] if model in GOALS else ["data.fields.label=clicked"]
        asked = [f"model={model}", *small, *SETTINGS, f"data.path={logs['early']}", *overrides]
        assert cli.run(["train", *asked, f"run_dir={run}"]) == 0
        return run

    return make


@pytest.fixture
def later(logs: dict[str, Path], tmp_path: Path) -> Train:
    def make(run: Path, *overrides: str) -> Path:
        made = tmp_path / f"later_{len(list(tmp_path.iterdir()))}"
        asked = [f"from={run}", f"data.path={logs['late']}", *overrides, f"run_dir={made}"]
        assert cli.run(["train", *asked]) == 0
        return made

    return make


def rows_to_ask(click_frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with values that both logs have, and histories of known items."""
    known = ~pl.col("sku").is_in(["i4", "i9"]) & (pl.col("uid") != "u3")
    rows = click_frame.filter(known).head(200)
    number = pl.int_range(pl.len())
    past = pl.concat_list(pl.lit("i1"), pl.lit("i7"), pl.format("i{}", number % 3))
    return rows.with_columns(age=(number * 11 % 90).cast(pl.Float64), history=past)


def by_value(run: Path, field: str) -> dict[str | None, Any]:
    """The rows of the table that all fields share, by the value of a field."""
    predictor: Any = load_run(run)
    known = predictor.processor.vocabulary.filter(pl.col("field") == field)
    schema = predictor.processor.schema
    apart = [f for f in schema.fields if f.dim is not None and f.dim != 8]
    table = predictor.model.fields.table.weight
    rows = {}
    for value, at in known.select("value", "id").iter_rows():
        before = sum(f.size for f in apart if f.start < at)
        rows[value] = table[at - before].numpy()
    return rows


FAST = ("bst", "deepfm", "din", "esmm", "two_tower")


@pytest.mark.parametrize(
    "model",
    [each if each in FAST else pytest.param(each, marks=pytest.mark.slow) for each in models()],
)
def test_without_a_step_it_answers_as_the_run_did(
    model: str, early: Train, later: Train, click_frame: pl.DataFrame
) -> None:
    run = early(model, "trainer.max_epochs=1", "optimizer.lr=0.05")
    new = later(run, "trainer.max_epochs=0")
    words = [pl.read_parquet(each / "vocabulary.parquet") for each in (run, new)]
    both = words[0].join(words[1], ["field", "value"], nulls_equal=True)
    assert (both["id"] != both["id_right"]).sum() > len(both) / 2
    asked = rows_to_ask(click_frame)
    old, now = (load_run(each).score(asked) for each in (run, new))
    names = [name for name in old.columns if name.startswith("score")]
    assert len(names) == (2 if model in GOALS else 1)
    assert old[names[0]].n_unique() > 50
    for name in names:
        np.testing.assert_allclose(now[name], old[name], rtol=0, atol=1e-6)


def test_known_values_keep_their_rows_and_new_ones_are_the_mean(early: Train, later: Train) -> None:
    run = early("deepfm", "trainer.max_epochs=1", "optimizer.lr=0.05")
    begun = later(run, "trainer.max_epochs=0")
    old, new = by_value(run, "uid"), by_value(begun, "uid")
    assert new.keys() - old.keys() == {"u3"}
    for value, row in old.items():
        np.testing.assert_array_equal(new[value], row)
    np.testing.assert_allclose(new["u3"], np.mean(list(old.values()), axis=0), atol=1e-7)
    skus = [pl.read_parquet(each / "vocabulary.parquet") for each in (run, begun)]
    names = [each.filter(pl.col("field") == "sku")["value"].to_list() for each in skus]
    answering: list[Any] = [load_run(each) for each in (run, begun)]
    tables = [each.model.fields.apart[0].table.weight for each in answering]
    of = [dict(zip(n, t[2:].numpy(), strict=True)) for n, t in zip(names, tables, strict=True)]
    for value, row in of[0].items():
        np.testing.assert_array_equal(of[1][value], row)
    np.testing.assert_allclose(of[1]["i4"], np.mean(list(of[0].values()), axis=0), atol=1e-7)
    drawn = by_value(later(run, "trainer.max_epochs=0", "method.new=draw"), "uid")
    assert np.abs(drawn["u3"] - new["u3"]).max() > 1e-3


def test_numbers_stay_scaled_as_they_were(early: Train, later: Train) -> None:
    run = early("fm", "trainer.max_epochs=0")
    new = later(run, "trainer.max_epochs=0")
    then, now = (pl.read_parquet(each / "statistics.parquet") for each in (run, new))
    assert then.equals(now)
    prices = pl.read_csv(data_of(run)).sort("ts")["price"]
    learnt = pl.read_parquet(run / "trained.parquet").filter(pl.col("part") == "train")["rows"][0]
    own = prices.head(learnt).drop_nulls()
    mean, deviation = now.row(by_predicate=pl.col("field") == "price")[1:3]
    assert (mean, deviation) == pytest.approx((own.mean(), own.std(ddof=0)))
    # Where the earlier run is gone its copy is read.
    (run / "statistics.parquet").unlink()
    assert cli.run(["evaluate", f"run={new}"]) == 0


def data_of(run: Path) -> str:
    from lightning_rec.runs.folder import RunFolder

    return str(RunFolder.open(run).config.data.path)


def test_new_rows_are_learnt_and_old_ones_by_their_share(early: Train, later: Train) -> None:
    run = early("fm", "trainer.max_epochs=0")
    frame = pl.read_csv(data_of(run))
    cut = frame["ts"].quantile(0.8, "higher")
    rows = dict(pl.read_parquet(run / "trained.parquet").select("part", "rows").iter_rows())
    assert rows["train"] == (frame["ts"] < cut).sum()
    begun = {
        share: read_json(later(run, "trainer.max_epochs=1", f"method.replay={share}") / "run.json")
        for share in (0, 0.5, 1)
    }
    told = {share: each["begun"] for share, each in begun.items()}
    late = pl.read_csv(Path(data_of(run)).parent / "late.csv")
    train = late.filter(pl.col("ts") < late["ts"].quantile(0.8, "higher"))
    last = frame.filter(pl.col("ts") < cut)["ts"].max()
    assert {each["new rows"] for each in told.values()} == {len(train.filter(pl.col("ts") > last))}
    assert told[0]["replayed rows"] == 0
    whole = told[1]["replayed rows"]
    assert whole == len(train.filter(pl.col("ts") <= last))
    assert 0.35 * whole < told[0.5]["replayed rows"] < 0.65 * whole
    assert told[0]["new uid"] == 1
    assert told[0]["new sku"] == 2


def test_an_encoder_of_histories_keeps_its_items(
    early: Train, later: Train, click_frame: pl.DataFrame
) -> None:
    encoder = ["model@encoder.model=sasrec", "encoder.model.dim=8"]
    run = early("deepfm", "trainer.max_epochs=1", "optimizer.lr=0.05", *encoder)
    new = later(run, "trainer.max_epochs=0")
    old, now = (load_run(each).score(rows_to_ask(click_frame)) for each in (run, new))
    np.testing.assert_allclose(now["score"], old["score"], rtol=0, atol=1e-6)


def test_it_is_refused_where_nothing_can_be_gone_on_with(
    early: Train, later: Train, logs: dict[str, Path], tmp_path: Path
) -> None:
    run = early("fm", "trainer.max_epochs=0")
    late = pl.read_csv(logs["late"])
    late.filter(pl.col("ts") >= MOMENT).write_csv(tmp_path / "new.csv")
    for override, words in {
        f"data.path={logs['early']}": "nothing new to learn",
        "model.dim=16": "another model=",
        "data.fields.scale=log": r"another data\.fields\.scale",
        f"data.path={tmp_path / 'new.csv'}": "not the new ones alone",
        "method.new=text": "say mean or draw",
        "protocol.test_from=0.5": r"rows of test are of the time that .* has learnt",
    }.items():
        with pytest.raises(UserError, match=words):
            later(run, override, "protocol.val_from=0.3" if "test_from" in override else override)
    for name, more, words in (
        ("nb", ["model=naive_bayes"], "fitted at once"),
        ("drawn", ["model=fm", "protocol=random_rows"], "not trained on the earlier rows"),
    ):
        asked = [*SETTINGS, *more, "data.fields.label=clicked", f"data.path={logs['early']}"]
        assert cli.run(["train", *asked, "trainer.max_epochs=0", f"run_dir={tmp_path / name}"]) == 0
        with pytest.raises(UserError, match=words):
            later(tmp_path / name)
    (run / "trained.parquet").unlink()
    with pytest.raises(UserError, match="made by an earlier version"):
        later(run)


def test_a_period_of_the_log_is_all_that_counts(
    early: Train, later: Train, logs: dict[str, Path]
) -> None:
    """A run under since= and until= is one on a file of those rows alone."""
    late = pl.read_csv(logs["late"])
    first, last = 1_600_000_000 + 60 * 50, 1_600_000_000 + 60 * 450
    part = logs["late"].parent / "part.csv"
    late.filter(pl.col("ts").is_between(first, last, closed="left")).write_csv(part)
    whole = early("fm", f"data.path={part}", "trainer.max_epochs=1")
    period = ["protocol.since=2020-09-13T13:16:40", "protocol.until=2020-09-13T19:56:40"]
    cut = whole.with_name("cut")
    asked = ["model=fm", "model.dim=8", *SETTINGS, "data.fields.label=clicked", *period]
    asked += [f"data.path={logs['late']}", "trainer.max_epochs=1", f"run_dir={cut}"]
    assert cli.run(["train", *asked]) == 0
    assert read_json(cut / "metrics.json") == read_json(whole / "metrics.json")
    assert pl.read_parquet(cut / "trained.parquet").equals(
        pl.read_parquet(whole / "trained.parquet")
    )
