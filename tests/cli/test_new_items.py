"""Items that training did not have: known by their texts, in runs, in bundles, by every verb."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli, load_run, open_model
from lightning_rec.bundle.export import export
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor

pytest.importorskip("peft")
Refused = Callable[..., str]


def opened(folder: Path, new: pl.DataFrame | None = None) -> SequencePredictor:
    found = load_run(folder, new_items=new)
    assert isinstance(found, SequencePredictor)
    return found


@pytest.mark.parametrize(
    "said", [["adapter=frozen"], ["adapter=lora"], ["item=text_and_ids"], ["model=gru4rec"]]
)
def test_a_new_item_is_what_its_text_says(
    texts: list[str], said: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert cli.run(["train", *texts, *said, f"run_dir={folder}"]) == 0
    old = opened(folder)
    twin, other = old.items.row(3, named=True), old.items.row(5, named=True)
    new = pl.DataFrame({"item": ["new1", "new2"], "title": [twin["title"], other["title"]]})
    model = opened(folder, new)
    assert model.items["item"].to_list() == [*old.items["item"], "new1", "new2"]
    history = old.items["item"].head(3).to_list()
    n = len(old.items)
    before = old.recommend([history], k=n, seen="keep")
    after = model.recommend([history], k=n + 2, seen="keep")
    scores = dict(after.select("item", "score").iter_rows())
    for item, score in before.select("item", "score").iter_rows():  # others are as they were
        assert scores[item] == pytest.approx(score, abs=1e-5)
    vectors = dict(model.item_vectors().iter_rows())
    if "item=text_and_ids" not in said:  # nothing but the text counts: twins are one
        assert np.allclose(vectors["new1"], vectors[twin["item"]], atol=1e-6)
        assert scores["new1"] == pytest.approx(scores[twin["item"]], abs=1e-5)
        asked = [[*history, "new1"], [*history, twin["item"]]]
        rows = model.recommend(asked, k=5, seen="keep")
        one, two = (part["item"].to_list() for part in rows.partition_by("row"))
        assert one == two
    else:  # its own vector is 0, its bias the mean of the others'
        weights = dict(model.model.named_parameters())
        own, bias = weights["item.parts.ids.own.weight"], weights.get("item_bias")
        assert not own[n:].any()
        assert not np.allclose(vectors["new1"], vectors[twin["item"]], atol=1e-3)
        assert bias is None or bool((bias[n:] == bias[:n].mean()).all())


def test_vbpr_scores_a_new_item_by_its_text_and_the_mean_of_biases(
    texts: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    line = [each for each in texts if not each.startswith("model.depth")]
    line += ["model=vbpr", "model.visual_dim=4", "loss=bpr"]
    assert cli.run(["train", *line, f"run_dir={folder}"]) == 0
    old = opened(folder)
    twin = old.items.row(3, named=True)
    model = opened(folder, pl.DataFrame({"item": ["new"], "title": [twin["title"]]})).model
    own, bias = (dict(model.named_parameters())[name] for name in ("own.weight", "bias"))
    assert own[3].any()
    assert not own[-1].any()
    weight, made = model.vectors()
    assert np.allclose(weight[-1, 8:], weight[3, 8:], atol=1e-6)
    assert np.allclose(made[-1] - bias[:-1].mean(), made[3] - bias[3], atol=1e-6)


def test_a_bundle_has_the_new_items_of_its_export(texts: list[str], tmp_path: Path) -> None:
    folder, to = tmp_path / "run", tmp_path / "bundle"
    assert cli.run(["train", *texts, f"run_dir={folder}"]) == 0
    file = tmp_path / "new.csv"
    new = pl.DataFrame({"item": ["007", "new2"], "title": ["alpha beta", "gamma"], "more": [1, 2]})
    new.write_csv(file)
    assert cli.run(["export", f"run={folder}", f"to={to}", f"new_items={file}"]) == 0
    bundle, run = open_model(to), opened(folder, new)
    for asked in ([["007", "i03"]], [["i01"]]):
        theirs, ours = (each.recommend(asked, k=9) for each in (bundle, run))
        assert theirs["item"].to_list() == ours["item"].to_list()
        assert np.allclose(theirs["score"], ours["score"], atol=1e-5)
    assert cli.run(["similar", f"model={folder}", f"new_items={file}", "item=007", "k=3"]) == 0
    assert cli.run(["similar", f"model={to}", "item=007", "k=3"]) == 0
    with pytest.raises(UserError, match="export its run again"):
        open_model(to, new_items=new)


def test_what_cannot_be_new_is_told(
    texts: list[str], small: list[str], refused: Refused, tmp_path: Path
) -> None:
    folder, ids = tmp_path / "run", tmp_path / "ids"
    assert cli.run(["train", *texts, f"run_dir={folder}"]) == 0
    assert cli.run(["train", *small, "model=sasrec", f"run_dir={ids}"]) == 0
    known = opened(folder).items["item"][0]

    def told(new: dict[str, list[str | None]], where: Path = folder) -> str:
        with pytest.raises(UserError) as error:
            load_run(where, new_items=pl.DataFrame(new))
        return str(error.value)

    assert "item=text" in told({"item": ["n"], "title": ["t"]}, ids)
    assert "knows the items" in told({"item": [known], "title": ["t"]})
    assert "named twice" in told({"item": ["n", "n"], "title": ["t", "t"]})
    assert "no column 'title'" in told({"item": ["n"]})
    assert "no id" in told({"item": ["n", None], "title": ["t", "t"]})
    assert "no rows" in told({"item": [], "title": []})
    missing = refused("similar", f"model={folder}", "item=i01", f"new_items={tmp_path / 'no.csv'}")
    assert "no.csv" in missing
    with pytest.raises(UserError, match="new_items"):
        export(ids, tmp_path / "to", new_items=pl.DataFrame({"item": ["n"], "title": ["t"]}))
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("model", ["bi_encoder", "bm25", "cross_encoder"])
def test_what_reads_any_text_finds_new_items(
    model: str, pairs_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bm25s")
    about = ["data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name"]
    about += ["data.item=sku", "data.relevance=grade", "data.positive_from=2.5"]
    about += ["data.scale=[1,3]", "protocol.cutoffs=[1,5,10]", "trainer.max_epochs=1"]
    about += ["trainer=cpu", "logger=none", "baseline=null", f"model={model}"]
    about += [] if model == "bm25" else [f"model.encoder={tiny_bert}"]
    folder = tmp_path / "run"
    assert cli.run(["train", *about, f"run_dir={folder}"]) == 0
    new = pl.DataFrame({"item": ["new"], "title": ["calm lamp"]})
    if model != "bi_encoder":  # their index of texts, or that of their first stage, has no others
        with pytest.raises(UserError, match="has indexed the texts of its training"):
            load_run(folder, new_items=new)
        return
    export(folder, tmp_path / "bundle", new_items=new)
    for asked in (load_run(folder, new_items=new), open_model(tmp_path / "bundle")):
        assert asked.recommend(["calm lamp"], k=1)["item"].to_list() == ["new"]


def test_freedom_finds_the_neighbours_of_a_new_item_by_its_text(
    texts: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    line = [each for each in texts if not each.startswith("model.depth")]
    line += ["model=freedom", "model.neighbours=4", "loss=bpr", "item.whiten=false"]
    assert cli.run(["train", *line, f"run_dir={folder}"]) == 0
    old: Any = opened(folder)
    twin = old.items.row(3, named=True)
    model: Any = opened(folder, pl.DataFrame({"item": ["new"], "title": [twin["title"]]})).model
    weight, _ = model.vectors()
    near = model.alike.near[0]
    assert set(near[-1].tolist()) >= {3, len(near) - 1}
    assert near[:-1].equal(old.model.alike.near[0])
    assert not model.own.weight[-1].any()
    assert weight[-1].allclose(model.own.weight[near[-1]].mean(dim=0), atol=1e-6)
    assert weight[:-1].allclose(old.model.vectors().weight, atol=1e-6)
