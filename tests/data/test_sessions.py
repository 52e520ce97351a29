"""Sessions, named or ended by a pause, against an oracle in plain Python; refusals; leaks planted."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli, config
from lightning_rec.build import problem_of
from lightning_rec.data.audit import audit
from lightning_rec.data.pipeline import load
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Split
from lightning_rec.errors import LeakError, UserError

Prepare = Callable[..., Interactions]
Example = tuple[str, tuple[str, ...], str]
START = 1_600_000_000


def shop_log(seed: int = 0) -> dict[str, list[Any]]:
    """Visits of eight users to ten items: two to five events some seconds apart, days between."""
    chance = random.Random(seed)
    rows = []
    for user in range(8):
        time = START + chance.randrange(100)
        for session in range(6):
            for _ in range(chance.randint(1, 5)):
                item = (
                    "late" if session == 5 and chance.random() < 0.3 else f"i{chance.randrange(9)}"
                )
                rows.append((f"u/{user}", f"s{session}", item, time))
                time += chance.choice([0, 10, 30])
            time += chance.randrange(100, 1000)
    chance.shuffle(rows)
    columns = zip(*rows, strict=True)
    return dict(zip(("user", "session", "item", "time"), map(list, columns), strict=True))


def by_gap(log: dict[str, list[Any]], gap: float) -> dict[str, list[tuple[str, int]]]:
    """Items and times of each session, in order, by its name."""
    sessions: dict[str, list[tuple[str, int]]] = {}
    rows = range(len(log["user"]))
    for user in sorted(set(log["user"])):
        own = sorted((log["time"][r], r, log["item"][r]) for r in rows if log["user"][r] == user)
        number, before = 0, None
        for time, _, item in own:
            if before is None or time - before > gap:
                number += 1
            before = time
            name = f"{user.replace('/', '//')} / {number}"
            sessions.setdefault(name, []).append((item, time))
    return sessions


def by_name(log: dict[str, list[Any]]) -> dict[str, list[tuple[str, int]]]:
    sessions: dict[str, list[tuple[str, int]]] = {}
    for row in sorted(range(len(log["user"])), key=lambda r: (log["time"][r], r)):
        name = f"{log['user'][row].replace('/', '//')} / {log['session'][row]}"
        sessions.setdefault(name, []).append((log["item"][row], log["time"][row]))
    return sessions


def oracle(
    sessions: dict[str, list[tuple[str, int]]], last: bool
) -> tuple[dict[str, list[str]], list[Example], list[Example]]:
    """What trains, and examples of validation and test: GRU4Rec's rules, cut at .6 and .8."""
    sessions = {name: events for name, events in sessions.items() if len(events) >= 2}
    ends = sorted(events[-1][1] for events in sessions.values())
    cuts = [ends[int(np.ceil(share * (len(ends) - 1)))] for share in (0.6, 0.8)]
    part = {name: sum(events[-1][1] >= cut for cut in cuts) for name, events in sessions.items()}
    train = {n: [item for item, _ in events] for n, events in sessions.items() if part[n] == 0}
    known = {item for items in train.values() for item in items}
    asked: dict[int, list[Example]] = {1: [], 2: []}
    for name, events in sessions.items():
        items = [item for item, _ in events]
        for place in range(len(items) - 1 if last else 1, len(items)):
            history = tuple(item for item in items[:place] if item in known)
            copy = events[place] in events[:place]  # alike in time too: no test
            if part[name] and history and items[place] in known and not copy:
                asked[part[name]].append((name, history, items[place]))
    return train, asked[1], asked[2]


def told(
    data: Interactions, split: Split
) -> tuple[dict[str, list[str]], list[Example], list[Example]]:
    names = data.users["user"]
    items = [data.items["item"][int(code)] for code in split.vocabulary]
    train = {}
    for code, (start, end) in enumerate(zip(split.offsets[:-1], split.train_end, strict=True)):
        if end > start:
            train[names[code]] = [items[item] for item in split.items[start:end]]
    asked: list[list[Example]] = []
    for examples in (split.val, split.test):
        columns = (examples.user.tolist(), examples.end.tolist(), examples.target.tolist())
        asked.append(
            [
                (
                    names[u],
                    tuple(items[i] for i in split.items[split.offsets[u] : end]),
                    items[target],
                )
                for u, end, target in zip(*columns, strict=True)
            ]
        )
    return train, asked[0], asked[1]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("named", [True, False])
def test_it_is_the_split_of_the_oracle(
    named: bool, targets: Any, seed: int, prepared: Prepare
) -> None:
    log = shop_log(seed)
    if not named:
        log.pop("session")
    gap = None if named else "1m"
    protocol = Sessions(gap=gap, targets=targets, val_from=0.6, test_from=0.8, cutoffs=(1,))
    data = protocol.view(prepared(**log))
    split = protocol.split(data)
    train, val, test = told(data, split)
    wanted = oracle(by_name(log) if named else by_gap(log, 60), targets == "last")
    assert train == wanted[0]
    assert sorted(val) == sorted(wanted[1])
    assert sorted(test) == sorted(wanted[2])
    assert test
    assert split.whole
    audit(data, split)


def test_sessions_named_or_cut_are_one_split(prepared: Prepare) -> None:
    log = shop_log(2)
    log.pop("session")
    cut = Sessions(gap="1m", cutoffs=(1,))
    data = cut.view(prepared(**log))
    of_row = data.users["user"].gather(data.events.collect()["user"])
    table = data.events.collect()
    named = {
        "user": [name.rpartition(" / ")[0].replace("//", "/") for name in of_row],
        "session": [name.rpartition(" / ")[2] for name in of_row],
        "item": data.items["item"].gather(table["item"]).to_list(),
        "time": table["timestamp"].to_list(),
    }
    again = Sessions(cutoffs=(1,)).view(prepared(**named))
    first, second = cut.split(data), Sessions(cutoffs=(1,)).split(again)
    assert data.users["user"].to_list() == again.users["user"].to_list()
    for name in ("items", "offsets", "rows", "train_end"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    for one, other in zip((*first.val, *first.test), (*second.val, *second.test), strict=True):
        assert np.array_equal(one, other)


def test_a_session_without_users_is_named_by_itself(tmp_path: Path) -> None:
    log = shop_log()
    log["sid"] = [f"{u}{s}" for u, s in zip(log["user"], log.pop("session"), strict=True)]
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    source = TableSource(str(tmp_path / "log.parquet"), item="item", time="time", session="sid")
    loaded = load(source, Sessions(cutoffs=(1,)), tmp_path / "cache")
    assert set(loaded.data.log.users["user"]) == set(log["sid"])
    assert loaded.data.split.counts["sessions"] > 20
    again = load(source, Sessions(cutoffs=(1,)), tmp_path / "cache")  # from the cache
    assert again.data.split.whole


def test_a_log_that_is_cut_is_kept_and_audited(tmp_path: Path) -> None:
    log = shop_log()
    log.pop("session")
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    source = TableSource(str(tmp_path / "log.csv"), user="user", item="item", time="time")
    protocol = Sessions(gap=60, cutoffs=(1,))
    loaded = load(source, protocol, tmp_path / "cache")
    assert loaded.data_hash == prepare(source, tmp_path / "cache").info["data_hash"]
    assert loaded.data.log.info["sessions"] == {"gap": 60.0, "users": 8}
    data, events = loaded.data.log, loaded.data.log.folder / "interactions.parquet"
    frame = pl.read_parquet(events)
    code = frame["user"][int(loaded.data.split.test.row[0])]
    merged = frame.with_columns(
        user=pl.when(pl.col("user") == code - 1).then(code).otherwise("user").cast(pl.Int32)
    )
    merged.write_parquet(events)
    with pytest.raises(LeakError, match=r"pause that ends one|two users"):
        audit(data, protocol.split(data))


def test_leaks_between_sessions_are_named(prepared: Prepare) -> None:
    protocol = Sessions(cutoffs=(1,))
    data = protocol.view(prepared(**shop_log()))
    split = protocol.split(data)
    session = int(split.test.user[0])
    torn = np.array(split.train_end)
    torn[session] += 1
    counts = np.array(split.train_counts)
    counts[split.items[split.offsets[session]]] += 1
    leaking = replace(split, train_end=torn, train_counts=counts, boundaries=None)
    with pytest.raises(LeakError, match="a session trains in part"):
        audit(data, leaking)
    assert split.boundaries is not None
    val_from, test_from = split.boundaries
    for boundaries, said in (
        ((val_from, test_from + 10_000), "a test target lies before"),
        ((val_from - 2_000, test_from), "training event lies after"),
    ):
        with pytest.raises(LeakError, match=said):
            audit(data, replace(split, boundaries=boundaries))


def test_gaps_have_units_and_one_hash() -> None:
    minutes = [Sessions(gap=gap) for gap in ("30m", 1800, "1800", ".5h", "1800s", "30 M")]
    assert len({protocol.hash() for protocol in minutes}) == 1
    assert Sessions(gap="1h").hash() != minutes[0].hash() != Sessions().hash()
    for wrong in ("soon", 0, "-3m", "m", "3y"):
        with pytest.raises(UserError, match=r"protocol\.gap=.*30m"):
            Sessions(gap=wrong)


def test_what_is_missing_is_told(prepared: Prepare) -> None:
    log = shop_log()
    named = prepared(**log)
    with pytest.raises(UserError, match=r"data\.session=session .* drop one"):
        Sessions(gap="1m").view(named)
    log.pop("session")
    data = prepared(**log)
    with pytest.raises(UserError, match=r"data\.session=COLUMN.*protocol\.gap=30m"):
        Sessions().view(data)
    log.pop("time")
    with pytest.raises(UserError, match=r"protocol\.gap needs the time"):
        Sessions(gap="1m").view(prepared(**log))


def test_ends_of_sessions_are_cut_by_dates_too(prepared: Prepare) -> None:
    log = shop_log()
    protocol = Sessions(val_from="2020-09-13T13:00Z", test_from="2020-09-13T13:20Z", cutoffs=(1,))
    split = protocol.split(prepared(**log))
    assert split.boundaries == (1_600_002_000, 1_600_003_200)
    with pytest.raises(UserError, match="its times go from 2020-09-13"):  # type: ignore[unreachable]
        Sessions(test_from="2021-01-01").split(prepared(**log))


def test_figures_are_those_of_the_papers_own_evaluation(tmp_path: Path) -> None:
    """Recall and MRR at 5 of S-POP over all next items, as the loops of GRU4Rec's evaluation."""
    log = shop_log()
    log.pop("session")
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    run = tmp_path / "run"
    assert cli.run([
        "train", "data=table", f"data.path={tmp_path / 'log.csv'}", "data.user=user", "data.item=item",
        "data.time=time", "protocol=sessions", "protocol.gap=1m", "protocol.cutoffs=[5]", "model=session_popularity",
        "protocol.val_from=0.6", "protocol.test_from=0.8", "monitor=val/mrr@5", "trainer=cpu", "logger=none",
        f"run_dir={run}",
    ]) == 0  # fmt: skip
    train, _, test = oracle(by_gap(log, 60), last=False)
    support = Counter(item for items in train.values() for item in items)
    ranks = []
    for _, history, target in test:
        own = Counter(history)
        score = {item: own[item] + n / (n + 1) for item, n in support.items()}
        ranks.append(sum(other >= score[target] for other in score.values()))  # conservative
    figures = json.loads((run / "metrics.json").read_text())
    hits = [rank for rank in ranks if rank <= 5]
    assert figures["test/recall@5"] == pytest.approx(len(hits) / len(ranks), abs=1e-12)
    assert figures["test/mrr@5"] == pytest.approx(
        sum(1 / rank for rank in hits) / len(ranks), abs=1e-12
    )
    assert any(target in history for _, history, target in test)  # seen items are ranked


def test_it_is_trained_from_the_command_line(tmp_path: Path) -> None:
    log = shop_log()
    log.pop("session")
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    run = tmp_path / "run"
    assert cli.run([
        "train", "data=table", f"data.path={tmp_path / 'log.csv'}", "data.user=user", "data.item=item",
        "data.time=time", "protocol=sessions", "protocol.gap=1m", "protocol.cutoffs=[5]", "model=gru4rec", "model.dim=8",
        "monitor=val/mrr@5", "trainer=cpu", "trainer.max_epochs=1", "logger=none", f"run_dir={run}",
    ]) == 0  # fmt: skip
    users = pl.read_parquet(run / "test_users.parquet")
    assert users["user"].str.contains(r"^u//\d / \d+$").all()
    assert cli.run(["evaluate", f"run={run}"]) == 0


@pytest.mark.parametrize("model", ["bprmf", "neumf", "lightgcn", "xsimgcl"])
def test_models_that_know_users_by_id_are_refused_before_data_is_read(model: str) -> None:
    cfg = config.compose([f"model={model}", "protocol=sessions", "protocol.gap=1m"])
    with pytest.raises(
        UserError, match=r"knows only users that training had.*protocol=sessions.*model=vsknn"
    ):
        problem_of(cfg)
