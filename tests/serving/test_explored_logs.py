"""The log of a server that explores, and what it says of another policy: with the truth known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.servers import Asking

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.trials.requests import read_requests, shown

Served = Callable[..., Asking]
EXPLORED: dict[str, Any] = {"explore": "epsilon:0.3", "pool": 10}


def users_of(run: Path) -> list[str]:
    predictor = load_run(run)
    assert isinstance(predictor, SequencePredictor)
    assert predictor.users is not None
    users: list[str] = predictor.users["user"].to_list()
    return users


def test_the_log_tells_what_the_best_lists_would_have_earned(
    sasrec: Path, served: Served, tmp_path: Path
) -> None:
    """Users click their model's best item alone: the policy without chance earns 1 a list."""
    model, users, logs = load_run(sasrec), users_of(sasrec), list[Path]()
    best = model.recommend(users=users, k=1)
    best.write_parquet(tmp_path / "best.parquet")
    of = dict(best.select("user", "item").iter_rows())
    for seed in range(8, 12):  # as many servers, for what a user does changes his next answer
        logs.append(tmp_path / f"{seed}.jsonl")
        ask = served(sasrec, log=logs[-1], log_ids="plain", log_items=True)
        for user in users:
            asked = {"user": user, "k": 1, "rules": EXPLORED | {"seed": seed}}
            (row,) = ask("/recommend", asked).body["items"]
            if row["item"] == of[user]:
                ask("/events", {"user": user, "items": [row["item"]]})
    requests = read_requests(logs)
    rows = shown(requests, requests.lists)
    assert len(rows) == 4 * len(users)
    assert rows["propensity"].null_count() == 0
    named = f"log=[{','.join(map(str, logs))}]"
    said = [named, f"policy={tmp_path / 'best.parquet'}", f"to={tmp_path / 'found.json'}"]
    assert cli.run(["offpolicy", *said]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    by_name = {each["name"]: each for each in found["estimates"]}
    assert found["units"] == len(users)
    assert by_name["snips"]["value"] == 1.0
    assert by_name["ips"]["low"] < 1 < by_name["ips"]["high"]
    assert by_name["log"]["value"] == rows["clicked"].sum() / len(rows)
    assert 0.6 < by_name["log"]["value"] < 0.9
    assert not abs(found["weight"] - 1) > 4 * found["weight_error"]


def test_lists_have_the_product_of_their_propensities(
    sasrec: Path, served: Served, tmp_path: Path
) -> None:
    log, users = tmp_path / "requests.jsonl", users_of(sasrec)
    ask, model = served(sasrec, log=log, log_ids="plain", log_items=True), load_run(sasrec)
    best = model.recommend(users=users, k=3)
    best.write_parquet(tmp_path / "best.parquet")
    items = dict(best.group_by("user", maintain_order=True).agg("item").iter_rows())
    weights, clicks = list[float](), list[float]()
    for user in users:
        rows = ask("/recommend", {"user": user, "k": 3, "rules": EXPLORED}).body["items"]
        picked = [row["item"] for row in rows if row["rank"] % 2]
        ask("/events", {"user": user, "items": picked})
        product = 1.0
        for row, own in zip(rows, items[user], strict=True):
            product *= (row["item"] == own) / row["propensity"]
            weights.append(product)
            clicks.append(float(row["item"] in picked))
    said = [f"log={log}", f"policy={tmp_path / 'best.parquet'}", f"to={tmp_path / 'found.json'}"]
    assert cli.run(["offpolicy", *said]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    expected = sum(w * c for w, c in zip(weights, clicks, strict=True)) / len(weights)
    assert found["estimates"][1]["value"] == pytest.approx(expected)
    assert [each["name"] for each in found["estimates"]] == ["log", "ips", "snips"]


def test_a_log_without_chance_is_refused(sasrec: Path, served: Served, tmp_path: Path) -> None:
    ask = served(sasrec, log=tmp_path / "log.jsonl", log_items=True)
    ask("/recommend", {"user": "u4"})
    pl.DataFrame({"item": ["i03"]}).write_csv(tmp_path / "policy.csv")
    said = [f"log={tmp_path / 'log.jsonl'}", f"policy={tmp_path / 'policy.csv'}"]
    with pytest.raises(UserError, match="no propensities: ask with rules that explore"):
        cli.run(["offpolicy", *said])
    with pytest.raises(UserError, match="reward= is of other tables"):
        cli.run(["offpolicy", *said, "reward=clicked"])
