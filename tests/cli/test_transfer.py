"""Transfer begins with a run on other data: all of it or nothing, and what belongs to one item never."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.documents import read_json
from lightning_rec.files import sha256_file
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Task

Line = Callable[..., list[str]]
Refused = Callable[..., str]
KINDS, EACH, WIDTH = 8, 5, 12
MODEL = [
    "model=unisrec", "model.dim=16", "model.depth=1", "model.dropout=0.1", "model.attention_dropout=0.1",
    "item=vectors", "item.whiten=false", "item.adaptor=moe", "item.experts=3", "item.adaptor_dropout=0.1",
]  # fmt: skip
PRETRAIN = ["objective=item_drop", "loss=in_batch", "loss.distinct=false", "loss.log_q=false"]
SETTINGS = [
    "data.user=user", "data.item=item", "batches.max_len=10", "batches.batch_size=32", "optimizer.lr=0.01",
    "optimizer.weight_decay=0", "schedule=constant", "trainer=cpu", "trainer.check_val_every_n_epoch=1", "logger=none",
    "baseline=null", "examples=0",
]  # fmt: skip


def shop(folder: Path, name: str, seed: int, users: int) -> None:
    """Items of eight kinds, whose names and vectors say which; after kind k comes k + 3, mostly."""
    chance = random.Random(seed)
    centres = np.random.default_rng(0).normal(size=(KINDS, WIDTH))
    drawn = np.random.default_rng(seed)
    items = [f"{name}{kind}_{number}" for kind in range(KINDS) for number in range(EACH)]
    vectors = np.repeat(centres, EACH, axis=0) + 0.05 * drawn.normal(size=(len(items), WIDTH))
    rows = []
    for user in range(users):
        kind = chance.randrange(KINDS)
        for _ in range(chance.randint(6, 12)):
            kind = (kind + 3) % KINDS if chance.random() < 0.9 else chance.randrange(KINDS)
            rows.append((f"{name}{user}", f"{name}{kind}_{chance.randrange(EACH)}"))
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(folder / f"{name}.csv")
    known = pl.DataFrame({"item": items, "vector": vectors.astype(np.float32).tolist()})
    known.write_parquet(folder / f"{name}.parquet")
    kinds = [f"kind{item[len(name)]}" for item in items]
    pl.DataFrame({"item": items, "kind": kinds}).write_csv(folder / f"{name}_items.csv")


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    shop(folder, "a", 1, 300)
    shop(folder, "b", 2, 150)
    return folder


@pytest.fixture(scope="module")
def line(shops: Path) -> Line:
    """A training on one of the shops, whose last overrides hold."""

    def make(name: str, *more: str, model: list[str] = MODEL) -> list[str]:
        of = ["data=table", f"data.path={shops / name}.csv", f"item.path={shops / name}.parquet"]
        of = [each for each in of if "item=vectors" in model or not each.startswith("item.path")]
        return ["train", *model, *of, *SETTINGS, *more]

    return make


@pytest.fixture(scope="module")
def pretrained(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained") / "run"
    assert cli.run([*line("a", *PRETRAIN, "trainer.max_epochs=15"), f"run_dir={run}"]) == 0
    return run


def figures(run: Path) -> dict[str, float]:
    return dict(read_json(run / "metrics.json"))


def state(run: Path) -> dict[str, torch.Tensor]:
    predictor: Any = load_run(run)
    return dict(predictor.model.state_dict())


def given(run: Path, what: str = "none") -> list[str]:
    return ["method=transfer", f"method.run={run}", f"method.train={what}"]


def test_zero_shot_on_the_same_data_has_the_figures_of_the_run(
    line: Line, pretrained: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    assert cli.run([*line("a", *given(pretrained), "seed=5"), f"run_dir={again}"]) == 0
    assert figures(again) == figures(pretrained)
    assert cli.run(["evaluate", f"run={again}"]) == 0


def test_zero_shot_finds_in_another_shop_what_it_learnt_in_the_first(
    line: Line, pretrained: Path, tmp_path: Path
) -> None:
    """One item in five of the kind to come is right; by chance, and by popularity, one in forty."""
    run, popular, anew = tmp_path / "run", tmp_path / "popular", tmp_path / "anew"
    assert cli.run([*line("b", *given(pretrained)), f"run_dir={run}"]) == 0
    assert cli.run([*line("b", model=["model=popularity"]), f"run_dir={popular}"]) == 0
    assert cli.run([*line("b", "trainer.max_epochs=0"), f"run_dir={anew}"]) == 0
    found = figures(run)["test/recall@5"]
    assert found > 0.5
    assert found > 2.5 * figures(popular)["test/recall@5"]
    assert found > 2.5 * figures(anew)["test/recall@5"]
    begun = read_json(run / "run.json")["begun"]
    (learnt,) = begun.pop("learnt")
    known = read_json(pretrained / "run.json")
    assert learnt == {"names": ["a"], "partial": None} | {key: known[key] for key in ("data", "data_hash", "protocol", "protocol_hash")}  # fmt: skip
    weights = sha256_file(pretrained / "weights.safetensors")
    assert begun == {"run": str(pretrained), "weights": weights, "train": "none"}
    # Nothing moved but the vectors that items are known by.
    before, after = state(pretrained), state(run)
    moved = {name for name in after if not after[name].equal(before[name])}
    assert moved == {"item.source.vectors"}
    assert load_run(run).recommend([["b0_1", "b3_2"]], k=3).height == 3


@pytest.mark.parametrize("what", ["all", "adaptor"])
def test_what_is_trained_is_what_was_asked_for(
    line: Line, pretrained: Path, tmp_path: Path, what: str
) -> None:
    run = tmp_path / "run"
    more = ["trainer.max_epochs=2", "trainer.min_epochs=2"]
    assert cli.run([*line("b", *given(pretrained, what), *more), f"run_dir={run}"]) == 0
    before, after = state(pretrained), state(run)
    moved = {name for name in after if not after[name].equal(before[name])} - {
        "item.source.vectors"
    }
    adaptor = {f"item.project.{each}" for each in ("weight", "bias", "gate", "noise")}
    assert adaptor - {"item.project.noise"} <= moved
    beside = moved - adaptor - {"item.special.weight"}
    assert bool(beside) == (what == "all")
    trained = read_json(run / "run.json")["cost"]["trained_parameters"]
    assert (trained == sum(after[name].numel() for name in [*adaptor, "item.special.weight"])) == (
        what == "adaptor"
    )


def test_it_goes_on_after_a_kill_as_if_it_had_not_been_killed(
    line: Line, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    asked = line("b", *given(pretrained, "adaptor"), "trainer.max_epochs=3")
    assert cli.run([*asked, f"run_dir={whole}"]) == 0
    begin = Task.on_train_batch_start

    def killed(task: Task, batch: Any, batch_idx: int) -> None:
        begin(task, batch, batch_idx)
        if task.current_epoch == 1:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Task, "on_train_batch_start", killed)
        with pytest.raises(RuntimeError, match="killed"):
            cli.run([*asked, f"run_dir={broken}"])
    assert cli.run(["train", f"resume={broken}"]) == 0
    assert figures(broken) == figures(whole)
    for name, weight in state(whole).items():
        assert weight.equal(state(broken)[name]), name


def test_whitening_of_texts_is_taken_over(
    shops: Path, tiny_bert: Path, line: Line, tmp_path: Path
) -> None:
    """The statistics of the run, not those of the items of now, for which the map was not learnt."""
    model = [
        "model=sasrec",
        "model.dim=8",
        "loss=in_batch",
        "item=text",
        f"item.encoder={tiny_bert}",
    ]
    model += ["item.template='{kind} {item}'", "data.catalogue_item=item"]
    first, other, same = tmp_path / "first", tmp_path / "other", tmp_path / "same"
    about = {name: f"data.catalogue={shops / name}_items.csv" for name in ("a", "b")}
    assert cli.run([*line("a", about["a"], "trainer.max_epochs=1", model=model), f"run_dir={first}"]) == 0  # fmt: skip
    assert cli.run([*line("a", about["a"], *given(first), model=model), f"run_dir={same}"]) == 0
    assert cli.run([*line("b", about["b"], *given(first), model=model), f"run_dir={other}"]) == 0
    assert figures(same) == figures(first)
    before, after = state(first), state(other)
    assert "item.source.mean" in before
    assert all(after[name].equal(before[name]) for name in before)


def test_features_go_by_their_names(shops: Path, line: Line, tmp_path: Path) -> None:
    model = ["model=sasrec", "model.dim=8", "item=features", "item.columns=[kind]", "data.catalogue_item=item"]  # fmt: skip
    first, other = tmp_path / "first", tmp_path / "other"
    about = {name: f"data.catalogue={shops / name}_items.csv" for name in ("a", "b")}
    assert cli.run([*line("a", about["a"], "trainer.max_epochs=15", model=model), f"run_dir={first}"]) == 0  # fmt: skip
    # Kinds are met in another order there, and one of them is new.
    table = pl.read_csv(shops / "b_items.csv").reverse()
    table = table.with_columns(pl.col("kind").replace("kind7", "new"))
    table.write_csv(tmp_path / "reversed.csv")
    more = [f"data.catalogue={tmp_path / 'reversed.csv'}", *given(first)]
    assert cli.run([*line("b", *more, model=model), f"run_dir={other}"]) == 0
    assert figures(other)["test/recall@5"] > 0.4


def test_a_number_means_what_it_meant_in_the_other_shop(
    shops: Path, line: Line, refused: Refused, tmp_path: Path
) -> None:
    model = ["model=sasrec", "model.dim=8", "item=features", "item.columns=[price]", "data.catalogue_item=item"]  # fmt: skip
    first, other = tmp_path / "first", tmp_path / "other"
    about = {}
    for name, most in (("a", 40), ("b", 1000)):
        table = pl.read_csv(shops / f"{name}_items.csv").with_row_index("price")
        table = table.with_columns(pl.when(pl.col("price") < 20).then("price").otherwise(most))
        table.write_csv(tmp_path / f"{name}_items.csv")
        about[name] = f"data.catalogue={tmp_path / name}_items.csv"
    assert cli.run([*line("a", about["a"], "trainer.max_epochs=1", model=model), f"run_dir={first}"]) == 0  # fmt: skip
    assert cli.run([*line("b", about["b"], *given(first), model=model), f"run_dir={other}"]) == 0
    vectors = {}
    for name, run in (("a", first), ("b", other)):
        predictor: Any = load_run(run)
        items = predictor.items["item"].to_list()
        vectors[name] = predictor.model.item.table()[[items.index(f"{name}{n // 5}_{n % 5}") for n in range(20)]]  # fmt: skip
    torch.testing.assert_close(vectors["b"], vectors["a"], atol=1e-5, rtol=1e-4)
    binned, run = [*model, "item.bins=4"], tmp_path / "binned"
    assert cli.run([*line("a", about["a"], "trainer.max_epochs=1", model=binned), f"run_dir={run}"]) == 0  # fmt: skip
    told = refused(*line("b", about["b"], *given(run), model=binned), f"run_dir={tmp_path / 'no'}")
    assert "item.bins cuts price by the items of now" in told


def test_what_belongs_to_other_data_is_refused(
    line: Line, pretrained: Path, refused: Refused, shops: Path, tmp_path: Path
) -> None:
    to = f"run_dir={tmp_path / 'refused'}"
    assert "method.run is not set" in refused(*line("b", "method=transfer"), to)
    assert "Input should be 'all', 'adaptor' or 'none'" in refused(
        *line("b", *given(pretrained, "some")), to
    )
    asked = [*line("b", *given(pretrained)), to]
    assert "has another model=" in refused(*asked, "model.heads=1")
    assert "has another item=" in refused(*asked, "item.experts=4")
    assert "batches.max_len" in refused(*asked, "batches.max_len=9")
    assert "are whitened by the items of now" in refused(*asked, "item.whiten=true")
    told = refused(*line("b", *given(pretrained), model=[*MODEL, "item=vectors_and_ids"]), to)
    assert "method=transfer knows items by vectors and ids" in told
    ids = ["model=sasrec", "model.dim=8"]
    run = tmp_path / "ids"
    assert cli.run([*line("a", "trainer.max_epochs=1", model=ids), f"run_dir={run}"]) == 0
    told = refused(*line("b", *given(run), model=ids), to)
    assert f"method.run={run} knows items by ids, which other data has not" in told
    assert "item=text, vectors, images or features" in told
    # Of the same data under another protocol it may have learnt what is tested.
    told = refused(*line("a", *given(pretrained), "protocol.new_items=0.2"), to)
    assert "has another protocol_hash" in told
    features = ["model=sasrec", "item=features", f"data.catalogue={shops / 'a'}_items.csv", "data.catalogue_item=item"]  # fmt: skip
    assert cli.run([*line("a", "trainer.max_epochs=1", model=features), f"run_dir={tmp_path / 'f'}"]) == 0  # fmt: skip
    assert "name those that both have" in refused(*line("b", *given(tmp_path / "f"), model=features), to)  # fmt: skip


@pytest.mark.parametrize("model", ["bprmf", "ease", "vbpr"])
def test_a_model_of_single_users_or_items_is_refused(
    line: Line, pretrained: Path, refused: Refused, model: str, tmp_path: Path
) -> None:
    asked = line("b", *given(pretrained), model=[f"model={model}"])
    assert "knows items by" in refused(*asked, f"run_dir={tmp_path / 'run'}")


def test_data_of_one_name_in_another_state_or_under_another_cut_is_refused(
    line: Line, pretrained: Path, refused: Refused, shops: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    to = f"run_dir={tmp_path / 'refused'}"
    shorter = tmp_path / "shorter.csv"
    shorter.write_text("\n".join((shops / "a.csv").read_text().splitlines()[:-50]))
    asked = [*line("a", *given(pretrained)), f"data.path={shorter}", to]
    assert "was trained on a as well, in another state" in refused(*asked, "data.name=a")
    assert cli.run([*asked[:-1], "data.name=c", f"run_dir={tmp_path / 'c'}"]) == 0
    assert "are they of other people?" in capfd.readouterr().err
    parts = [
        each for name in "ab" for each in (
            f"+data@data.parts.{name}=table", f"data.parts.{name}.path={shops / name}.csv",
            f"data.parts.{name}.user=user", f"data.parts.{name}.item=item",
        )
    ]  # fmt: skip
    both = tmp_path / "both.parquet"
    named = [pl.read_parquet(shops / f"{name}.parquet").with_columns(pl.format(f"{name}:{{}}", "item").alias("item")) for name in "ab"]  # fmt: skip
    pl.concat(named).write_parquet(both)
    settings = [each for each in SETTINGS if not each.startswith("data.")]
    joined, run = [*MODEL, "data=joined", *parts, f"item.path={both}", *settings], tmp_path / "j"
    assert cli.run(["train", *joined, *PRETRAIN, "trainer.max_epochs=1", f"run_dir={run}"]) == 0
    capfd.readouterr()
    assert cli.run([*line("a", *given(run)), f"run_dir={tmp_path / 'part'}"]) == 0
    assert "was trained on a as well, of which it had the events that" in capfd.readouterr().err
    new = "protocol.new_items=0.2"  # others are drawn among the items of both
    assert cli.run(["train", *joined, new, "trainer.max_epochs=0", f"run_dir={tmp_path / 'n'}"]) == 0  # fmt: skip
    told = refused(*line("a", *given(tmp_path / "n"), new), to)
    assert "was trained on a as well" in told
    told = refused(*line("a", *given(run), "protocol.item_core=2"), to)
    assert "was trained on a as well" in told
    told = refused("train", *joined, "protocol.item_core=2", *given(pretrained), to)
    assert "was trained on a as well" in told
    backwards = tmp_path / "backwards.csv"
    head, *rows = (shops / "a.csv").read_text().splitlines()
    backwards.write_text("\n".join([head, *rows[::-1]]))
    told = refused(*line("a", *given(run)), f"data.path={backwards}", "data.name=a", to)
    assert "was trained on a as well" in told


@pytest.mark.parametrize("begun", [[1], {"learnt": "a"}, {"learnt": [{}]}, {"learnt": [3]}])
def test_a_card_that_says_in_no_form_of_ours_what_it_began_with_is_refused(
    line: Line, pretrained: Path, refused: Refused, tmp_path: Path, begun: Any
) -> None:
    strange = tmp_path / "strange"
    shutil.copytree(pretrained, strange)
    run = RunFolder.open(strange)
    run.note(begun=begun)
    told = refused(*line("b", *given(strange)), f"run_dir={tmp_path / 'refused'}")
    assert "what stands under 'begun' is not as a training wrote it" in told


def test_what_was_learnt_by_way_of_another_shop_is_refused(
    line: Line, pretrained: Path, refused: Refused, shops: Path, tmp_path: Path
) -> None:
    run = tmp_path / "b"
    assert cli.run([*line("b", *given(pretrained)), f"run_dir={run}"]) == 0
    (learnt,) = read_json(run / "run.json")["begun"]["learnt"]
    assert learnt["data"] == "a"
    back = line("a", *given(run))
    told = refused(*back, "protocol.item_core=2", f"run_dir={tmp_path / 'refused'}")
    assert "began with a run that was trained on" in told
    assert cli.run([*back, f"run_dir={tmp_path / 'back'}"]) == 0  # under the same protocol
    names = [each["data"] for each in read_json(tmp_path / "back" / "run.json")["begun"]["learnt"]]
    assert names == ["b"]  # what it knew of a is what it trains on itself
    later = tmp_path / "later.csv"  # the log of b goes on under another name
    rows = (shops / "b.csv").read_text().splitlines()
    later.write_text("\n".join([*rows, *(f"b{n},b1_1" for n in range(9))]))
    gone_on = ["method=update", f"method.run={run}", f"data.path={later}", "data.name=v"]
    assert cli.run([*line("b", *gone_on), f"run_dir={tmp_path / 'v'}"]) == 0
    known = read_json(tmp_path / "v" / "run.json")["begun"]["learnt"]
    assert [each["data"] for each in known] == ["b", "a"]
    told = refused(*line("b", *given(tmp_path / "v"), "protocol.item_core=2"), f"run_dir={tmp_path / 'w'}")  # fmt: skip
    assert "began with a run that was trained on" in told


def test_other_tasks_have_no_transfer(refused: Refused, pretrained: Path) -> None:
    told = refused("train", "data=ml_100k_clicks", "task=click", "model=fm", *given(pretrained))
    assert "method=transfer is of task=sequence" in told


def test_a_mixture_is_refused_where_something_else_maps_the_vectors(
    line: Line, refused: Refused, tmp_path: Path
) -> None:
    to = f"run_dir={tmp_path / 'refused'}"
    mixed = ["item=vectors", "item.whiten=false", "item.adaptor=moe"]
    told = refused(*line("a", model=["model=liger", *mixed]), to)
    assert "LIGER maps what describes items itself: say linear" in told
    clicks = ["data=ml_100k_clicks", "task=click", "model=din", "item=text", "item.adaptor=moe"]
    assert "item.adaptor=moe is for models of sequences" in refused("train", *clicks, to)
