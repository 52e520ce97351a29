"""``explain`` shows paths of the graph, what Python finds, and reads no file that nobody named."""

import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import torch

from lightning_rec import cli
from lightning_rec.answers.explaining import explain
from lightning_rec.answers.given_graphs import graph_over
from lightning_rec.api import load_run
from lightning_rec.bundle import open_model
from lightning_rec.errors import UserError
from lightning_rec.models.classic.kgat import KGAT
from lightning_rec.predict.sequences import SequencePredictor

Refused = Callable[..., str]
ITEMS = 38  # of 40; the others are not linked


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Items i00 to i37 of two genres and twelve makers, who know one another."""
    folder = tmp_path_factory.mktemp("graph")
    rows = [(f"m{item}", "film.film.genre", f"g{item % 2}") for item in range(ITEMS)]
    rows += [(f"m{item}", "http://x.org/made_by", f"k{item % 12}") for item in range(ITEMS)]
    rows += [(f"k{n}", "knows", f"k{n + 1}") for n in range(11)]
    columns = ["head_id:token", "relation_id:token", "tail_id:token"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / "x.kg", separator="\t")
    links = {
        "item_id": [f"i{n:02d}" for n in range(ITEMS)],
        "entity_id": [f"m{n}" for n in range(ITEMS)],
    }
    pl.DataFrame(links).write_csv(folder / "x.link", separator="\t")
    return {"triples": str(folder / "x.kg"), "links": str(folder / "x.link")}


@pytest.fixture(scope="module")
def said(files: dict[str, str]) -> str:
    return f"graph={{triples: {files['triples']}, links: {files['links']}}}"


@pytest.fixture(scope="module")
def runs(log_frame: pl.DataFrame, said: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of KGAT and one of SASRec, ``kgat`` and ``sasrec``."""
    folder = tmp_path_factory.mktemp("explained")
    log_frame.write_csv(folder / "log.csv")
    common = [
        *("data=table", f"data.path={folder / 'log.csv'}", "data.user=uid", "data.item=sku"),
        *("data.time=ts", "model.dim=8", "logger=none", "trainer=cpu", "trainer.max_epochs=2"),
        *("batches.batch_size=16", "baseline=null", "protocol.drop_doubled=false"),
    ]
    kgat = ["model=kgat", "model.widths=[8]", "model.relation_dim=8", f"data.{said}"]
    assert cli.run(["train", *common, *kgat, f"run_dir={folder / 'kgat'}"]) == 0
    sasrec = ["model=sasrec", "model.depth=1", "batches.max_len=10"]
    assert cli.run(["train", *common, *sasrec, f"run_dir={folder / 'sasrec'}"]) == 0
    return folder


def opened(path: Path) -> SequencePredictor:
    model = load_run(path)
    assert isinstance(model, SequencePredictor)
    return model


def test_paths_by_rarity_lead_from_the_history_to_what_is_recommended(
    runs: Path, files: dict[str, str]
) -> None:
    model, history = opened(runs / "sasrec"), ["i03", "i10", "i39"]
    found = explain(model, files, [history], k=8, paths=100, hops=3)
    best = model.recommend([history], k=8)
    assert found.columns[:4] == ["row", "rank", "item", "path"]
    ranks = dict(best.select("item", "rank").iter_rows())
    assert dict(found.select("item", "rank").iter_rows()) == ranks  # each has a row
    nothing = found.filter(pl.col("path").is_null())
    assert {*nothing["item"]} == {item for item in ranks if item >= "i38"}
    found = found.drop_nulls("path")
    for row in found.rows(named=True):
        assert row["rank"] == ranks[row["item"]]
        begin, end = int(row["had"][1:]), int(row["item"][1:])
        weight = 1.0
        for entity in row["through"]:
            weight /= len(_around(entity))
        assert row["weight"] == pytest.approx(weight, rel=1e-12)
        ends = [_around(f"m{n}") for n in (begin, end)]
        assert row["through"][0] in ends[0]
        assert row["through"][-1] in ends[1]
    shared = {(a, b) for a in ("i03", "i10") for b in ranks if b < "i38" and a != b}
    by_genre = {(a, b) for a, b in shared if (int(a[1:]) - int(b[1:])) % 2 == 0}
    of = found.filter(pl.col("through").list.eval(pl.element().str.starts_with("g")).list.all())
    assert {(a, b) for a, b in of.filter(pl.col("through").list.len() == 1).select("had", "item").iter_rows()} == by_genre  # fmt: skip
    assert not {"i38", "i39"} & {*found["item"], *found["had"]}


def _around(entity: str) -> set[str]:
    number = int(entity[1:])
    if entity[0] == "m":
        return {f"g{number % 2}", f"k{number % 12}"}
    if entity[0] == "g":
        return {f"m{n}" for n in range(ITEMS) if n % 2 == number}
    near = {f"k{n}" for n in (number - 1, number + 1) if 0 <= n < 12}
    return near | {f"m{n}" for n in range(ITEMS) if n % 12 == number}


def test_paths_are_told_in_words_with_titles_and_names(runs: Path, files: dict[str, str]) -> None:
    model = opened(runs / "sasrec")
    model.items = model.items.with_columns(title=pl.lit("No. ") + pl.col("item"))
    model.catalogue.items = model.items
    names = {"entity": ["k3", "k4", "m4"], "name": ["Ann", None, "not used"]}
    found = explain(model, files, [["i03"]], items=["i15", "i04", "i03"], hops=3, names=names)
    assert found["why"].to_list() == [
        "No. i03 -made by-> Ann <-made by- No. i15",
        "No. i03 -film genre-> g1 <-film genre- No. i15",
        "No. i03 -made by-> Ann -knows-> k4 <-made by- No. i04",
        None,
    ]
    assert found["relations"].to_list()[1] == ["film.film.genre"] * 2
    assert found.select("rank", "item", "title", "path", "had", "through").rows() == [
        (1, "i15", "No. i15", 1, "i03", ["k3"]),
        (1, "i15", "No. i15", 2, "i03", ["g1"]),
        (2, "i04", "No. i04", 1, "i03", ["k3", "k4"]),
        (3, "i03", "No. i03", None, None, None),
    ]
    back = explain(model, files, [["i04"]], items=["i03"], hops=3)
    assert back["why"].to_list() == ["No. i04 -made by-> k4 <-knows- k3 <-made by- No. i03"]
    assert explain(model, files, [["i39"]], items=["i03"])["path"].to_list() == [None]


def test_paths_of_kgat_weigh_what_it_has_learnt(runs: Path, files: dict[str, str]) -> None:
    model = opened(runs / "kgat")
    assert isinstance(model.model, KGAT)
    graph = graph_over(model.items["item"], files)
    learnt = model.model.weigh_triples(torch.from_numpy(graph.triples)).tolist()
    names = [graph.entities.gather(each).to_list() for each in (graph.head, graph.tail)]
    weight = {frozenset(pair): own for *pair, own in zip(*names, learnt, strict=True)}
    found = explain(model, graph, users=["u5", "u9"], hops=3, paths=4)
    assert found["user"].unique(maintain_order=True).to_list() == ["u5", "u9"]
    for row in found.drop_nulls("path").rows(named=True):
        ends = [f"m{int(row[name][1:])}" for name in ("had", "item")]
        nodes = [ends[0], *row["through"], ends[1]]
        wanted = 1.0
        for pair in pairwise(nodes):
            wanted *= weight[frozenset(pair)]
        assert row["weight"] == pytest.approx(wanted, rel=1e-6)
    ordered = found.sort("user", "rank", pl.col("weight"), descending=[False, False, True])
    assert ordered["path"].equals(found["path"])
    rarest = explain(model, graph, users=["u5"], by="rarity")
    assert not rarest["weight"].equals(found.head(len(rarest))["weight"])
    with pytest.raises(UserError, match="another graph"):
        explain(
            opened(runs / "kgat"), {**files, "links": None, "triples": _cut(files)}, users=["u5"]
        )


def _cut(files: dict[str, str]) -> str:
    """A graph in which entities bear the ids of items, one triple of them missing."""
    path = Path(files["triples"])
    lines = path.read_text().splitlines()
    other = path.with_name("other.kg")
    named = [f"i{int(line.split()[0][1:]):02d}\t" + line.split("\t", 1)[1] if line[0] == "m" else line
             for line in lines[:1] + lines[2:]]  # fmt: skip
    other.write_text("\n".join(named) + "\n")
    return str(other)


def test_the_commands_of_the_page_show_what_python_finds(
    runs: Path, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "graphs.md"
    lines = [
        line for line in page.read_text().splitlines() if line.startswith("lightning-rec explain")
    ]
    assert len(lines) == 2
    for line, kind in zip(lines, ("kgat", "sasrec"), strict=True):
        _, *words = shlex.split(line)
        here = {
            "model=FOLDER": f"model={runs / kind}",
            "user=42": "user=u5",
            "history=[50,172]": "history=[i03,i10]",
            "item=181": "item=i15",
            "names=people.csv": "",
        }
        asked = [said if word.startswith("graph=") else here.get(word, word) for word in words]
        capsys.readouterr()
        assert cli.run([word for word in asked if word]) == 0
        assert "-made by->" in " ".join(capsys.readouterr().out.split())
    capsys.readouterr()
    assert cli.run(["explain", f"model={runs / 'sasrec'}", "history=i03", "item=i39", said]) == 0
    assert "(no path of 2 steps or fewer)" in " ".join(capsys.readouterr().out.split())
    output = tmp_path / "paths.parquet"
    asked = [f"model={runs / 'kgat'}", "user=[u5,u9]", said, "hops=3"]
    assert cli.run(["explain", *asked, "--output", str(output)]) == 0
    graph = _mapping(said)
    wanted = explain(opened(runs / "kgat"), graph, users=["u5", "u9"], hops=3)
    assert pl.read_parquet(output).equals(wanted)
    assert cli.run(["export", f"run={runs / 'kgat'}", f"to={tmp_path / 'bundle'}"]) == 0
    bundle = open_model(tmp_path / "bundle")
    assert isinstance(bundle, SequencePredictor)
    assert explain(bundle, graph, users=["u5", "u9"], hops=3).equals(wanted)


def _mapping(said: str) -> dict[str, str]:
    inside = said.partition("{")[2].rstrip("}").split(", ")
    return dict(each.split(": ") for each in inside)


def test_what_cannot_be_explained_is_told(
    runs: Path, said: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    kgat, sasrec = f"model={runs / 'kgat'}", f"model={runs / 'sasrec'}"
    assert "does not name a knowledge graph" in refused("explain", sasrec, "history=i03")
    with monkeypatch.context() as patch:  # files of a config alone are not even looked at
        patch.setattr("lightning_rec.data.graphs.files.GraphFiles.read", None)
        told = refused("explain", kgat, "user=u5")
    assert "are not read: if these are meant, say graph='{triples: " in told
    assert "one of user=ID and history" in refused("explain", kgat, said)
    assert "k= is of what is recommended" in refused("explain", kgat, said, "user=u5", "k=3", "item=i03")  # fmt: skip
    assert "from 1 to 3 steps" in refused("explain", kgat, said, "user=u5", "hops=4")
    assert "paths=0" in refused("explain", kgat, said, "user=u5", "paths=0")
    assert "Did you mean 'rarity'" in refused("explain", kgat, said, "user=u5", "by=rarety")
    assert "has learnt no attention" in refused("explain", sasrec, said, "history=i03", "by=attention")  # fmt: skip
    assert "zz" in refused("explain", kgat, said, "user=u5", "item=zz")
    assert "seen=no" in refused("explain", kgat, said, "user=u5", "seen=no")
    assert "graph.triple" in refused("explain", kgat, "graph={triple: x.kg}", "user=u5")
    assert "say graph={triples" in refused("explain", kgat, "graph={triples", "user=u5")
    assert "nowhere.kg" in refused("explain", kgat, "graph=nowhere.kg", "user=u5")
