"""``item=images``: pictures decide who likes what, and items that nobody had are recommended by them."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cli.processes import read
from safetensors.torch import load_file
from visions import picture, vision

from lightning_rec import cli, load_run
from lightning_rec.predict.sequences import SequencePredictor

pytest.importorskip("PIL")
pytest.importorskip("transformers")
Refused = Callable[..., str]
USERS, ITEMS = 60, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users 0 to 29 like reddish items, the even ones, and the others bluish ones; each item has a
    picture of its own shade but the last two, whose file names the catalogue knows.
    """
    root, chance = tmp_path_factory.mktemp("shop"), random.Random(3)
    (root / "pictures").mkdir()
    (root / "named").mkdir()
    for item in range(ITEMS - 2):
        strong, weak, green = (
            chance.randint(150, 250),
            chance.randint(0, 100),
            chance.randint(0, 250),
        )
        shade = (strong, green, weak) if item % 2 == 0 else (weak, green, strong)
        picture(root / "pictures" / f"i{item:02d}.png", shade)
        picture(root / "named" / f"{ITEMS - item}.png", shade)
    rows = []
    for user in range(USERS):
        liked = [item for item in range(ITEMS) if item % 2 == (user >= USERS // 2)]
        rows += [
            (f"u{user}", f"i{item:02d}", time) for time, item in enumerate(chance.sample(liked, 14))
        ]
    pl.DataFrame(rows, schema=["uid", "sku", "ts"], orient="row").write_csv(root / "log.csv")
    names = [f"{ITEMS - item}.png" for item in range(ITEMS)]
    skus = [f"i{item:02d}" for item in range(ITEMS)]
    pl.DataFrame({"sku": skus, "shown": names}).write_csv(root / "items.csv")
    vision("clip", root / "clip")
    return root


@pytest.fixture
def shop(folder: Path) -> list[str]:
    return [
        "data=table", f"data.path={folder / 'log.csv'}", "data.user=uid", "data.item=sku", "data.time=ts",
        f"data.catalogue={folder / 'items.csv'}", "data.catalogue_item=sku", "protocol.cutoffs=[1,5,10]",
        "protocol.new_items=0.2", "protocol.cold_targets=rank", "trainer=cpu", "logger=csv",
        "trainer.max_epochs=12", "optimizer.lr=0.02", "model.dim=8",
    ]  # fmt: skip


VBPR = ["model=vbpr", "model.visual_dim=8", "batches.batch_size=32"]
FREEDOM = ["model=freedom", "batches.batch_size=32", "model.dropout=0.3"]
SASREC = [
    "model=sasrec",
    "model.depth=1",
    "loss=in_batch",
    "batches.max_len=14",
    "batches.batch_size=8",
]


def seen_by(folder: Path, *said: str) -> list[str]:
    return [*said, f"item.path={folder / 'pictures'}", f"item.encoder={folder / 'clip'}"]


def liked(run: Path, cold: set[str]) -> float:
    """AUC of items that nobody had: how often a user's kind of item is above one of the other kind."""
    model = load_run(run)
    assert isinstance(model, SequencePredictor)
    users = [f"u{user}" for user in range(USERS)]
    rows = model.recommend(users=users, k=len(model.items), seen="keep")
    rows = rows.filter(pl.col("item").is_in(cold)).with_columns(
        right=pl.col("item").str.slice(1).cast(pl.Int64) % 2
        == (pl.col("user").str.slice(1).cast(pl.Int64) >= USERS // 2).cast(pl.Int64)
    )
    found = []
    for part in rows.partition_by("user"):
        right, wrong = (
            part.filter(pl.col("right") == kind)["score"].to_numpy() for kind in (True, False)
        )
        found.append(np.mean((right[:, None] > wrong) + 0.5 * (right[:, None] == wrong)))
    return float(np.mean(found))


def cold_of(run: Path) -> set[str]:
    """Items without training events that have a picture."""
    weights, items = load_file(run / "weights.safetensors"), pl.read_parquet(run / "items.parquet")
    cold = items.sort("code")["item"].filter(
        pl.Series((weights["own.weight"] == 0).all(dim=1).tolist())
    )
    return set(cold) - {f"i{ITEMS - 1}", f"i{ITEMS - 2}"}


def test_items_that_nobody_had_are_recommended_by_their_pictures(
    shop: list[str], folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = {
        "vbpr": [*VBPR, *seen_by(folder, "item=images")],
        "freedom": [*FREEDOM, *seen_by(folder, "item=images")],
        "sasrec": [*SASREC, *seen_by(folder, "item=images")],
        "both": [*SASREC, *seen_by(folder, "item=images_and_ids"), "item.id_dropout=0.5"],
        "ids": ["model=bprmf", "batches.batch_size=32"],
        "graph": ["model=lightgcn", "batches.batch_size=32"],
    }
    for name, line in lines.items():
        assert cli.run(["train", *shop, *line, f"run_dir={tmp_path / name}"]) == 0
    assert "has no picture of 2 of 48 items, such as i4" in caplog.text
    cold = cold_of(tmp_path / "vbpr")
    assert len({int(item[1:]) % 2 for item in cold}) == 2
    by = {name: liked(tmp_path / name, cold) for name in lines}
    assert min(by[name] for name in ("vbpr", "freedom", "sasrec", "both")) > 0.9, by
    assert all(0.3 < by[name] < 0.7 for name in ("ids", "graph")), by
    weights = load_file(tmp_path / "sasrec" / "weights.safetensors")
    without = pl.read_parquet(tmp_path / "sasrec" / "items.parquet").filter(
        pl.col("item").is_in(["i46", "i47"])
    )
    vectors = weights["item.source.vectors"]
    assert vectors.shape == (ITEMS, 12)
    assert (vectors == 0).all(dim=1).nonzero()[:, 0].tolist() == sorted(without["code"])


def test_a_run_is_asked_without_its_pictures_and_with_the_same_model_alone(
    shop: list[str], folder: Path, refused: Refused, tmp_path: Path
) -> None:
    import shutil

    run, model, shown = tmp_path / "run", tmp_path / "model", tmp_path / "pictures"
    shutil.copytree(folder / "clip", model)
    shutil.copytree(folder / "pictures", shown)
    line = ["item=images", f"item.path={shown}", f"item.encoder={model}", "trainer.max_epochs=1"]
    assert cli.run(["train", *shop, *VBPR, *line, f"run_dir={run}"]) == 0
    assert cli.run(["evaluate", f"run={run}"]) == 0
    shutil.rmtree(shown)
    assert len(load_run(run).recommend(users=["u3"], k=4)) == 4
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}"]) == 0
    noted = model / "preprocessor_config.json"
    noted.write_text(noted.read_text().replace("0.5", "0.4"))
    assert "another language model" in refused("evaluate", f"run={run}")


def test_names_of_files_are_read_of_a_column_and_sums_have_parts(
    shop: list[str], folder: Path, tmp_path: Path
) -> None:
    few = [*shop, *SASREC, "trainer.max_epochs=1"]
    part = [f"item.parts.images.{key}" for key in (
        f"path={folder / 'named'}", f"encoder={folder / 'clip'}", "column=shown",
    )]  # fmt: skip
    named = [
        f"item.path={folder / 'named'}",
        f"item.encoder={folder / 'clip'}",
        "item.column=shown",
    ]
    lines = {
        "id": seen_by(folder, "item=images"),
        "named": ["item=images", *named],
        "sum": ["item=[ids,images]", *part],
    }
    for name, line in lines.items():
        assert cli.run(["train", *few, *line, f"run_dir={tmp_path / name}"]) == 0
    weights = {name: load_file(tmp_path / name / "weights.safetensors") for name in lines}
    ids, names = (weights[name]["item.source.vectors"] for name in ("id", "named"))
    assert (ids == names).all()
    assert (weights["sum"]["item.parts.images.source.vectors"] == ids).all()
    assert weights["sum"]["item.parts.ids.own.weight"].any()
    assert (
        read(tmp_path / "sum" / "run.json")["language_hash"]
        == read(tmp_path / "id" / "run.json")["language_hash"]
    )


def test_models_of_clicks_take_pictures_as_well(
    titled_clicks: Path, folder: Path, tmp_path: Path
) -> None:
    shown = tmp_path / "pictures"
    shown.mkdir()
    for item in range(15):
        picture(shown / f"i{item}.png", (10 * item, 200 - 10 * item, 90))
    line = [
        "data=click_table", f"data.path={titled_clicks}", "data.fields.label=clicked", "data.fields.group=uid",
        "data.fields.categorical=[uid,sku]", "data.fields.item=sku", "data.fields.time=ts",
        "protocol=temporal_rows", "batches.batch_size=64", "logger=csv", "trainer=cpu", "trainer.max_epochs=1",
        "model=deepfm", "model.dim=4", "model.mlp=[8]", "item=images", f"item.path={shown}", f"item.encoder={folder / 'clip'}",
    ]  # fmt: skip
    run = tmp_path / "run"
    assert cli.run(["train", *line, f"run_dir={run}"]) == 0
    assert load_file(run / "weights.safetensors")["source.vectors"].shape[1] == 12
    assert cli.run(["evaluate", f"run={run}"]) == 0


def test_what_cannot_be_is_told_in_a_sentence(
    shop: list[str], folder: Path, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["train", *shop, *VBPR, *seen_by(folder, "item=images"), f"run_dir={tmp_path / 'run'}"]
    assert "given vectors and pictures are not tuned" in refused(*line, "adapter=lora")
    assert "say item.missing=zero" in refused(*line, "item.missing=refuse")
    assert "there is no such folder" in refused(*line, f"item.path={tmp_path / 'gone'}")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "i01.jpg").write_text("no picture")
    assert f"The picture {broken / 'i01.jpg'} cannot be read" in refused(
        *line, f"item.path={broken}"
    )
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "needs Pillow, which is not installed: pip install 'lightning-rec[images]'" in refused(
        *line
    )
