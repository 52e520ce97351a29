"""Rules on a real run: what a full ranking, sorted out by hand, would give."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.given import moments
from lightning_rec.rules.rules import Rules

USERS = ["u4", "u9", "u17", "u30"]


@pytest.fixture(scope="module")
def full(model: SequencePredictor) -> pl.DataFrame:
    """Every item that is a candidate of each user, best first, with all that is known of it."""
    found = model.recommend(users=USERS, k=len(model.items))
    shop = model.items.with_columns(pl.col("price").cast(pl.Float64))  # text, of a CSV file
    return found.drop("title").join(shop, "item", "left", maintain_order="left")


def tops(found: pl.DataFrame, k: int) -> list[list[str]]:
    lists = found.group_by("user", maintain_order=True).agg(pl.col("item").head(k))
    return lists["item"].to_list()


CHEAP = pl.col("price") < 30


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"where": "price < 30"}, CHEAP),
        ({"where": "price < 30 and kind == 'shoes'"}, CHEAP & (pl.col("kind") == "shoes")),
        (
            {"allow": ["i03", "i10", "i17", "i24"]},
            pl.col("item").is_in(["i03", "i10", "i17", "i24"]),
        ),
        ({"deny": ["i00", "i01", "i02"]}, ~pl.col("item").is_in(["i00", "i01", "i02"])),
        (
            {"allow": [f"i{n:02d}" for n in range(20)], "deny": ["i03"], "where": "price < 30"},
            CHEAP & (pl.col("item") < "i20") & (pl.col("item") != "i03"),
        ),
    ],
)
def test_filters_come_before_the_best_are_taken(
    model: SequencePredictor, full: pl.DataFrame, rules: dict[str, Any], kept: pl.Expr
) -> None:
    found = model.recommend(users=USERS, k=6, rules=Rules(**rules))
    assert tops(found, 6) == tops(full.filter(kept), 6)
    assert found["rank"][:3].to_list() == [1, 2, 3]


def test_boosts_move_scores_and_hold_when_they_should(
    model: SequencePredictor, full: pl.DataFrame
) -> None:
    campaign = pl.DataFrame(
        {
            "item": ["i05", None, "i06"],
            "where": [None, "kind == 'hats'", None],
            "factor": [1.5, 0.5, None],
            "add": [0.25, None, 100.0],
            "from": ["2026-01-01", None, "2026-03-01"],
            "to": ["2026-02-01", "2026-02-01 12:00", None],
        }
    )
    held = {"2025-12-31": [1], "2026-01-01": [0, 1], "2026-01-15T08:00": [0, 1],
            "2026-02-01": [1], "2026-02-01 13:00": [], "2026-03-01": [2]}  # fmt: skip
    for at, rows in held.items():
        factor = pl.lit(1.0)
        add = pl.lit(0.0)
        if 0 in rows:
            factor = factor * pl.when(pl.col("item") == "i05").then(1.5).otherwise(1.0)
            add = add + pl.when(pl.col("item") == "i05").then(0.25).otherwise(0.0)
        if 1 in rows:
            factor = factor * pl.when(pl.col("kind") == "hats").then(0.5).otherwise(1.0)
        if 2 in rows:
            add = add + pl.when(pl.col("item") == "i06").then(100.0).otherwise(0.0)
        moved = pl.when(pl.col("score") > 0).then(pl.col("score") * factor)
        score = moved.otherwise(pl.col("score") / factor) + add
        wanted = full.with_columns(score=score).sort(
            "user", "score", descending=[False, True], maintain_order=True
        )
        wanted = wanted.sort(pl.col("user").replace_strict(USERS, range(4)), maintain_order=True)
        found = model.recommend(users=USERS, k=5, rules=Rules(boosts=campaign, at=at))
        assert tops(found, 5) == tops(wanted, 5), at
        best = wanted.group_by("user", maintain_order=True).head(5)["score"]
        assert np.allclose(found["score"], best, atol=1e-5)


@pytest.mark.parametrize("factor", [0.01, 0.5, 1.0, 2.5, 40.0])
@pytest.mark.parametrize("where", [None, "price < 30"])
def test_a_campaign_keeps_the_order_of_its_items_whatever_its_factor(
    model: SequencePredictor, full: pl.DataFrame, factor: float, where: str | None
) -> None:
    rules = Rules(boosts=[{"where": "kind == 'hats'", "factor": factor}], where=where)
    found = model.recommend(users=USERS, k=len(model.items), rules=rules)
    kept = full if where is None else full.filter(CHEAP)
    assert (full["score"] < 0).any()
    assert (full["score"] > 0).any()
    for hats in (pl.col("kind") == "hats", pl.col("kind").ne_missing("hats")):
        own = found.join(full.select("user", "item", "kind"), ["user", "item"], "left",
                         maintain_order="left").filter(hats)  # fmt: skip
        assert tops(own, 40) == tops(kept.filter(hats), 40)
    both = found.join(kept, ["user", "item"], suffix="_plain")
    moved = both.filter(kind="hats").select(pl.col("score") - pl.col("score_plain")).to_series()
    assert ((moved * np.sign(factor - 1)) > 0).all() if factor != 1 else moved.abs().max() == 0


def test_boosts_that_do_nothing_are_told(
    model: SequencePredictor, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"where": "kind == 'hatts'", "factor": 2.0},
        {"where": "kind == 'hats'", "factor": 2.0, "to": "2026-01-01"},
        {"where": "kind == 'bags'", "factor": 2.0},
    ]
    plain = model.recommend(users=["u4"], k=5, rules=Rules(boosts=rows[2:]))
    caplog.clear()
    found = model.recommend(users=["u4"], k=5, rules=Rules(boosts=rows, at="2026-03-05 07:30"))
    assert "true of no item in row 1 (kind == 'hatts')." in caplog.text
    assert "of 3 rows these are not in force at 2026-03-05 07:30 UTC: 2." in caplog.text
    assert found.equals(plain)


@pytest.mark.parametrize("few", [False, True])
def test_caps_are_filled_from_as_far_down_as_it_takes(
    model: SequencePredictor, full: pl.DataFrame, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if few:  # so that candidates are doubled, of some users more often than of others
        monkeypatch.setattr(Rules, "candidates", lambda self, k, number: k)
    for k in (2, 5, 12):
        found = model.recommend(users=USERS, k=k, rules=Rules(per="kind:1,tags:3"))
        wanted = []
        for user in USERS:
            taken: list[dict[str, Any]] = []
            for row in full.filter(user=user).rows(named=True):
                tags = (row["tags"] or "").split("|")
                same = row["kind"] and any(t["kind"] == row["kind"] for t in taken)
                many = any(
                    tag and sum(tag in (t["tags"] or "") for t in taken) >= 3 for tag in tags
                )
                if len(taken) < k and not same and not many:
                    taken.append(row)
            wanted.append([row["item"] for row in taken])
        assert tops(found, k) == wanted


@pytest.mark.parametrize(
    "rules",
    [
        Rules(diversity="mmr:0.5", pool=20),
        Rules(diversity="dpp@kind", per="kind:2"),
        Rules(explore="epsilon:0.5", seed=3),
        Rules(explore="thompson:1", where="price < 40"),
        Rules(explore="softmax:0.5", diversity="mmr:0.2@tags"),
        Rules(calibration="0.6@tags", per="kind:2"),
    ],
)
def test_an_answer_does_not_depend_on_who_else_is_asked_for(
    model: SequencePredictor, rules: Rules
) -> None:
    together = model.recommend(users=USERS, k=5, rules=rules)
    alone = pl.concat([model.recommend(users=[user], k=5, rules=rules) for user in USERS])
    assert together.drop("score", "propensity", strict=False).equals(
        alone.drop("score", "propensity", strict=False)
    )
    assert ("propensity" in together.columns) == (rules.explore is not None)
    assert len(together) == 20


def test_diversity_costs_relevance_and_both_are_told(model: SequencePredictor) -> None:
    told = Told()
    found = model.recommend(users=USERS, k=5, rules=Rules(diversity="mmr:0.7@kind"), told=told)
    cost = told.cost()
    assert 0 < cost["relevance"] < 1
    assert 0 < cost["dcg"] < 1
    assert cost["alike"] < cost["alike_plain"]
    kinds = model.items.select("item", pl.col("kind").fill_null("none"))
    same = []
    for _, own in found.join(kinds, "item", maintain_order="left").group_by("user"):
        of = own["kind"].to_list()
        same += [one == other for n, one in enumerate(of) for other in of[:n]]
    assert cost["alike"] == pytest.approx(np.mean(same))
    assert "keep" in told.costs()


def test_likeness_is_a_mean_of_what_caps_leave(model: SequencePredictor) -> None:
    """A list that caps cut short has fewer pairs than that of the best."""
    told, rules = Told(), Rules(diversity="mmr:0.3@tags", per="kind:1", where="kind is not None")
    found = model.recommend(users=USERS, k=8, rules=rules, told=told)
    assert len(found) < 8 * len(USERS)
    tags = dict(model.items.select("item", "tags").iter_rows())
    cosines = []
    for _, own in found.group_by("user"):
        of = [set((tags[item] or "none").split("|")) for item in own["item"]]
        cosines += [
            len(one & other) / (len(one) * len(other)) ** 0.5
            for n, one in enumerate(of)
            for other in of[:n]
        ]
    assert told.cost()["alike"] == pytest.approx(np.mean(cosines))


def test_fewer_than_asked_is_told(
    model: SequencePredictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = model.recommend(
            users=["u4"], k=10, rules=Rules(allow=["i03", "i10", "zz"]), seen="keep"
        )
    assert found["item"].sort().to_list() == ["i03", "i10"]
    assert "1 of 1 lists are shorter than k=10" in caplog.text
    assert "allow: 1 of 3 items are not known to this run, such as zz." in caplog.text


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"deny": [f"i{n:02d}" for n in range(40)]}, "after deny 0"),
        ({"allow": []}, "after allow 0"),
        ({"where": "price < 0"}, "leave no item of 40"),
        ({"where": "colour == 'red'"}, "no column 'colour'"),
        ({"per": "brand:2"}, "per: the catalogue has no column 'brand'"),
        ({"per": "kind"}, "say per=brand:2"),
        ({"per": {"kind": 0}}, "1 at least"),
        ({"diversity": "mmr:1"}, "above 0 and below 1"),
        ({"diversity": "mmr:nan"}, "above 0 and below 1"),
        ({"diversity": "mrm"}, "Did you mean 'mmr'?"),
        ({"diversity": "mmr@brand"}, "diversity: the catalogue has no column 'brand'"),
        ({"explore": "epsilon"}, "as in epsilon:0.1"),
        ({"explore": "epsilon:1.5"}, "1 at most"),
        ({"seed": -1}, "seed=-1"),
        ({"pool": 0}, "pool=0"),
        ({"pool": 3}, "pool= has no effect"),
        ({"allow": "i03"}, "put brackets around it"),
        ({"boosts": [{"item": "i03", "factor": float("nan")}]}, "row 1: factor=nan"),
        ({"boosts": [{"item": "i03", "factor": -1}]}, "a number above 0"),
        ({"boosts": [{"item": "i03", "factor": 0}]}, "a number above 0"),
        ({"boosts": [{"item": "i03", "add": float("inf")}]}, "row 1: add=inf"),
        ({"boosts": [{"item": "i03", "add": 1e300}]}, "a number from -1,000,000 to 1,000,000"),
        (
            {"boosts": [{"where": "price >= 0", "factor": 1e4}] * 2},
            "make together a factor over 1,000,000",
        ),
        (
            {"boosts": [{"item": "i03", "factor": 2, "from": "05/06/2026"}]},
            "'05/06/2026' can be 2026-06-05 or 2026-05-06",
        ),
        ({"boosts": [{"item": "i03"}]}, "row 1: it has none of 'factor' and 'add'"),
        ({"boosts": [{"factor": 2}]}, "row 1: it has neither of 'item' and 'where'"),
        ({"boosts": [{"item": "a", "where": "price<1", "factor": 2}]}, "names an item and a where"),
        ({"boosts": [{"item": "i03", "factr": 2}]}, "Did you mean 'factor'?"),
        ({"boosts": [{"where": "prize<1", "factor": 2}]}, "boosts, row 1: where='prize<1'"),
        (
            {"boosts": [{"item": "i03", "factor": 2, "from": "2026-02-01", "to": "2026-01-01"}]},
            "ends before it begins",
        ),
        ({"boosts": [{"item": "i03", "factor": 2, "from": "someday"}]}, "'someday' is no time"),
        ({"boosts": "nowhere.csv"}, "There is no file or folder nowhere.csv"),
        ({"boosts": [{"item": "i03", "factor": 2}], "at": "someday"}, "at=someday"),
        ({"boosts": [{"item": "i03", "factor": 2}], "at": " "}, "at=' ' is no time"),
        (
            {"boosts": [{"item": "i03", "factor": 2}], "at": "20260101"},
            "looks like dates written as numbers (20260101): write 2026-11-28",
        ),
    ],
)
def test_rules_that_do_not_fit_are_refused(
    model: SequencePredictor, rules: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        model.recommend(users=["u4"], k=3, rules=Rules(**rules))
    assert said in str(refused.value)


def test_rules_may_be_given_by_their_names(model: SequencePredictor) -> None:
    said: dict[str, Any] = {"per": {"kind": 1}, "where": "price < 40"}
    wanted = model.recommend(users=USERS, k=4, rules=Rules(**said))
    assert model.recommend(users=USERS, k=4, rules=said).equals(wanted)
    for wrong, told in (({"pre": "kind:1"}, "Did you mean 'per'?"), ("per=kind:1", "say for inst")):
        with pytest.raises(UserError, match=told.replace("?", r"\?")):
            model.recommend(users=USERS, rules=wrong)  # type: ignore[arg-type]


def test_no_boosts_are_none(model: SequencePredictor) -> None:
    wanted = model.recommend(users=["u4"], k=3)
    assert model.recommend(users=["u4"], k=3, rules=Rules(boosts=[])).equals(wanted)


def test_boosts_may_come_from_a_file(model: SequencePredictor, tmp_path: Path) -> None:
    path = tmp_path / "boosts.csv"
    path.write_text("item,where,add\ni07,,50\n,price > 60,70\n")
    found = model.recommend(users=["u4"], k=3, rules=Rules(boosts=str(path)), seen="keep")
    dear = model.items.filter(pl.col("price").cast(pl.Float64) > 60)["item"].to_list()
    assert 0 < len(dear) <= 3
    assert set(dear) <= set(found["item"]) <= {*dear, "i07"} | set(model.items["item"])
    assert (found["score"] > 40).sum() == min(3, len({*dear, "i07"}))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["05/06/2026", "25/06/2026"], ["2026-06-05", "2026-06-25"]),
        (["05/06/2026", None, "06/25/2026"], ["2026-05-06", None, "2026-06-25"]),
        (["05.06.2026"], ["2026-06-05"]),
        (["06/06/2026"], ["2026-06-06"]),
    ],
)
def test_days_and_months_are_told_apart_as_in_logs(
    written: list[str | None], meant: list[str | None]
) -> None:
    read = moments("from", pl.Series(written))
    assert pl.from_epoch(read.cast(pl.Int64)).dt.date().cast(pl.String).to_list() == meant
