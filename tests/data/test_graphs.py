"""Knowledge graphs out of files: as codes, with errors that name the place, and audited."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.building import check
from lightning_rec.data.graphs.files import GraphFiles
from lightning_rec.data.graphs.graph import KnowledgeGraph, coded
from lightning_rec.data.pipeline import AuditedLog, load
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.splits import LeaveOneOut
from lightning_rec.errors import UserError

ITEMS = pl.Series("item", ["i1", "i2", "i3"])
TRIPLES = [("m1", "directed_by", "ann"), ("m2", "directed_by", "ann"), ("ann", "born_in", "oslo")]
LINKS = [("i1", "m1"), ("i2", "m2")]


def written(folder: Path, triples: Any = TRIPLES, links: Any = LINKS) -> GraphFiles:
    """RecBole's atomic files of these rows."""
    kg, link = folder / "x.kg", folder / "x.link"
    head = ["head_id:token\trelation_id:token\ttail_id:token"]
    kg.write_text("\n".join(head + ["\t".join(each) for each in triples]) + "\n")
    head = ["item_id:token\tentity_id:token"]
    link.write_text("\n".join(head + ["\t".join(each) for each in links]) + "\n")
    return GraphFiles(triples=str(kg), links=str(link))


def named(graph: KnowledgeGraph) -> set[tuple[str, str, str]]:
    return {
        (graph.entities[h], graph.relations[r], graph.entities[t])
        for h, r, t in zip(
            graph.head.tolist(), graph.relation.tolist(), graph.tail.tolist(), strict=True
        )
    }


def test_items_are_the_first_entities_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    graph = coded(written(tmp_path).read(ITEMS), ITEMS)
    assert graph.entities.to_list() == ["m1", "m2", "i3", "ann", "oslo"]
    assert graph.relations.to_list() == ["born_in", "directed_by"]
    assert named(graph) == set(TRIPLES)
    assert graph.has_facts.tolist() == [True, True, False, True, True]
    assert graph.facts["items without a fact"] == 1
    other = coded(written(tmp_path, TRIPLES[::-1], LINKS[::-1]).read(ITEMS), ITEMS)
    assert other.hash == graph.hash
    fewer = coded(written(tmp_path).read(ITEMS), ITEMS[1:])  # i1 was filtered: m1 stays
    assert fewer.entities.to_list() == ["m2", "i3", "ann", "m1", "oslo"]
    assert named(fewer) == set(TRIPLES)
    assert fewer.hash != graph.hash


def test_any_table_with_any_columns_will_do_and_links_may_be_left_out(tmp_path: Path) -> None:
    table = pl.DataFrame({"s": [1, 2, 7], "p": ["a", "a", "b"], "o": [9, 9, 1]})
    table.write_parquet(tmp_path / "kg.parquet")
    names = {"head": "s", "relation": "p", "tail": "o"}
    files = GraphFiles(triples=str(tmp_path / "kg.parquet"), **names)
    graph = coded(files.read(pl.Series(["2", "5"])), pl.Series(["2", "5"]))
    assert graph.entities.to_list() == ["2", "5", "1", "7", "9"]
    assert named(graph) == {("1", "a", "9"), ("2", "a", "9"), ("7", "b", "1")}
    (tmp_path / "bare.txt").write_text("1 0 9\n2 0 9\n")
    columns = ["head_id", "relation_id", "tail_id"]
    bare = GraphFiles(triples=str(tmp_path / "bare.txt"), columns=columns, delimiter="blank")
    assert len(bare.read(pl.Series(["2"])).triples) == 2
    with pytest.raises(UserError, match=r"no column 'head_id' .*data\.graph\.columns"):
        GraphFiles(triples=str(tmp_path / "bare.txt"), delimiter="blank").read(pl.Series(["2"]))


@pytest.mark.parametrize(
    ("triples", "links", "told"),
    [
        ([("m1", "", "ann")], LINKS, r"x\.kg, line 2, column 'relation_id': the relation is empty"),
        ([*TRIPLES, ("m1", "r", "")], LINKS, r"x\.kg, line 5, column 'tail_id'"),
        (TRIPLES, [("i1", "m1"), ("i1", "m2")], r"x\.link, line 2, column 'item_id': the item i1"),
        (
            TRIPLES,
            [("i3", "ann"), ("i1", "m1"), ("i2", "m1")],
            r"line 3, .*the entity m1 is linked",
        ),
        (TRIPLES, [*LINKS, ("i9", "ann")], r"line 4, .*neither log nor catalogue has the item i9"),
        (TRIPLES, [*LINKS, ("i3", "m9")], r"line 4, .*no triple mentions the entity m9"),
        (TRIPLES, [("x1", "m1")], r"no item is linked, .*as x1; those there are are like i1, i2"),
        ([], LINKS, r"x\.kg has no rows"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    triples: Any, links: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        written(tmp_path, triples, links).read(ITEMS)


def test_unknown_links_are_dropped_where_that_is_asked_for_and_repeats_are_told(
    tmp_path: Path,
) -> None:
    files = written(tmp_path, [*TRIPLES, TRIPLES[0]], [*LINKS, LINKS[0], ("i9", "ann")])
    facts = GraphFiles(triples=files.triples, links=files.links, unknown="drop").read(ITEMS)
    assert facts.links.rows() == LINKS
    assert facts.triples.rows() == TRIPLES
    assert "1 triples repeat" in facts.notes[0]
    assert "neither log nor catalogue has 1 item ids, as i9" in facts.notes[1]
    alone = GraphFiles(triples=files.triples)
    with pytest.raises(UserError, match=r"none of its entities is an item: .*data\.graph\.links"):
        alone.read(ITEMS)


def test_the_config_is_checked_key_by_key() -> None:
    node = {"_target_": "lightning_rec.data.sources.table.TableSource", "path": "log.csv"}
    made = check("data", node | {"graph": {"triples": "x.kg", "head": "s"}})
    assert made["graph"] == GraphFiles(triples="x.kg", head="s")
    with pytest.raises(UserError, match=r"data\.graph.*tripels"):
        check("data", node | {"graph": {"tripels": "x.kg"}})


Loaded = Callable[..., AuditedLog]


@pytest.fixture
def loaded(log_csv: Path, tmp_path: Path) -> Loaded:
    def make(triples: Any, links: Any = None) -> AuditedLog:
        files = written(tmp_path, triples, links or [("i01", "m1"), ("i02", "m2")])
        graph = files if links is not False else GraphFiles(triples=files.triples)
        source = TableSource(str(log_csv), user="uid", item="sku", time="ts", graph=graph)
        return load(source, LeaveOneOut(cutoffs=(5,)), tmp_path / "cache")

    return make


def of_log(loaded: AuditedLog, part: str) -> list[tuple[str, str]]:
    """Pairs of raw ids of the targets of a part, or of training events."""
    log, split = loaded.data.log, loaded.data.split
    rows = split.rows[: split.train_end[0]] if part == "train" else getattr(split, part).row
    events = log.events.collect()[np.asarray(rows).tolist()]
    users, items = log.users["user"], log.items["item"]
    return [(users[u], items[i]) for u, i in zip(events["user"], events["item"], strict=True)]


def test_a_graph_is_a_part_of_the_data_and_no_part_of_its_hash(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    with_graph = loaded([*TRIPLES, ("oslo", "near", "u3")])
    graph = with_graph.data.graph
    assert graph is not None
    assert with_graph.facts["graph triples"] == 4
    assert with_graph.facts["items without a fact"] == with_graph.data.split.num_items - 2
    assert "says nothing of 38 of 40 items" in caplog.text
    assert loaded(TRIPLES).data_hash == with_graph.data_hash


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_relation_that_holds_targets_is_refused(loaded: Loaded, part: str) -> None:
    pairs = of_log(loaded(TRIPLES), part)[:5]
    items = sorted({item for _, item in pairs} | {"i01", "i02"})
    links = [(item, f"m{place}") for place, item in enumerate(items)]
    entity = dict(links)
    facts = [*TRIPLES, ("m0", "genre", "x"), ("m1", "genre", "x")]
    facts += [(entity[item], "genre", "y") for item in items]
    # The planted leak, in either direction.
    user, item = pairs[0]
    for planted in ((user, "watched", entity[item]), (entity[item], "watched_by", user)):
        with pytest.raises(UserError, match=rf"relation 'watched.* user {user} and item {item}"):
            loaded([*facts, planted], links)
    loaded(facts, links)


@pytest.mark.parametrize(("session", "rule"), [
    ("day", LeaveOneOut(cutoffs=(1,), seen="keep")),
    ("day", Sessions(cutoffs=(1,), item_core=0)),
    (None, Sessions(cutoffs=(1,), item_core=0, gap="1h")),
])  # fmt: skip
def test_whose_sessions_they_are_is_found_in_a_graph(
    tmp_path: Path, session: str | None, rule: Any
) -> None:
    """A session is called by its user and a number: the graph tells of the user."""
    rows = [
        (f"a/{user}", f"i{(user + 7 * day + 3 * turn) % 12}", 90_000 * day + 60 * turn, day)
        for user in range(10) for day in range(10) for turn in range(4)
    ]  # fmt: skip
    log = pl.DataFrame(rows, ["user", "item", "time", "day"], orient="row")
    log.write_csv(tmp_path / "log.csv")
    log.select(head_id="user", relation_id=pl.lit("had"), tail_id="item").write_csv(
        tmp_path / "graph.csv"
    )
    source = TableSource(
        str(tmp_path / "log.csv"), user="user", item="item", time="time", session=session,
        graph=GraphFiles(triples=str(tmp_path / "graph.csv")),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"relation 'had' joins users with items .* user a/"):
        load(source, rule, tmp_path / "cache")


def test_training_events_are_no_leak_and_a_chance_likeness_is_told(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    data = loaded(TRIPLES)
    user, item = of_log(data, "test")[0]
    met = {i for u, i in of_log(data, "train") if u == of_log(data, "train")[0][0]}
    of_first = [(u, i) for u, i in of_log(data, "train") if i in met]
    links = [(i, i) for i in sorted({i for _, i in of_first} | {item})]
    targets = {*of_log(data, "val"), *of_log(data, "test")}
    learnt = [(u, "watched", i) for u, i in of_first if (u, i) not in targets]
    loaded([*learnt, (item, "genre", "x")], links)
    # Most pairs of this relation are no events: entities that bear ids of users may be no users.
    users = [f"u{number}" for number in range(2, 60)]
    events = set(data.data.log.described(data.data.log.events.select("user", "item")).select(
        "user", "item").collect().rows())  # fmt: skip
    others = [(each, "shelf", item) for each in users if (each, item) not in events]
    loaded([*others, (user, "shelf", item)], [(item, item)])
    assert "the relation 'shelf' joins items with entities that bear ids of users" in caplog.text


def test_items_are_no_users_even_where_ids_are_the_same_numbers(tmp_path: Path) -> None:
    rows = [(u, i, t) for u in (1, 2, 3) for t, i in enumerate((1, 2, 3, 4, 5))]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    frame.write_csv(tmp_path / "log.csv")
    (tmp_path / "x.csv").write_text("head_id,relation_id,tail_id\n1,like,5\n2,like,5\n3,like,4\n")
    graph = GraphFiles(triples=str(tmp_path / "x.csv"))
    source = TableSource(
        str(tmp_path / "log.csv"), user="user", item="item", time="time", graph=graph
    )
    found = load(source, LeaveOneOut(cutoffs=(1,)), tmp_path / "cache").data.graph
    assert found is not None
    assert len(found.head) == 3
