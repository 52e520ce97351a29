"""Worlds and plays without a server: chances, seeds, and whether estimates find the truth."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from test_readme import CLONE, blocks

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.rules.choosing import Pool, choose
from lightning_rec.rules.exploring import Chance, Epsilon
from lightning_rec.simulation import Answer, Settings, World, make_log, play
from lightning_rec.simulation.folders import Kept, read, write
from lightning_rec.simulation.playing import Played, Told, summary
from lightning_rec.simulation.server import Server
from lightning_rec.simulation.values import effect_of, value_of
from lightning_rec.simulation.world import DAY, START, before
from lightning_rec.trials import Assignment, compare_variants
from lightning_rec.trials.bandits import off_policy
from lightning_rec.trials.logged import joined, logged_table, read_policy
from lightning_rec.trials.rewards import with_rewards

SMALL = {"users": 120, "items": 30, "days": 4, "new_users": 3, "new_items": 1, "dim": 4,
         "categories": 3, "activity": 0.5}  # fmt: skip


def world_of(**said: Any) -> World:
    return World(Settings.of(SMALL | said))


class Fixed:
    """A list for each user that never changes: ``orders`` by variant, int64 [U, N]."""

    def __init__(self, orders: dict[str, np.ndarray], assignment: Assignment | None = None) -> None:
        self.orders, self.assignment = orders, assignment
        self.told = list[Told]()

    def ask(self, users: Sequence[str], k: int, seed: int) -> list[Answer]:
        found = []
        for user in users:
            variant = self.assignment.of(user) if self.assignment else None
            order = self.orders[variant or next(iter(self.orders))][int(user[1:])]
            found.append(Answer([f"i{code}" for code in order[:k]], None, variant))
        return found

    def tell(self, events: Sequence[Told]) -> None:
        self.told += events


def orders_of(world: World, days: int) -> dict[str, np.ndarray]:
    """a: the same list for all; b: the own taste, with much noise."""
    users, items = world.users(days), world.items(0)
    chance = np.random.default_rng(world.settings.seed)
    match = world.tastes(days) @ world.catalogue(0)[1].T
    noisy = match + 3 * chance.standard_normal((users, items))
    return {"a": np.tile(chance.permutation(items), (users, 1)), "b": np.argsort(-noisy, 1)}


def test_probabilities_are_those_of_the_formula_and_clicks_come_as_often(tmp_path: Path) -> None:
    world = world_of(seed=3, users=400, activity=0.9, feedback=0.4)
    log, first, k = make_log(world), 4, 5
    played = play(world, log, first, 12, Fixed(orders_of(world, 16)), k)
    write(tmp_path / "world", world, 9, log)
    of = world.settings
    vectors = dict(
        pl.read_parquet(tmp_path / "world/truth/items.parquet").select("item", "vector").iter_rows()
    )
    attraction = dict(
        pl.read_parquet(tmp_path / "world/truth/items.parquet")
        .select("item", "attraction")
        .iter_rows()
    )
    tastes = dict(
        pl.read_parquet(tmp_path / "world/truth/users.parquet").select("user", "taste").iter_rows()
    )
    heat, had = dict.fromkeys((f"i{code}" for code in range(world.items(9))), 0.0), set()
    for user, item, time, kind in played.log.iter_rows():
        day = (time - START) // DAY
        if day < 9:
            heat[item] += of.decay ** (8 - day)
        if day < 9 or (day == 9 and kind == "organic"):
            had.add((user, item))
    mean = sum(math.log1p(each) for each in heat.values()) / len(heat)
    day9 = played.truth.filter(day=9)
    assert len(day9) > 1000
    for row in day9.iter_rows(named=True):
        taste, vector = tastes[row["user"]], vectors[row["item"]]
        match = sum(a * b for a, b in zip(taste, vector, strict=True)) / math.sqrt(of.dim)
        score = of.base + of.strength * match + attraction[row["item"]]
        score += of.feedback * (math.log1p(heat[row["item"]]) - mean)
        wanted = 0.0 if (row["user"], row["item"]) in had else 1 / (1 + math.exp(-score))
        assert row["probability"] == pytest.approx(wanted, abs=1e-12)
        assert row["expected"] == pytest.approx(wanted / row["rank"], abs=1e-12)
    rows = played.truth.with_columns(click=played.outcomes["click"])
    assert (rows["probability"] == 0).sum() > 0.005 * len(rows)  # what users have had
    for by in (pl.col("rank"), (pl.col("expected") * 20).floor().alias("bin")):
        parts = rows.group_by(by).agg(
            pl.col("click").sum(), pl.col("expected").sum(),
            sd=(pl.col("expected") * (1 - pl.col("expected"))).sum().sqrt(), n=pl.len(),
        ).filter(pl.col("n") > 50)  # fmt: skip
        assert ((parts["click"] - parts["expected"]).abs() < 3.7 * parts["sd"] + 1e-9).all()


def test_the_same_seed_gives_the_same_world_and_another_one_another() -> None:
    logs = [make_log(world_of(seed=seed)) for seed in (1, 1, 2)]
    assert logs[0].equals(logs[1])
    assert not logs[0].equals(logs[2])
    longer = make_log(world_of(seed=1, days=7))
    assert longer.filter(pl.col("time") < START + 4 * DAY).equals(logs[0])
    assert not logs[0].select("user", "item").is_duplicated().any()
    world = world_of(seed=1)
    found = [play(world, logs[0], 4, 3, Fixed(orders_of(world, 7)), 3) for _ in range(2)]
    assert all(one.equals(other) for one, other in zip(*found, strict=True))
    halves = play(world, logs[0], 4, 1, Fixed(orders_of(world, 7)), 3)
    halves = play(world, halves.log, 5, 2, Fixed(orders_of(world, 7)), 3)
    assert halves.log.equals(found[0].log)


def test_what_was_before_is_read_from_the_log_as_it_was_made() -> None:
    world = world_of(seed=5)
    log = make_log(world)
    state = before(world, log, 4)
    assert state.had.sum() == len(log)
    ages = (3 - (log["time"] - START) // DAY).to_numpy()
    assert state.heat.sum() == pytest.approx((0.9**ages).sum())


def test_tastes_drift_and_keep_their_spread() -> None:
    world = world_of(users=4000, new_users=0, drift=0.3)
    first = world.tastes(0)
    last = world.tastes(20)
    assert last.std() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(first.ravel(), last.ravel())[0, 1] == pytest.approx(0.91**10, abs=0.02)
    assert np.array_equal(world.tastes(0), first)
    assert np.array_equal(world_of(users=4000, new_users=0, drift=0).tastes(9), first)


def test_popularity_feeds_back() -> None:
    shares = []
    for feedback in (0.0, 1.5):
        log = make_log(world_of(days=20, activity=0.9, new_items=0, feedback=feedback, users=300))
        late = log.filter(pl.col("time") >= START + 4 * DAY, pl.col("time") < START + 6 * DAY)
        shares.append(float(late["item"].value_counts()["count"].to_numpy().std()))
    assert shares[1] > 1.5 * shares[0]


def test_newcomers_look_around_first_and_a_shop_is_told_all() -> None:
    world = world_of(seed=2, new_users=30)
    log, shop = make_log(world), Fixed(orders_of(world_of(seed=2, new_users=30), 6))
    played = play(world, log, 4, 2, shop, 3)
    new = played.log[len(log) :]
    told = {(each.user, item) for each in shop.told for item in each.items}
    assert told == set(new.select("user", "item").iter_rows())
    assert len({each.key for each in shop.told}) == len(shop.told)
    assert new.filter(kind="click").height == played.outcomes["click"].sum()
    unknown = set(new["user"]) - set(log["user"])
    organic = set(new.filter(kind="organic")["user"])
    assert organic == unknown & set(played.requests["user"])
    each = new.group_by("user").agg(pl.col("kind").sort_by("time").first())
    assert set(each.filter(kind="organic")["user"]) == organic


def figures_of(requests: pl.DataFrame, variant: pl.Series) -> pl.DataFrame:
    rows = requests.with_columns(variant=variant)
    return rows.group_by("user", "variant").agg(value=pl.col("clicks").sum())


def test_users_meet_the_same_luck_whoever_else_is_asked() -> None:
    world = world_of(seed=4, feedback=0)
    log, orders, of = make_log(world), orders_of(world, 8), Assignment("same", {"a": 0.5, "b": 0.5})
    both = play(world, log, 4, 4, Fixed(orders, of), 3).outcomes
    for name in ("a", "b"):
        alone = play(world, log, 4, 4, Fixed({name: orders[name]}), 3).outcomes
        mine = both.filter(variant=name)
        assert len(mine) > 100
        assert (
            alone.filter(pl.col("user").is_in(mine["user"].implode()))
            .drop("variant")
            .equals(mine.drop("variant"))
        )


def test_intervals_of_abtest_hold_the_truth_as_often_as_they_say(tmp_path: Path) -> None:
    """In many worlds: of a true effect, and of none (A/A), whose interval has to miss 1 in 20."""
    worlds, inside, inside_aa, differences = 120, 0, 0, []
    for seed in range(worlds):
        world = world_of(seed=seed, feedback=0, days=2)
        log, orders = make_log(world), orders_of(world, 4)
        plays = {name: play(world, log, 2, 2, Fixed({name: orders[name]}), 3) for name in "ab"}
        totals = [summary(each.requests)["all"]["by_user"] for each in plays.values()]
        differences.append(totals[1] - totals[0])
        requests = plays["a"].requests
        drawn = Assignment(f"test {seed}", {"a": 0.5, "b": 0.5}).of_all(requests["user"])
        mixed = plays["b"].requests.with_columns(variant=drawn).filter(variant="b")
        mixed = pl.concat([requests.with_columns(variant=drawn).filter(variant="a"), mixed])
        effect = compare_variants(figures_of(mixed, mixed["variant"])).effects[0]
        inside += effect.low <= differences[-1] <= effect.high
        aa = compare_variants(figures_of(requests, drawn)).effects[0]
        inside_aa += aa.low <= 0 <= aa.high
    assert np.mean(differences) > 0.1
    assert 0.88 * worlds <= inside  # of users at hand, whose effects differ: wide, if anything
    assert 0.88 * worlds <= inside_aa < worlds


class Exploring(Fixed):
    """Epsilon-greedy lists from the first ten of an order, by the rules of the package."""

    def ask(self, users: Sequence[str], k: int, seed: int) -> list[Answer]:
        rows = np.array([int(user[1:]) for user in users])
        items = torch.from_numpy(self.orders["a"][rows][:, :10])
        scores = torch.arange(10, 0, -1).double().expand(len(rows), 10)
        made = choose(
            Pool(items, scores),
            k,
            [],
            draw=Epsilon(0.9),
            chance=Chance(rows.astype(np.uint64), seed),
        )
        shown = items.gather(1, made.place)
        assert made.propensity is not None
        pairs = zip(shown.tolist(), made.propensity.tolist(), strict=True)
        return [Answer([f"i{code}" for code in codes], chances) for codes, chances in pairs]


@pytest.mark.parametrize("k", [1, 2])
def test_off_policy_estimates_are_right_on_average(k: int, tmp_path: Path) -> None:
    """Of another policy, whose lists are from the same ten items, from the log of one by chance."""
    wrong: dict[str, list[tuple[float, float]]] = {"ips": [], "snips": [], "dr": []}
    for seed in range(30):
        world = world_of(seed=seed, users=600, activity=0.95, days=1, new_users=0, feedback=0)
        log, orders = make_log(world), orders_of(world, 2)
        played = play(world, log, 1, 1, Exploring(orders), k)
        played.outcomes.write_parquet(tmp_path / "outcomes.parquet")
        chance = np.random.default_rng(seed)
        users = played.requests["user"]
        lists = [chance.permutation(orders["a"][int(user[1:])][:6])[:k] for user in users]
        policy = pl.DataFrame({"user": users, "item": [[f"i{c}" for c in each] for each in lists]})
        policy = policy.with_columns(rank=pl.lit(list(range(1, k + 1)))).explode("item", "rank")
        policy.write_parquet(tmp_path / "policy.parquet")
        truth = value_of(Kept(world, 2, played.log, played.outcomes), tmp_path / "policy.parquet")
        columns = {"action": "item", "reward": "click", "propensity": "propensity", "unit": "user"}
        columns |= {"list": "request", "rank": "rank"} if k > 1 else {}
        rows, action = logged_table(tmp_path / "outcomes.parquet", columns, [])
        asked = read_policy(tmp_path / "policy.parquet", rows, action)
        rows = joined(rows, asked)
        if k == 1:
            rows = with_rewards(rows, asked.table, asked.context, [])
        assert truth.rows == len(rows)
        for each in off_policy(rows).estimates:
            if each.name in wrong:
                wrong[each.name].append((each.value - truth.row, each.error))
    assert bool(wrong["dr"]) == (k == 1)
    for name, found in wrong.items():
        if found:
            off, error = np.array(found).T
            assert abs(off.mean()) < 3.5 * off.std() / len(off) ** 0.5, name
            assert np.mean(np.abs(off) < 1.96 * error) > 0.82, name


def test_the_value_of_a_policy_is_its_expected_clicks(tmp_path: Path) -> None:
    """A policy of what was shown is worth what was expected of it; one by chance the mixture."""
    world = world_of(seed=7)
    log = make_log(world)
    played = play(world, log, 4, 2, Fixed(orders_of(world, 6)), 3)
    kept = Kept(world, 6, played.log, played.outcomes)
    path = tmp_path / "policy.csv"
    played.outcomes.select("user", "rank", "item").unique().write_csv(path)
    found = value_of(kept, path)
    assert found.row == pytest.approx(played.truth["expected"].mean(), abs=1e-12)
    assert found.request == pytest.approx(played.requests["expected"].mean(), abs=1e-12)
    halves = played.outcomes.select("user", "rank", "item").unique()
    other = halves.with_columns(item=pl.lit("i999"))  # not there yet: nobody clicks on it
    pl.concat([halves, other]).with_columns(probability=0.5).write_csv(path)
    assert value_of(kept, path).row == pytest.approx(found.row / 2, abs=1e-12)
    halves.with_columns(item=pl.lit("sku7")).write_csv(path)
    with pytest.raises(UserError, match="the item 'sku7' is of no world"):
        value_of(kept, path)
    first = halves.filter(user=halves["user"][0])
    first.write_csv(path)
    assert (
        value_of(kept, path).left_out
        == found.rows - played.outcomes.filter(user=first["user"][0]).height
    )


def test_worlds_are_folders_and_what_is_none_is_refused(tmp_path: Path) -> None:
    world = world_of(seed=1)
    log = make_log(world)
    write(tmp_path / "world", world, 4, log)
    kept = read(tmp_path / "world")
    assert kept.log.equals(log)
    assert kept.world.settings == world.settings
    assert kept.outcomes is None
    with pytest.raises(UserError, match=r"no world\.json"):
        read(tmp_path)
    (tmp_path / "world.json").write_text("[]")
    with pytest.raises(UserError, match="is not as 'simulate world' wrote it"):
        read(tmp_path)
    told = {"world": "w", "first": 4, "days": 2, "k": 3}
    plays = dict[str, Path]()
    for name, days in (("a", 2), ("b", 2), ("c", 1)):
        played: Played = play(
            world, log, 4, days, Fixed({"x": orders_of(world, 6)["b" if name == "b" else "a"]}), 3
        )
        write(tmp_path / name, world, 4 + days, played.log, played, told | {"days": days})
        plays[name] = tmp_path / name
    truth = effect_of({"a": plays["a"], "b": plays["b"]}, None)
    sums = [pl.read_parquet(plays[name] / "truth/requests.parquet") for name in "ab"]
    means = [float(e["expected"].to_numpy().sum()) / e["user"].n_unique() for e in sums]
    assert truth.difference == pytest.approx(means[1] - means[0])
    with pytest.raises(UserError, match="the same days"):
        effect_of({"a": plays["a"], "c": plays["c"]}, None)
    with pytest.raises(UserError, match="is no item of this world"):
        play(world, log, 4, 1, Fixed({"x": orders_of(world, 6)["a"] + 100}), 3)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"usrs": 3}, "usrs= is no key of a world. Did you mean 'users'"),
        ({"drift": "2"}, "drift=2: .*less than or equal to 1"),
        ({"users": 10**7, "items": 10**4}, "a world has 1,000,000,000 at most"),
    ],
)
def test_settings_that_are_none_are_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Settings.of(said)


def test_the_effect_of_a_test_is_held_against_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = world_of(seed=6, feedback=0)
    log, orders, of = make_log(world), orders_of(world, 6), Assignment("t", {"a": 0.5, "b": 0.5})
    shops = {
        "a": Fixed({"x": orders["a"]}),
        "b": Fixed({"x": orders["b"]}),
        "ab": Fixed(orders, of),
    }
    told = {"world": "w", "first": 4, "days": 2, "k": 3}
    for name, shop in shops.items():
        played = play(world, log, 4, 2, shop, 3)
        write(tmp_path / name, world, 6, played.log, played, told)
    found, to = tmp_path / "found.json", tmp_path / "effect.json"
    users = played.requests.with_columns(one=pl.lit(1))
    users.write_parquet(tmp_path / "requests.parquet")
    words = ["abtest", f"log={tmp_path / 'requests.parquet'}", "value=clicks", f"to={found}"]
    assert cli.run(words) == 0
    plays = f"plays={{a: {tmp_path / 'a'}, b: {tmp_path / 'b'}}}"
    assert cli.run(["simulate", "effect", plays, f"found={found}", f"to={to}"]) == 0
    effect, made = json.loads(to.read_text()), json.loads(found.read_text())["effects"][0]
    assert effect["interval"] == [made["low"], made["high"]]
    assert effect["inside"] == (made["low"] <= effect["difference"] <= made["high"])
    printed = capsys.readouterr().out
    assert f"{effect['difference']:+.4f}" in printed
    assert "clicks per user" in printed
    with pytest.raises(UserError, match=r"was played with a, b\b.*play each model alone"):
        cli.run(["simulate", "effect", f"plays={{a: {tmp_path / 'a'}, b: {tmp_path / 'ab'}}}"])
    kept = pl.read_parquet(tmp_path / "ab" / "requests.parquet")
    assert kept.equals(played.requests.drop("expected"))
    with pytest.raises(UserError, match="compares a, b; plays= has b, the control, and a"):
        cli.run(
            [
                "simulate",
                "effect",
                f"plays={{b: {tmp_path / 'b'}, a: {tmp_path / 'a'}}}",
                f"found={found}",
            ]
        )
    assert cli.run([*words[:2], "value=clicks", "per=one", f"to={found}"]) == 0
    with pytest.raises(UserError, match="clicks per one: the truth is of clicks per user"):
        cli.run(["simulate", "effect", plays, f"found={found}"])


def test_the_python_of_the_page_runs() -> None:
    (code,) = [text for name, text in blocks(CLONE / "docs" / "simulation.md") if name == "python"]
    names: dict[str, Any] = {}
    exec(code, names)
    assert f"float64 [{len(names['taste'])}, {names['taste'].shape[1]}]" in code
    assert names["taste"].dtype == np.float64


def test_the_value_after_a_play_is_that_of_the_next_visit(tmp_path: Path) -> None:
    world = world_of(seed=8)
    log = make_log(world)
    played = play(world, log, 4, 2, Fixed(orders_of(world, 6)), 3)
    state = before(world, played.log, 6)
    chance = world.probability(6, np.arange(world.users(6)), state)[:, [5, 9]]
    path = tmp_path / "same.csv"
    pl.DataFrame({"rank": [1, 2], "item": ["i5", "i9"]}).write_csv(path)
    for kept in (Kept(world, 6, played.log, played.outcomes), Kept(world, 6, played.log, None)):
        found = value_of(kept, path, after=True)
        assert found.rows == 2 * world.users(6)
        assert not found.left_out
        assert found.request == pytest.approx((chance @ [1, 0.5]).mean(), abs=1e-12)
        assert found.had == pytest.approx(state.had[:, [5, 9]].mean())


def test_what_is_nearly_sure_is_found_in_proportion_to_its_odds_too() -> None:
    """Chances round to 1 from odds of about exp(37) on, and to 0 below exp(-745)."""
    world = world_of(strength=100, base=20, feedback=0, users=300, organic=3)
    state = before(world, pl.DataFrame(schema={"user": pl.String, "item": pl.String,
                                               "time": pl.Int64, "kind": pl.String}), 0)  # fmt: skip
    users = np.arange(world.users(0))
    _, vectors, attraction = world.catalogue(0)
    odds = 100 * world.tastes(0) @ vectors.T / 2 + attraction
    who, what = world.organic(0, users, state)
    assert np.bincount(who).tolist() == [3] * len(users)
    # Beside such odds the noise of a draw is small: the best three come, whatever their number.
    best = np.sort(odds, 1)[:, -3:].mean()
    assert odds[who, what].mean() > best - 2
    assert (world.probability(0, users, state) == 1).sum() > 3 * len(users)


@pytest.mark.parametrize(
    ("about", "log", "words"),
    [
        ({"settings": 3, "days": 2}, {}, "world.json is not as"),
        ({"settings": {}, "days": "x"}, {}, "world.json is not as"),
        ({"settings": {}, "days": None}, {}, "world.json is not as"),
        ({"settings": {}, "days": -5}, {}, "world.json is not as"),
        ({"settings": {}, "days": 1}, None, "log.parquet"),
        ({"settings": {}, "days": 1}, {"user": ["u0"]}, "item"),
        ({"settings": {}, "days": 1}, {"user": ["u0"], "item": ["x"]}, "its items i0, i1"),
        ({"settings": {}, "days": 1}, {"user": [None], "item": ["i0"]}, "nothing is left out"),
    ],
)
def test_other_folders_are_refused_in_a_sentence(
    tmp_path: Path, about: Any, log: dict[str, list[Any]] | None, words: str
) -> None:
    (tmp_path / "world.json").write_text(json.dumps(about))
    if log is not None:
        table = pl.DataFrame(log, schema_overrides={"user": pl.String})
        if "item" in log:
            table = table.with_columns(time=pl.lit(START), kind=pl.lit("organic"))
        table.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match=words):
        read(tmp_path)


def test_truths_and_addresses_of_something_else_are_refused(tmp_path: Path) -> None:
    for name, text in (("a", "[]"), ("b", '{"world": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "truth.json").write_text(text)
    with pytest.raises(UserError, match=r"truth\.json is not as"):
        effect_of({name: tmp_path / name for name in "ab"}, None)
    with pytest.raises(UserError, match="say it as"):
        Server("http://127.0.0.1:99999999", {}, None, "")


def test_an_item_that_is_not_there_yet_is_none_that_users_have_had(tmp_path: Path) -> None:
    world = world_of()
    pl.DataFrame({"item": ["i29999"], "probability": [1.0]}).write_csv(tmp_path / "policy.csv")
    found = value_of(Kept(world, 4, make_log(world), None), tmp_path / "policy.csv")
    assert (found.row, found.had) == (0, 0)


def test_no_two_kinds_of_chance_are_one_stream() -> None:
    """NumPy pads entropy with zeros, so that a name and the same with a 0 behind it were one."""
    world = World(Settings(seed=1))
    named = [(a, *rest) for a in range(7) for rest in ((), (0,), (1,), (1, 0), (0, 0), (1, 0, 0))]
    first = {tuple(world._chance(*each).random(2)) for each in named}
    assert len(first) == len(named)
