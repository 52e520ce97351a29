"""Similar items, items bought together, popular and rising ones, profiles: against plain loops."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lightning_rec.answers.popular import DAY, popular, trending
from lightning_rec.answers.profile import _valued, columns_of, profile
from lightning_rec.answers.similar import similar, tfidf
from lightning_rec.data.dates import duration
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.rules.rules import Rules


@pytest.mark.parametrize("least", [2, 14])
def test_bought_together_counts_users(
    model: SequencePredictor, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_rec.answers.similar.LEAST", least)
    assert model.users is not None
    ids = model.items["item"].to_list()
    baskets = [{ids[code] for code in own} for own in model.users["items"].to_list()]
    has = Counter(item for basket in baskets for item in basket)
    found = similar(model, ["i07"], k=39, by="bought_together")
    scores = {}
    for item in ids:
        both = sum("i07" in basket and item in basket for basket in baskets)
        if item != "i07" and both >= least:
            scores[item] = both / math.sqrt(has["i07"] * has[item])
            own = found.filter(similar=item)
            assert own["together"].to_list() == [both]
            assert own["lift"][0] == pytest.approx(both * len(baskets) / has["i07"] / has[item])
    assert dict(zip(found["similar"], found["score"], strict=True)) == pytest.approx(scores)
    assert found["score"].is_sorted(descending=True)
    assert len(found) < 39 or least == 2


def test_similar_by_the_model_is_the_same_as_of_the_predictor(model: SequencePredictor) -> None:
    ours, its = similar(model, ["i05", "i06"], 4), model.similar(["i05", "i06"], k=4)
    assert ours.drop("score").equals(its.drop("score"))
    assert np.allclose(ours["score"], its["score"], atol=1e-6)


@pytest.mark.parametrize("rule", [{"per": "kind:1"}, {"boosts": {"item": ["i05"], "add": [5.0]}},
                                  {"boosts": pl.DataFrame({"item": ["i05"], "add": [5.0]})},
                                  {"diversity": "mmr:0.3"}, {"explore": "epsilon:0.5"}])  # fmt: skip
@pytest.mark.parametrize("by", ["model", "text"])
def test_rules_that_would_change_nothing_are_refused(
    model: SequencePredictor, by: str, rule: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=f"{next(iter(rule))}: similar items are chosen by allow"):
        similar(model, ["i04"], 5, by, Rules(**rule))


def test_what_one_event_drifts_is_not_known(model: SequencePredictor) -> None:
    one, same = (profile(model, history=["i04"] * number) for number in (1, 2))
    assert set(one.drift["drift"]) == {None}
    assert set(one.shares["early"]) == {None}
    assert set(same.drift["drift"]) == {0.0}


def test_texts_are_alike_by_tfidf(model: SequencePredictor) -> None:
    documents = []
    for row in model.items.rows(named=True):
        text = " ".join(str(v) for k, v in row.items() if k != "item" and v is not None)
        documents.append(Counter("".join(c if c.isalnum() else " " for c in text.lower()).split()))
    df = Counter(word for each in documents for word in each)
    number = len(documents)
    made = [
        {w: (1 + math.log(n)) * (math.log((1 + number) / (1 + df[w])) + 1) for w, n in each.items()}
        for each in documents
    ]
    norm = [math.sqrt(sum(v * v for v in each.values())) for each in made]
    cosine = [
        [sum(v * b.get(w, 0) for w, v in a.items()) / norm[i] / norm[j] for j, b in enumerate(made)]
        for i, a in enumerate(made)
    ]
    read = tfidf(model.items)
    assert np.allclose((read @ read.T).toarray(), cosine)


def test_competitors_are_of_the_same_kind_and_both_is_the_mean(model: SequencePredictor) -> None:
    rules = Rules(where="kind == 'shoes'")
    parts = {by: similar(model, ["i04"], 39, by) for by in ("model", "text", "both")}
    mean = {
        row["similar"]: (row["score"] + parts["text"].filter(similar=row["similar"])["score"][0])
        / 2
        for row in parts["model"].rows(named=True)
    }
    assert dict(
        zip(parts["both"]["similar"], parts["both"]["score"], strict=True)
    ) == pytest.approx(mean, abs=1e-5)
    found = similar(model, ["i04"], 20, "both", rules)
    shoes = set(model.items.filter(kind="shoes")["item"])
    assert found["similar"].to_list() == [i for i in parts["both"]["similar"] if i in shoes]


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    chance = np.random.default_rng(2)
    rows = 3000
    time = chance.uniform(0, 60 * DAY, rows)
    item = chance.integers(0, 12, rows)
    item[(time > 50 * DAY) & (chance.random(rows) < 0.5)] = 3  # what is rising
    names = [f"i{n:02d}" for n in item]
    user = [f"u{n}" for n in chance.integers(0, 200, rows)]
    device = np.where(chance.random(rows) < 0.3, "phone", "desk")
    return pl.DataFrame({"user": user, "item": names, "time": time + 1.7e9, "device": device})


def test_popularity_fades_with_its_half_life(log: pl.DataFrame, shop_items: pl.DataFrame) -> None:
    at = 1.7e9 + 55 * DAY
    found = popular(log, 5, items=shop_items, half_life=7 * DAY, at=at, per="device")
    assert found.columns == ["device", "rank", "item", "title", "score", "events", "users"]
    for device in ("phone", "desk"):
        score, users = Counter[str](), dict[str, set[str]]()
        for user, item, time, own in log.iter_rows():
            if own == device and time <= at:
                score[item] += 0.5 ** ((at - time) / (7 * DAY))
                users.setdefault(item, set()).add(user)
        best = score.most_common(5)
        mine = found.filter(device=device)
        assert mine["item"].to_list() == [item for item, _ in best]
        assert np.allclose(mine["score"], [value for _, value in best])
        assert mine["users"].to_list() == [len(users[item]) for item, _ in best]


def test_a_log_that_is_read_as_a_stream_counts_alike(log: pl.DataFrame, tmp_path: Path) -> None:
    log.write_csv(tmp_path / "log.csv")
    log.write_parquet(tmp_path / "log.parquet", row_group_size=100)
    rows = (
        pl.scan_csv(tmp_path / "log.csv", infer_schema=False),
        pl.scan_parquet(tmp_path / "log.parquet"),
    )
    for lazy in rows:
        for per in (None, "device"):
            assert popular(lazy, 9, half_life=DAY, per=per).equals(
                popular(log, 9, half_life=DAY, per=per)
            )
            assert trending(lazy, 9, per=per).equals(trending(log, 9, per=per))
    counts = Counter(log["item"])
    order = {item: place for place, item in reversed([*enumerate(log["item"])])}
    best = sorted(counts, key=lambda item: (-counts[item], order[item]))  # ties: first in the log
    assert popular(rows[0], 12)["item"].to_list() == best


def test_popularity_by_category_counts_an_item_for_each(
    log: pl.DataFrame, shop_items: pl.DataFrame
) -> None:
    found = popular(log, 2, items=shop_items, per="tags", where="price > 0")
    counts = Counter(log["item"])
    for tag in ("new", "sale"):
        of = [
            row["item"]
            for row in shop_items.rows(named=True)
            if tag in (row["tags"] or "") and row["price"]
        ]
        best = sorted((counts[item] for item in of), reverse=True)[:2]
        assert found.filter(tags=tag)["events"].to_list() == best


def test_what_rises_is_found_with_its_p_value(log: pl.DataFrame) -> None:
    found = trending(log, 3, window=10 * DAY)
    assert found["item"][0] == "i03"
    now = max(log["time"])
    age = [(now - time) / (10 * DAY) for time in log["time"]]
    recent = [item for item, a in zip(log["item"], age, strict=True) if a < 1]
    before = [item for item, a in zip(log["item"], age, strict=True) if 1 <= a < 5]
    tests = {
        item: stats.binomtest(
            recent.count(item),
            recent.count(item) + before.count(item),
            len(recent) / (len(recent) + len(before)),
            alternative="greater",
        ).pvalue
        for item in set(recent + before)
    }
    for row in found.rows(named=True):
        assert row["p"] == pytest.approx(tests[row["item"]])
        assert (row["recent"], row["before"]) == (
            recent.count(row["item"]),
            before.count(row["item"]),
        )
    order = sorted(tests.values())
    corrected = min(p * len(order) / rank for rank, p in enumerate(order, 1))
    assert found["q"][0] == pytest.approx(corrected)
    calm = trending(log.filter(pl.col("time") < 1.7e9 + 45 * DAY), 3, window=7 * DAY)
    assert calm["q"].min() > 0.01  # type: ignore[operator]


def test_lists_that_need_what_is_not_there_are_refused(log: pl.DataFrame) -> None:
    timeless = log.drop("time")
    for call, said in (
        (lambda: popular(timeless, half_life=DAY), "needs times"),
        (lambda: trending(timeless), "needs times"),
        (lambda: popular(log.drop("item")), "no column 'item'"),
        (lambda: popular(log, per="kind"), "a catalogue may, say model=FOLDER"),
        (lambda: popular(log, where="price < 3"), "needs a catalogue"),
        (lambda: duration("half_life", "soon"), "say a number with a unit"),
        (lambda: duration("half_life", "0d"), "say a number with a unit"),
    ):
        with pytest.raises(UserError, match=said):
            call()
    gap = log.with_columns(time=pl.when(pl.int_range(pl.len()) != 4).then("time"))
    with pytest.raises(UserError, match="time is empty in row 5 of the log, its head not counted"):
        popular(gap)


def test_a_profile_is_of_the_history(model: SequencePredictor) -> None:
    assert model.users is not None
    found = profile(model, "u9", k=6)
    codes = model.users.filter(user="u9")["items"][0].to_list()
    kinds = [model.items["kind"][code] for code in codes]
    half = len(kinds) // 2

    def share(own: list[str | None], kind: str) -> float:
        known = [each for each in own if each is not None]
        return known.count(kind) / len(known)

    shares = found.shares.filter(column="kind")
    for kind in ("shoes", "bags", "hats"):
        row = shares.filter(value=kind).row(0, named=True)
        parts = {"share": kinds, "early": kinds[:half], "late": kinds[half:]}
        for name, own in parts.items():
            assert row[name] == pytest.approx(share(own, kind))
    drift = sum(
        abs(share(kinds[:half], k) - share(kinds[half:], k)) for k in ("shoes", "bags", "hats")
    )
    assert found.drift.filter(column="kind")["drift"][0] == pytest.approx(drift / 2)
    flat = [code for own in model.users["items"].to_list() for code in own]
    bits = [-math.log2(flat.count(code) / len(flat)) for code in codes]
    facts = dict(found.facts.select("fact", "user").iter_rows())
    assert facts["events"] == len(codes)
    assert facts["novelty"] == pytest.approx(np.mean(bits))
    lengths = model.users["items"].list.len()
    assert facts["more active than"] == pytest.approx((lengths < len(codes)).mean())
    assert {"price", "tags"} <= set(found.shares["column"])
    best = model.recommend(users=["u9"], k=6, seen="keep")["item"].to_list()
    assert found.nearest["item"].to_list() == best
    assert found.nearest["had"].to_list() == [
        i in set(model.items["item"].gather(codes)) for i in best
    ]
    ids = model.items["item"].gather(codes).to_list()
    assert profile(model, history=ids, k=6).shares.equals(found.shares)


def test_dates_are_told_by_quarters_as_well() -> None:
    days = [f"2026-01-{day:02d}" for day in range(1, 30)]
    for column in (
        pl.Series("made", [*days, None]),
        pl.Series("made", [*days, None]).str.to_date(),
    ):
        items = pl.DataFrame({"item": [str(n) for n in range(30)], "made": column})
        assert columns_of(items) == ["made"]
        told = _valued(items, "made").list.first()
        assert told.to_list() == [
            *["up to 2026-01-08"] * 8, *["2026-01-08 to 2026-01-15"] * 7,
            *["2026-01-15 to 2026-01-22"] * 7, *["above 2026-01-22"] * 7, None,
        ]  # fmt: skip


def test_quarters_of_a_number_part_the_catalogue(model: SequencePredictor) -> None:
    shares = profile(model, "u9").shares.filter(column="price")
    assert shares["everybody"].sum() == pytest.approx(1)
    edges = [value for value in shares["value"] if value.startswith("up to")]
    assert len(edges) == 1
    assert all(a != b for a, b in pairwise(shares["value"].to_list()))
    first = [
        -math.inf if v[:2] == "up" else float(v.split()[-3 if " to " in v else -1])
        for v in shares["value"]
    ]
    assert first == sorted(first)  # from the cheapest
    with pytest.raises(UserError, match="does not know the user nobody"):
        profile(model, "nobody")
    with pytest.raises(UserError, match="holds no item"):
        profile(model, history=["zz"])


def test_segments_may_be_called_as_anything() -> None:
    """Names that the counting might use itself, and those that the answer has."""
    names = ["weight", "_row", "_first", "_per", "segment", "all_recent"]
    part = ["a", "b", "a", "a", "b", "a"]
    log = pl.DataFrame({"item": ["x", "y", "x", "z", "x", "x"], "time": [100.0, 90, 80, 55, 50, 0]})
    log = log.with_columns(pl.Series(name, part) for name in names)
    for name in names:
        found = popular(log, 1, per=name)
        assert found.select(name, "item", "score").rows() == [("a", "x", 3.0), ("b", "y", 1.0)]
        risen = trending(log, 1, per=name, window=30.0)
        assert risen.select(name, "item", "recent", "before").rows() == [
            ("a", "x", 2, 1),
            ("b", "y", 1, 0),
        ]
    for name in ("score", "events", "item", "rank"):
        with pytest.raises(UserError, match=f"per={name}: the answer has a column of this name"):
            popular(log, 1, per=name)


def test_users_are_counted_by_the_one_rule_of_ids() -> None:
    """A row without a user is an event of nobody that is known."""
    log = pl.DataFrame({"item": ["x"] * 5, "user": ["u1", " u1", None, "u2", ""]})
    assert popular(log)["users"].to_list() == [2]
    assert popular(log)["events"].to_list() == [5]
