"""``lightning-rec forecast`` and ``lightning_rec.forecast`` from a log to files, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import lightning_rec
from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import LeakError, UserError

pytest.importorskip("statsforecast")
PLAN = ["horizon=3", "windows=2", "lead_time=2", "epochs=2", "models=[ses,croston,neural]"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sales of twelve items over 20 weeks, with a catalogue, vectors and a stock."""
    folder, chance = tmp_path_factory.mktemp("forecast"), np.random.default_rng(3)
    day = np.repeat(np.arange(140), 9)
    item = chance.choice(12, len(day), p=np.arange(1, 13) / 78)
    when = np.datetime64("2024-01-01") + day
    pl.DataFrame(
        {"who": chance.integers(30, size=len(day)), "sku": item, "when": when.astype(str)}
    ).write_csv(folder / "log.csv")
    kinds = ["tea", "mug", "pot"]
    pl.DataFrame(
        {"item": range(12), "title": [f"Thing {n}" for n in range(12)],
         "category": [kinds[n % 3] for n in range(12)]}
    ).write_csv(folder / "items.csv")  # fmt: skip
    pl.DataFrame({"item": range(12), "stock": [3] * 12}).write_csv(folder / "stock.csv")
    pl.DataFrame(
        {"item": [str(n) for n in range(12)], "vector": chance.normal(size=(12, 4)).tolist()}
    ).write_parquet(folder / "vectors.parquet")
    return folder


def data_of(shop: Path, *more: str) -> list[str]:
    return [
        "data=table", f"data.path={shop}/log.csv", "data.user=who", "data.item=sku",
        "data.time=when", f"data.catalogue={shop}/items.csv", "data.catalogue_title=title", *more,
    ]  # fmt: skip


def test_it_writes_coherent_forecasts_and_tells_of_stock(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = shop / "found"
    asked = [f"stock={shop}/stock.csv", f"vectors={shop}/vectors.parquet", "known=2024-03-01"]
    assert cli.run(["forecast", *data_of(shop), *PLAN, *asked, f"to={to}"]) == 0
    told = capsys.readouterr().out
    assert "left out: the log may end within that week" in told
    assert "3 weeks ahead from 2 origins" in told
    assert "Most at risk within 2 weeks" in told
    found = pl.read_parquet(to / "forecasts.parquet")
    assert found.columns == [
        "model",
        "level",
        "series",
        "date",
        "mean",
        "q10",
        "q25",
        "q50",
        "q75",
        "q90",
    ]
    sums = found.group_by("model", "date", "level").agg(pl.col("mean").sum().round(6))
    assert set(sums["level"]) == {"item", "category", "total"}
    assert (
        sums.group_by("model", "date").agg(pl.col("mean").n_unique())["mean"].to_list() == [1] * 9
    )
    assert (found["q10"] <= found["q90"]).all()
    facts = read_json(to / "forecast.json")
    assert facts["best"] in ("ses", "croston", "neural")
    assert facts["asked"]["plan"]["horizon"] == 3
    stock = pl.read_csv(to / "stock.csv")
    assert len(stock) == 12
    assert stock["stock_out"].is_between(0, 1).all()
    assert stock.filter(pl.col("title") == "Thing 11")["stock_out"][0] > 0.9  # 10 a week of it
    assert len(pl.read_parquet(to / "backtest.parquet")) == 3 * 2 * 3 * (12 + 3 + 1)
    if (to / "forecast.png").exists():
        assert (to / "forecast.pdf").stat().st_size > 5000


def test_each_item_of_the_stock_has_a_row_or_a_reason(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = [f"9,young,2024-05-{day}" for day in ("06", "08")] + ["9,last,2024-05-19"]
    bad = ["9,,2024-05-06", "9,3,soon"]
    log = "\n".join([(shop / "log.csv").read_text().strip(), *late, *bad])
    (shop / "more.csv").write_text(log + "\n")
    (shop / "odd.csv").write_text("item,stock\nghost,4\n11,9\nyoung,3\nlast,2\n3,0\n")
    overrides = [*data_of(shop)[:1], *data_of(shop)[2:5], f"data.path={shop}/more.csv"]
    asked = ["data.invalid=drop", *PLAN[:3], "models=[ses]", f"stock={shop}/odd.csv"]
    to = shop / "reasons"
    assert cli.run(["forecast", *overrides, *asked, f"to={to}"]) == 0
    told = capsys.readouterr().out
    assert "2 rows were dropped (1 without item, 1 without time)" in told
    assert "1 of 13 series have no forecast: 1 younger than history=8 weeks" in told
    assert (
        "stock=: 3 of 5 items have no forecast, and nothing is said of how long their stock "
        "lasts: ghost (not in the log), young (younger than history=8 weeks), last (nothing in a "
        "whole week)"
    ) in told
    facts = read_json(to / "forecast.json")
    assert facts["rows_dropped"] == {"rows": 2, "item": 1, "time": 1}
    assert all(each in told for each in facts["left_out"])
    found = pl.read_csv(to / "stock.csv", infer_schema_length=None)
    assert found["item"].to_list()[2:] == ["ghost", "young", "last"]
    assert set(found["item"].to_list()[:2]) == {"3", "11"}
    assert found["stock"].to_list()[2:] == [4, 3, 2]
    figures = found.select("expected", "reorder_point", "stock_out", "short")
    assert figures[2:].null_count().row(0) == (3, 3, 3, 3)
    assert figures[:2].null_count().row(0) == (0, 0, 0, 0)
    assert found["note"].to_list() == [
        None, None, "not in the log", "younger than history=8 weeks", "nothing in a whole week",
    ]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_a_log_that_ends_in_quiet_weeks_is_drawn_and_told(shop: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    keys: dict[str, Any] = {"horizon": 3, "windows": 2, "lead_time": 2, "models": ["ses", "naive"]}
    made = lightning_rec.forecast(*data_of(shop), until="2024-08-11", to=tmp_path, **keys)
    assert any("12 weeks without any event come after it" in each for each in made.told)
    assert any("no model is the best: ses is taken" in each for each in made.told)
    assert (tmp_path / "forecast.png").stat().st_size > 5000


def test_from_python_it_is_the_same(shop: Path) -> None:
    keys: dict[str, Any] = {"horizon": 3, "windows": 2, "lead_time": 2, "models": ["ses"]}
    stock = pl.DataFrame({"item": ["11"], "stock": [12]})
    made = lightning_rec.forecast(*data_of(shop), stock=stock, **keys)
    assert made.best == "ses"
    assert made.stock["item"].to_list() == ["11"]
    other = lightning_rec.forecast(*data_of(shop), by="category", **keys)
    assert sorted(other.demand.keys) == ["mug", "pot", "tea"]
    wanted = [each.forecasts.filter(level="total")["mean"].sum() for each in (made, other)]
    assert wanted[0] == pytest.approx(wanted[1], rel=0.1)


def test_vectors_of_what_is_forecast_are_a_leak(shop: Path) -> None:
    keys = {"horizon": 3, "windows": 2, "models": ["ses"], "vectors": shop / "vectors.parquet"}
    with pytest.raises(
        LeakError, match=r"made of events until 2024-05-19, and the backtest begins"
    ):
        lightning_rec.forecast(*data_of(shop), known="2024-05-19", **keys)
    made = lightning_rec.forecast(*data_of(shop), known="always", **keys)
    first = made.backtest.coverage["origin"][0]
    for known in (first, f"{first} 15:00"):  # an event of that day is in what is to be forecast
        with pytest.raises(LeakError, match="and the backtest begins"):
            lightning_rec.forecast(*data_of(shop), known=known, **keys)
    assert made.demand.static.shape == (12, 3 + 4)
    with pytest.raises(UserError, match="vectors=FILE and known=DATE go together"):
        lightning_rec.forecast(*data_of(shop), **keys)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "Say of which log"),
        (["data=table", "every=year"], "every=year: it is day, week or month"),
        (["data=table", "models=[ses,prophet]"], r"models=\[prophet\] is none"),
        (["data=table", "models=[ses,ses]"], "each once"),
        (["data=table", "horizon=none"], "horizon=none: it must be a whole number"),
        (["data=table", "epochs=0"], "epochs=0: it has to be 1 or more"),
        (["data=frappe"], "data=frappe holds clicks, row by row"),
        (["data=frappe", "model=lr"], "task=click: demand is counted in a log of users and items"),
    ],
)
def test_what_cannot_be_is_refused(more: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        cli.run(["forecast", *more])


def test_what_the_log_does_not_hold_is_refused(shop: Path) -> None:
    for more, told in {
        "horizon=40": "The log has 20 whole periods|The log has 19 whole periods",
        "quantity=pieces": "the log has no column 'pieces'",
        "data.time=null": "needs the time of each event",
    }.items():
        with pytest.raises(UserError, match=told):
            cli.run(["forecast", *data_of(shop), more, "models=[ses]"])
    with pytest.raises(UserError, match="is a file: name a folder"):
        cli.run(["forecast", *data_of(shop), "models=[ses]", f"to={shop / 'log.csv'}"])


def test_a_forecast_is_not_written_over_unless_it_is_said(shop: Path, tmp_path: Path) -> None:
    asked = [*data_of(shop), *PLAN, f"to={tmp_path}"]
    (tmp_path / "forecast.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"holds a forecast: name another to=, or say overwrite"):
        cli.run(["forecast", *asked])
    with pytest.raises(UserError, match="holds a forecast"):
        lightning_rec.forecast(*data_of(shop), to=tmp_path)
    assert (tmp_path / "forecast.json").read_text(encoding="utf-8") == "{}"
    assert cli.run(["forecast", *asked, "overwrite=true"]) == 0
    assert read_json(tmp_path / "forecast.json")["figures"]


def test_a_key_that_is_none_is_refused_from_python() -> None:
    with pytest.raises(UserError, match=r"horizn= is no key of forecast\. Did you mean 'horizon'"):
        lightning_rec.forecast("data=table", horizn=3)
