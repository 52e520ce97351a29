"""A run goes on with a later log: what it knew is taken over by id, and what is new is learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import shipped
import torch
from omegaconf import OmegaConf

from lightning_rec import cli, config
from lightning_rec.build import load_run
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.models.base import SequenceModel
from lightning_rec.problems.updating import check_whitening

USERS = (
    "bprmf",
    "vbpr",
    "freedom",
    "lightgcn",
    "neumf",
    "xsimgcl",
    "kgat",
)  # models that know their users alone
APART = ("tfidf", "zero_shot", "decoder")  # of texts, or from a hub
LATE = 1_600_001_200  # a time in the log of the fixture
SETTINGS = [
    "data=table", "data.user=uid", "data.item=sku", "data.time=ts", "protocol.drop_doubled=false",
    "batches.max_len=10", "logger=none", "trainer=cpu", "baseline=null", "examples=0",
]  # fmt: skip
Train = Callable[..., Path]


def models() -> list[str]:
    """Every model of sequences that has weights to learn."""
    return [
        name
        for name in shipped.models_of("sequence")
        if name not in APART
        and issubclass(shipped.class_of(name), SequenceModel)
        and shipped.brought(name, "objective") != "closed_form"
    ]


@pytest.fixture(scope="module")
def logs(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The log until a moment, without some users and items, and all of it, in another order."""
    folder = tmp_path_factory.mktemp("logs")
    early = log_frame.filter(
        pl.col("ts") < LATE, ~pl.col("sku").is_in(["i30", "i31"]), pl.col("uid") != "u7"
    )
    early.write_csv(folder / "early.csv")
    log_frame.sort("sku", descending=True, maintain_order=True).write_csv(folder / "late.csv")
    return {name: folder / f"{name}.csv" for name in ("early", "late")}


@pytest.fixture
def early(logs: dict[str, Path], tmp_path: Path) -> Train:
    def make(model: str, *overrides: str) -> Path:
        run = tmp_path / "early"
        small = ["model.dim=8"] if "dim" in shipped.said("model", model) else []
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


def of_nodes(run: Path) -> dict[str, Any]:
    """The own vectors of a graph's users and items that trained, by id."""
    predictor: Any = load_run(run)
    events = pl.read_parquet(run / "trained.parquet")["events"]
    users = predictor.users["user"].to_list()
    names = [*users, *predictor.items["item"]]
    weights = dict(predictor.model.named_parameters())
    if (table := weights.get("node.weight")) is None:
        table = torch.cat([weights["user.weight"], weights["own.weight"]])
    table = table.detach()
    assert len(table) == len(names)
    few = {user for user, count in zip(users, events, strict=True) if not count}
    return {name: row for name, row in zip(names, table, strict=True) if name not in few}


def scores(run: Path, users: list[str], histories: list[list[str]] | None) -> pl.DataFrame:
    """What a run makes of every item it knows, for users or histories."""
    predictor: Any = load_run(run)
    k = len(predictor.items)
    if histories is None:
        return predictor.recommend(users=users, k=k, seen="keep")
    rows = predictor.recommend(histories, k=k, seen="keep")
    return rows.with_columns(user=rows["row"].cast(pl.String))


@pytest.mark.parametrize("model", models())
def test_without_a_step_it_answers_as_the_run_did(
    model: str, early: Train, later: Train, log_frame: pl.DataFrame
) -> None:
    few = ["loss.negatives=8"] if model in ("gsasrec", "esasrec") else []
    run = early(model, "trainer.max_epochs=0", *few)
    new = later(run, "trainer.max_epochs=0")
    graphs = ("lightgcn", "xsimgcl", "kgat", "freedom")
    if model in graphs:  # whose vectors are of the graph, which has grown
        nodes = [of_nodes(each) for each in (run, new)]
        assert nodes[0].keys() < nodes[1].keys()
        assert all(nodes[1][name].equal(vector) for name, vector in nodes[0].items())
        return
    histories = None
    if model not in USERS:
        known = pl.read_parquet(run / "items.parquet")["item"].to_list()
        histories = [known[start : start + 5] for start in range(0, 20, 4)]
    users = [f"u{number}" for number in range(10, 30)]
    old, now = (scores(each, users, histories) for each in (run, new))
    both = old.join(now, ["user", "item"])
    assert len(both) == len(old)
    assert len(now) > len(old)
    np.testing.assert_allclose(both["score"], both["score_right"], rtol=0, atol=1e-5)


def test_what_training_begins_gently_with_is_behind_it(early: Train, later: Train) -> None:
    """β of Mult-VAE, and the same where a run is tuned further on the same data."""
    run = early("multvae", "trainer.max_epochs=1")
    assert 0 < batches_of(run) < 100
    assert batches_of(later(run, "trainer.max_epochs=1")) > 5000
    path = OmegaConf.load(run / "config.yaml").data.path
    asked = ["model=multvae", "model.dim=8", *SETTINGS, f"data.path={path}", "method=finetune"]
    tuned = run.parent / "tuned"
    more = [f"method.run={run}", "trainer.max_epochs=1", f"run_dir={tuned}"]
    assert cli.run(["train", *asked, *more]) == 0
    assert batches_of(tuned) > 5000


def batches_of(run: Path) -> int:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return int(checkpoint["kept"][""])


def test_what_is_new_begins_as_the_mean_and_only_it_is_learnt(early: Train, later: Train) -> None:
    run = early("sasrec", "trainer.max_epochs=1")
    begun = later(run, "trainer.max_epochs=0")
    old, new = load_run(run), load_run(begun)
    table, known = new.model.item.table(), old.items["item"].to_list()  # type: ignore[attr-defined]
    items = new.items["item"].to_list()  # type: ignore[attr-defined]
    mean = table[[items.index(each) for each in known]].mean(dim=0)
    for item in ("i30", "i31"):
        assert table[items.index(item)].allclose(mean, atol=1e-6)
    told = read_json(begun / "run.json")["begun"]
    assert told["new items"] == 2
    # u7, and u0 and u1, who had too few events, or none before the moment
    frame = pl.read_csv(Path(new_log(begun)))
    counted = frame.group_by("uid").len().height
    before = pl.read_parquet(run / "trained.parquet")["events"]
    assert told["new users"] == counted - (before > 0).sum()
    drawn = later(run, "trainer.max_epochs=0", "method.new=draw")
    other = load_run(drawn).model.item.table()[items.index("i30")]  # type: ignore[attr-defined]
    assert not other.allclose(mean, atol=1e-3)


def test_categories_keep_their_vectors_where_others_come(
    early: Train, later: Train, tmp_path: Path
) -> None:
    """Rows of the table are sorted by what they are called, and a new one comes first."""
    about = tmp_path / "about.csv"
    kinds = ["a" if item in (30, 31) else "bcd"[item % 3] for item in range(40)]
    items = [f"i{item:02d}" for item in range(40)]
    pl.DataFrame({"sku": items, "kind": kinds}).write_csv(about)
    named = ["item=[ids,features]", f"data.catalogue={about}", "data.catalogue_item=sku"]
    run = early("sasrec", *named, "trainer.max_epochs=1")
    begun = later(run, "trainer.max_epochs=0")
    old, new = (
        load_run(each).model.item.parts["features"].categories.weight  # type: ignore[attr-defined]
        for each in (run, begun)
    )
    assert (len(old), len(new)) == (3, 4)
    assert new[1:].equal(old)
    assert new[0].allclose(old.mean(dim=0), atol=1e-6)
    histories = [[f"i{item:02d}" for item in range(start, start + 5)] for start in (0, 9)]
    before, now = (scores(each, [], histories) for each in (run, begun))
    both = before.join(now, ["user", "item"])
    assert len(both) == len(before)
    np.testing.assert_allclose(both["score"], both["score_right"], rtol=0, atol=1e-5)


def test_numbers_keep_their_vectors_and_what_nobody_had_has_none_of_its_own(
    early: Train, later: Train, tmp_path: Path
) -> None:
    """Mean and deviation are of the catalogue of now; a width may be that of another table."""
    about, more = tmp_path / "about.csv", tmp_path / "more.csv"
    items = [f"i{item:02d}" for item in range(40)]
    kinds = [str(item % 8) for item in range(40)]
    table = pl.DataFrame({"sku": items, "price": range(40), "kind": [f"k{each}" for each in kinds]})
    table.write_csv(about)
    late = pl.DataFrame({"sku": ["j0", "j1"], "price": [900, 1000], "kind": ["k1", "k2"]})
    pl.concat([table, late.cast(table.schema)]).write_csv(more)
    named = ["item=features_and_ids", f"data.catalogue={about}", "data.catalogue_item=sku"]
    run = early("sasrec", *named, "trainer.max_epochs=1", "protocol.cold_targets=rank")
    begun = later(run, "trainer.max_epochs=0", f"data.catalogue={more}")
    found = {}
    for each in (run, begun):
        predictor: Any = load_run(each)
        parts = predictor.model.item.parts
        codes = dict(zip(predictor.items["item"].to_list(), range(100), strict=False))
        found[each] = parts["features"].table(), parts["ids"].own.weight, codes
    (before, _, then), (after, own, now) = found[run], found[begun]
    for item in items:
        torch.testing.assert_close(after[now[item]], before[then[item]], atol=1e-5, rtol=1e-4)
    assert own[now["i30"]].any()  # which trains here
    assert not own[[now["j0"], now["j1"]]].any()


def new_log(run: Path) -> str:
    from lightning_rec.runs.folder import RunFolder

    return str(RunFolder.open(run).config.data.path)


def test_old_windows_are_replayed_by_their_share(early: Train, later: Train) -> None:
    run = early("sasrec", "trainer.max_epochs=1", "batches.max_len=4")
    told = {
        share: read_json(later(run, "trainer.max_epochs=1", f"method.replay={share}") / "run.json")
        for share in (0, 0.5, 1)
    }
    begun = {share: each["begun"] for share, each in told.items()}
    assert len({each["new windows"] for each in begun.values()}) == 1
    assert begun[0]["replayed windows"] == 0
    whole = begun[1]["replayed windows"]
    assert whole > 50
    assert 0.3 * whole < begun[0.5]["replayed windows"] < 0.7 * whole


def test_it_is_refused_where_nothing_can_be_gone_on_with(
    early: Train, later: Train, logs: dict[str, Path], tmp_path: Path
) -> None:
    run = early("sasrec", "trainer.max_epochs=0")
    for override, words in {
        f"data.path={logs['early']}": "nothing new to learn",
        "model.dim=16": "another model=",
        "protocol.until=2020-09-13T12:36": "nothing new|events that .* has learnt",
    }.items():
        with pytest.raises(UserError, match=words):
            later(run, override)
    only_new = tmp_path / "new.csv"
    users = [f"new{number}" for number in range(6) for _ in range(30)]
    items = [f"i{(number * 7) % 30:02d}" for number in range(180)]
    pl.DataFrame({"uid": users, "sku": items, "ts": range(180)}).write_csv(only_new)
    with pytest.raises(UserError, match="not the new events alone"):
        later(run, f"data.path={only_new}")
    fitted = tmp_path / "itemknn"
    settings = [*SETTINGS, f"data.path={logs['early']}", f"run_dir={fitted}"]
    assert cli.run(["train", "model=itemknn", *settings]) == 0
    with pytest.raises(UserError, match="fitted at once"):
        later(fitted)


def test_a_test_that_the_run_has_learnt_is_refused(
    early: Train, later: Train, logs: dict[str, Path]
) -> None:
    run = early("sasrec", "trainer.max_epochs=0", "protocol=temporal", f"data.path={logs['late']}",
                "protocol.val_from=0.9", "protocol.test_from=0.95")  # fmt: skip
    with pytest.raises(UserError, match=r"targets of test are events that .* has learnt"):
        later(run, "protocol.val_from=0.5", "protocol.test_from=0.6")


def test_new_items_begin_by_their_texts(early: Train, later: Train, tmp_path: Path) -> None:
    numbers = range(40)
    titles = [f"kind{number % 7} thing" if number != 31 else "alone" for number in numbers]
    catalogue = tmp_path / "items.csv"
    pl.DataFrame({"item": [f"i{each:02d}" for each in numbers], "title": titles}).write_csv(
        catalogue
    )
    run = early("sasrec", "trainer.max_epochs=1", f"data.catalogue={catalogue}")
    model: Any = load_run(later(run, "trainer.max_epochs=0", "method.new=text"))
    table, items = model.model.item.table(), model.items["item"].to_list()
    alike = [items.index(f"i{each:02d}") for each in (2, 9, 16, 23, 37)]
    assert table[items.index("i30")].allclose(table[alike].mean(dim=0), atol=1e-6)
    known = [at for at, item in enumerate(items) if item not in ("i30", "i31")]
    assert table[items.index("i31")].allclose(table[known].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("said", [["item=text_and_ids"], ["item=text", "adapter=frozen"]])
def test_items_known_by_texts_keep_what_is_their_own(
    said: list[str], early: Train, later: Train, tiny_bert: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    catalogue = tmp_path / "items.csv"
    names = [f"i{each:02d}" for each in range(40)]
    titles = [f"kind{each % 7} thing {each}" for each in range(40)]
    pl.DataFrame({"item": names, "title": titles}).write_csv(catalogue)
    texts = [*said, "adapter=frozen", f"item.encoder={tiny_bert}", f"data.catalogue={catalogue}"]
    run = early("sasrec", "trainer.max_epochs=1", *texts)
    new = later(run, "trainer.max_epochs=0")
    histories = [[f"i{each:02d}" for each in range(start, start + 5)] for start in (0, 9, 20)]
    old, now = (scores(each, [], histories) for each in (run, new))
    both = old.join(now, ["user", "item"])
    assert len(both) == len(old)
    np.testing.assert_allclose(both["score"], both["score_right"], rtol=0, atol=1e-5)


def test_a_tuned_language_model_is_refused(
    early: Train, later: Train, tiny_bert: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    catalogue = tmp_path / "items.csv"
    names = [f"i{each:02d}" for each in range(40)]
    pl.DataFrame({"item": names, "title": names}).write_csv(catalogue)
    texts = [
        "item=text",
        "adapter=lora",
        "loss=in_batch",
        f"item.encoder={tiny_bert}",
        f"data.catalogue={catalogue}",
    ]
    run = early("sasrec", "trainer.max_epochs=0", *texts)
    with pytest.raises(UserError, match="adapter=frozen"):
        later(run)


def test_a_run_of_a_stranger_sends_figures_nowhere(early: Train, later: Train) -> None:
    run = early("sasrec", "trainer.max_epochs=0")
    path = run / "config.yaml"
    cfg = OmegaConf.load(path)
    target = "lightning_rec.runs.loggers.mlflow_logger"
    cfg.logger = {"mlflow": {"_target_": target, "tracking_uri": "https://elsewhere.example"}}
    OmegaConf.save(cfg, path)
    (run / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"sends figures to https://elsewhere\.example"):
        later(run)


@pytest.mark.parametrize("item", ["vectors", "images_and_ids", "sum"])
def test_what_is_whitened_by_the_items_of_now_is_refused(item: str) -> None:
    parts = "item=[ids,vectors] item.parts.vectors.path=x.npy item.parts.vectors.whiten="
    said = parts if item == "sum" else f"item={item} item.path=x.npy item.whiten="
    for whiten in ("true", "false"):
        cfg = config.compose(["data=ml_100k", "model=sasrec", *f"{said}{whiten}".split()])
        if whiten == "false":
            check_whitening(cfg)
            continue
        with pytest.raises(UserError, match=r"whitened by the items of now.* item\.whiten=false"):
            check_whitening(cfg)
