"""The page: what it finds, what it shows of two models, and that nothing of it comes from elsewhere."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from serving.servers import Asking

from lightning_rec.build import load_run
from lightning_rec.files import name_of
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.serving.answering import NEAR
from lightning_rec.serving.demo import begin_with, found
from lightning_rec.serving.opening import Model

Served = Callable[..., Asking]


def test_two_models_recommend_and_say_by_which_item(
    sasrec: Path, sequence_run: Callable[..., Path], served: Served
) -> None:
    other = sequence_run("model=itemknn")
    ask, predictor = served(sasrec, demo=True, also=other), load_run(sasrec)
    found = ask("/demo/recommend", {"history": ["i03", "i10"]}).body
    assert found["history"][0] == {"item": "i03", "title": "Title i03"}
    first, second = found["models"]
    assert (first["name"], second["name"]) == ("SASRec", "ItemKNN")
    assert {row["title"] for row in second["items"]} == {
        f"Title {row['item']}" for row in second["items"]
    }
    own = predictor.recommend([["i03", "i10"]], k=10, seen="filter")
    assert [row["item"] for row in first["items"]] == own["item"].to_list()
    assert all(row["why"] is None for row in second["items"])  # it has no vectors
    vectors = dict(predictor.item_vectors().iter_rows())

    def cosine(one: str, other: str) -> float:
        a, b = np.array(vectors[one]), np.array(vectors[other])
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert {row["why"] is None for row in first["items"]} == {True, False}
    for row in first["items"]:
        near = max(["i03", "i10"], key=lambda item: cosine(item, row["item"]))
        if cosine(near, row["item"]) < NEAR:
            assert row["why"] is None
            continue
        assert row["why"]["item"] == near
        assert abs(row["why"]["cosine"] - cosine(near, row["item"])) < 1e-5


def test_a_folder_of_a_seed_is_named_with_the_one_above() -> None:
    assert name_of(Path("/runs/sasrec/0")) == "sasrec/0"
    assert name_of(Path("/runs/sasrec")) == "sasrec"


def test_items_are_found_by_the_words_of_their_titles(sasrec: Path, served: Served) -> None:
    ask = served(sasrec, demo=True)
    assert ask("/demo/items?text=I07%20title").body == [{"item": "i07", "title": "Title i07"}]
    assert len(ask("/demo/items?text=title").body) == 12
    assert ask("/demo/items?text=T%C3%AFTLE%20i07").body == ask("/demo/items?text=i07").body
    assert ask("/demo/items?text=").body == ask("/demo/items?text=none").body == []
    assert ask("/demo/recommend", {"history": []}).body["models"][0]["items"] == []


def test_before_the_first_pick_the_most_popular_are_offered(sasrec: Path, served: Served) -> None:
    ask, predictor = served(sasrec, demo=True), load_run(sasrec)
    assert isinstance(predictor, SequencePredictor)
    begun = ask("/demo/recommend", {"history": []}).body
    assert predictor.users is not None
    counts = Counter(predictor.users["items"].explode().to_list())
    wanted = sorted(counts, key=lambda code: (-counts[code], code))[:12]
    ids = predictor.items["item"].gather(wanted).to_list()
    assert begun["popular"] == [{"item": each, "title": f"Title {each}"} for each in ids]
    assert begun["counted"] is True
    assert "popular" not in ask("/demo/recommend", {"history": ["i03"]}).body
    predictor.users = None
    vars(predictor).pop("events", None)
    alone = begin_with(Model(predictor, "sasrec", "1"))
    assert alone["counted"] is False
    assert [each["item"] for each in alone["popular"]] == predictor.items["item"].head(12).to_list()


def test_items_without_titles_are_found_by_their_ids(sasrec: Path) -> None:
    model = Model(load_run(sasrec), "sasrec", "1")
    vars(model)["titles"] = [None] * len(model.items)
    assert found(model, model.items[0].upper())[0] == {
        "item": model.items[0],
        "title": model.items[0],
    }


def test_the_page_is_whole_and_needs_no_key_but_its_data_does(
    sasrec: Path, served: Served, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"shop {'1' * 32}\n")
    ask = served(sasrec, demo=True, keys=tmp_path / "keys")
    page = ask("/demo")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    texts = [page.body, *(ask(path).body for path in re.findall(r'"(/demo/[\w.]+)"', page.body))]
    assert len(texts) == 3
    assert not any(re.search(r"https?://|innerHTML|eval\(", text) for text in texts)
    assert ask("/demo/items?text=title").code == "no_key"
    assert served(sasrec)("/demo").code == "not_found"
