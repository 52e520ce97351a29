"""``item=``: given vectors, sums, and an encoder of the user's own, which is one class and one YAML."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from cli.processes import read
from safetensors.torch import load_file

import lightning_rec
from lightning_rec import cli

Refused = Callable[..., str]
TITLES = ["data.catalogue_item=sku", "data.catalogue_title=title"]
OWN = '''"""Items known by the first word of their titles."""

import polars as pl
import torch
from torch import Tensor, nn

from lightning_rec.data.split import Schema
from lightning_rec.models.items.base import DescribedItems


class FirstWords(DescribedItems):
    """A learnt vector for each first word of some columns; there may be ``words`` of them."""

    word: Tensor

    def __init__(
        self, schema: Schema, dim: int, columns: tuple[str, ...] = ("title",), words: int = 100
    ) -> None:
        super().__init__(schema, dim)
        self.columns = columns
        self.register_buffer("word", torch.zeros(schema.num_items, dtype=torch.int64))
        self.table_of_words = nn.Embedding(words, dim)

    def read_catalogue(self, catalogue: pl.DataFrame) -> None:
        """Row i describes item i."""
        first = catalogue[self.columns[0]].str.split(" ").list.first()
        self.word.copy_(torch.from_numpy(first.rank("dense").to_numpy().astype("int64")))

    def vectors(self, codes: Tensor) -> Tensor:
        """Vectors of items, int64 [n]: float [n, dim]."""
        return self.table_of_words(self.word[codes])
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder of configs with an encoder of the user's own, and its module."""
    (tmp_path / "first_words.py").write_text(OWN)
    (tmp_path / "conf/item").mkdir(parents=True)
    (tmp_path / "conf/item/first_words.yaml").write_text(
        "_target_: first_words.FirstWords\ncolumns: [title]\nwords: 50\n"
    )
    (tmp_path / "conf/item/words_and_ids.yaml").write_text(
        "defaults: [first_words@parts.words, _self_]\n"
        "_target_: lightning_rec.items.base.SumOf\ngate: true\n"
        "parts: {ids: {_target_: lightning_rec.items.base.OwnIds, dropout: 0.2}}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return ["--config-dir", str(tmp_path / "conf")]


@pytest.fixture
def titled(small: list[str], catalogue_csv: Path) -> list[str]:
    return [*small, f"data.catalogue={catalogue_csv}", *TITLES]


@pytest.fixture
def clicks(titled_clicks: Path) -> list[str]:
    return [
        *["data=click_table", f"data.path={titled_clicks}", "data.fields.label=clicked"],
        *["data.fields.group=uid", "data.fields.categorical=[uid,sku]", "data.fields.item=sku"],
        *["data.fields.past=clicks", "data.fields.time=ts", "protocol=temporal_rows"],
        *["batches.batch_size=64", "logger=csv", "trainer=cpu", "trainer.max_epochs=1"],
        *["model=din", "model.dim=4", "model.mlp=[8]", "model.attention=[4]"],
    ]


def file_of(path: Path, ids: list[str], column: str = "item") -> Path:
    """Vectors of these items, and of one that nobody knows."""
    vectors = np.random.default_rng(0).normal(size=(len(ids) + 1, 6)).astype(np.float32)
    pl.DataFrame({column: ["nobody", *ids], "vector": vectors}).write_parquet(path)
    return path


@pytest.mark.parametrize("item", ["first_words", "words_and_ids"])
def test_an_encoder_of_ones_own_is_a_class_and_a_yaml(
    titled: list[str], own: list[str], item: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    model = ["model=sasrec", "loss=sampled_softmax", "loss.negatives=8", f"item={item}"]
    assert cli.run(["train", *own, *titled, *model, f"run_dir={folder}"]) == 0
    weights = load_file(folder / "weights.safetensors")
    place = "item." if item == "first_words" else "item.parts.words."
    assert weights[f"{place}table_of_words.weight"].shape == (50, 8)
    assert weights[f"{place}word"].unique().numel() > 5
    assert ("item.parts.ids.own.weight" in weights) == (item == "words_and_ids")
    assert not any(name == "item.weight" for name in weights)


def test_models_of_clicks_take_it_as_well(
    clicks: list[str], own: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    line = ["train", *own, *clicks, "item=first_words", f"run_dir={folder}"]
    assert cli.run(line) == 0
    weights = load_file(folder / "weights.safetensors")
    assert weights["source.encoder.word"].unique().numel() > 5
    assert weights["head.fields.described.project.weight"].shape == (4, 4)
    assert pl.read_parquet(folder / "items.parquet").columns == ["code", "sku", "title"]


def test_a_sum_of_known_things_is_used_again_without_trust(
    small: list[str], log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "vectors.parquet", sorted(log_frame["sku"].unique()))
    (tmp_path / "conf/item").mkdir(parents=True)
    (tmp_path / "conf/item/both.yaml").write_text(
        "defaults: [vectors@parts.given, _self_]\n"
        "_target_: lightning_rec.items.base.SumOf\ngate: true\n"
        f"parts: {{ids: {{_target_: lightning_rec.items.base.OwnIds}}, given: {{path: {path}}}}}\n"
    )
    folder = tmp_path / "run"
    line = ["--config-dir", str(tmp_path / "conf"), *small, "model=sasrec", "loss=full_softmax"]
    assert cli.run(["train", *line, "item=both", f"run_dir={folder}"]) == 0
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    assert len(lightning_rec.load_run(folder).item_vectors()) == log_frame["sku"].n_unique()


def test_an_item_without_a_vector_has_0_and_no_say_in_the_whitening(
    small: list[str], log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    items = sorted(log_frame["sku"].unique())
    vectors = np.random.default_rng(0).normal(5, 1, (len(items) - 8, 3)).astype(np.float32)
    path = tmp_path / "vectors.parquet"
    pl.DataFrame({"item": items[8:], "vector": vectors}).write_parquet(path)
    line = [*small, "model=sasrec", "loss=full_softmax", "item=vectors", f"item.path={path}"]
    folder = tmp_path / "run"
    assert cli.run(["train", *line, "item.missing=zero", f"run_dir={folder}"]) == 0
    found = load_file(folder / "weights.safetensors")["item.source.vectors"]
    known = pl.read_parquet(folder / "items.parquet").sort("code")["item"].is_in(items[8:])
    mask = torch.from_numpy(known.to_numpy())[: len(found)]
    assert (found[~mask] == 0).all()
    spread = found[mask].var(dim=0)
    assert spread.max() < 2 * spread.min()


@pytest.mark.parametrize("item", ["vectors", "vectors_and_ids"])
def test_given_vectors_are_a_part_of_the_run(
    small: list[str], log_frame: pl.DataFrame, item: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "vectors.parquet", sorted(log_frame["sku"].unique()))
    folder = tmp_path / "run"
    line = [*small, "model=sasrec", "loss=full_softmax", f"item={item}", f"item.path={path}"]
    assert cli.run(["train", *line, f"run_dir={folder}"]) == 0
    figures = read(folder / "metrics.json")
    assert "1 of" in (folder / "train.log").read_text()  # the item that nobody knows
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    predictor = lightning_rec.load_run(folder)
    known = predictor.item_vectors()
    path.unlink()  # a run folder needs no other file
    again = lightning_rec.load_run(folder)
    assert again.item_vectors().equals(known)
    assert read(folder / "metrics.json") == figures


def test_zero_shots_and_clicks_take_given_vectors(
    small: list[str], clicks: list[str], log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "log.parquet", sorted(log_frame["sku"].unique()))
    plain = [each for each in small if not each.startswith(("model", "batches.batch_size"))]
    shot = [*plain, "model=zero_shot", "item=vectors", f"item.path={path}", "~callbacks.best"]
    assert cli.run(["evaluate", *shot, f"run_dir={tmp_path / 'shot'}"]) == 0
    assert read(tmp_path / "shot/metrics.json")["test/recall@10"] > 0
    shown = [*(f"i{item}" for item in range(15)), "new0", "new1"]
    path = file_of(tmp_path / "clicks.parquet", shown)
    for item in ("vectors", "vectors_and_ids"):
        run = tmp_path / item
        given = [f"item={item}", f"item.path={path}", f"run_dir={run}"]
        assert cli.run(["train", *clicks, *given]) == 0
        weights = load_file(run / "weights.safetensors")
        assert weights["head.fields.described.project.weight"].shape == (4, 6)
        assert torch.isfinite(weights["source.vectors"]).all()
        assert cli.run(["evaluate", f"run={run}"]) == 0


def test_what_vectors_cannot_do_is_refused(
    small: list[str], log_frame: pl.DataFrame, refused: Refused, tmp_path: Path
) -> None:
    ids = sorted(log_frame["sku"].unique())
    path = file_of(tmp_path / "few.parquet", ids[3:])
    line = ["train", *small, "item=vectors", f"item.path={path}"]
    sasrec = [*line, "model=sasrec", "loss=full_softmax", f"run_dir={tmp_path / 'run'}"]
    assert "no vector of 3 of" in refused(*sasrec)
    assert "drop adapter=" in refused(*sasrec, "adapter=lora")
    assert "item=vectors_and_ids" in refused(*sasrec, "item.id_dropout=0.2")
    assert "no such file" in refused(*sasrec, "item.path=/nowhere.npy")
    assert "item.path" in refused("train", *small, "model=sasrec", "item=vectors")
    plain = [each for each in line if not each.startswith(("model.d", "batches.batch_size"))]
    assert "no table of items" in refused(*plain, "model=ease")
    assert "second table" in refused(*plain, "model=gsasrec", "model.dim=8")


def test_no_word_of_a_file_of_ids_is_told_that_nobody_but_the_config_named(
    small: list[str],
    log_frame: pl.DataFrame,
    refused: Refused,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids, folder = sorted(log_frame["sku"].unique()), tmp_path / "run"
    np.save(tmp_path / "vectors.npy", np.eye(len(ids), 6, dtype=np.float32) + 1)
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    files = [f"item.path={tmp_path / 'vectors.npy'}", f"item.item_ids={tmp_path / 'ids.txt'}"]
    line = [*small, "model=sasrec", "loss=full_softmax", "item=vectors", *files]
    assert cli.run(["train", *line, f"run_dir={folder}"]) == 0
    secret = [f"hunter{number}" for number in range(len(ids))]
    (tmp_path / "ids.txt").write_text("\n".join(secret))
    told = refused("evaluate", f"run={folder}")
    assert "name them yourself: item.path=" in told
    assert "hunter" not in told + caplog.text
    data = next(each for each in small if each.startswith("data.path="))
    assert "its ids are like hunter0" in refused("evaluate", f"run={folder}", data, *files)


def test_a_zero_shot_over_given_vectors_answers(
    small: list[str], log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "log.parquet", sorted(log_frame["sku"].unique()))
    plain = [each for each in small if not each.startswith(("model", "batches.batch_size"))]
    shot = [*plain, "model=zero_shot", "item=vectors", f"item.path={path}", "~callbacks.best"]
    assert cli.run(["evaluate", *shot, f"run_dir={tmp_path / 'shot'}"]) == 0
    path.unlink()  # the vectors are a part of the run
    predictor = lightning_rec.load_run(tmp_path / "shot")
    tables = [
        pl.read_parquet(tmp_path / f"shot/{name}.parquet") for name in ("test_users", "users")
    ]
    rows = tables[0].drop_nulls("rank").join(tables[1], "user", maintain_order="left")
    items = pl.read_parquet(tmp_path / "shot/items.parquet").sort("code")["item"]
    ranks = []
    for row in rows.iter_rows(named=True):
        *past, target = items.gather(row["items"][: row["history"] + 1]).to_list()
        found = predictor.recommend([past], k=len(items))
        score = found.filter(pl.col("item") == target)["score"][0]
        ranks.append((found["score"] >= score).sum())
    assert ranks == rows["rank"].to_list()


@pytest.mark.parametrize("item", ["features", "[ids,features]"])
def test_features_of_a_catalogue_describe_known_and_new_items(
    titled: list[str], item: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    line = [*titled, "model=sasrec", "loss=full_softmax", f"item={item}"]
    assert cli.run(["train", *line, f"run_dir={folder}"]) == 0
    assert "kind (3 categories)" in (folder / "train.log").read_text()
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    kind = pl.read_parquet(folder / "items.parquet")["kind"][0]
    new = pl.DataFrame({"item": ["new", "odd"], "kind": [kind, "never seen"]})
    predictor = lightning_rec.load_run(folder, new_items=new)
    vectors = {row["item"]: row["vector"] for row in predictor.item_vectors().iter_rows(named=True)}
    assert np.abs(vectors["new"]).sum() > 0
    assert np.abs(vectors["odd"]).sum() == 0
    bundle = tmp_path / "bundle"
    assert cli.run(["export", f"run={folder}", f"to={bundle}"]) == 0
    asked = {"histories": [["i01", "i08"]], "k": 3}
    answers = [lightning_rec.open_model(each).recommend(**asked) for each in (folder, bundle)]
    assert answers[0].equals(answers[1])


def test_several_parts_are_named_in_brackets(titled: list[str], refused: Refused) -> None:
    line = ["train", *titled, "model=sasrec"]
    assert "stands there twice" in refused(*line, "item=[ids,ids]")
    assert "name what items are known by" in refused(*line, "item=[]")
    assert "Unknown choice item=feature" in refused(*line, "item=[ids,feature]")
    assert "two ways to join" in refused(
        *line, "item=[ids,features]", "item.gate=true", "item.concat=true"
    )
    assert "item=[ids,features]" in refused(*line, "item=sum")
