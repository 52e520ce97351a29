"""Whole names of figures are put together and taken apart in one place; declarations are whole."""

import pytest

from lightning_rec import figures
from lightning_rec.figures import Name

NAMES = {
    "val/ndcg@10": Name("ndcg", "val", k=10),
    "test/mrr_sampled100_popular": Name("mrr", "test", sampled="sampled100_popular"),
    "popularity/test/recall@5_sampled9_uniform_partial": Name(
        "recall", "test", k=5, sampled="sampled9_uniform", partial=True, model="popularity"
    ),
    "test/judged/ndcg@10": Name("judged/ndcg", "test", k=10),
    "test/words_1/judged_ndcg@10": Name("judged/ndcg", "test", slice="words_1", k=10),
    "val/buy/auc": Name("auc", "val", goal="buy"),
    "test/buy/user_cold/auc": Name("auc", "test", goal="buy", slice="user_cold"),
    "train/loss": Name("loss", "train"),
    "epoch": Name("epoch"),
}
COUNTS = ("test/words_1/examples", "test/buy/user_cold/examples")


def test_a_name_has_these_parts_and_is_made_of_them() -> None:
    found = figures.parsed([*NAMES, *COUNTS])
    for name, parts in NAMES.items():
        assert found[name] == parts
        assert str(parts) == name
    assert found[COUNTS[0]] == Name("examples", "test", slice="words_1")


def test_which_way_is_better_is_declared() -> None:
    expected = {"val/gini@10": "min", "val/like/logloss": "min", "test/pairs/rmse": "min",
                "val/judged/ndcg@5": "max", "val/rate": None, "val/no_such": None}  # fmt: skip
    assert {name: figures.better(name) for name in expected} == expected
    mine = {"no_such": {"figure": {"better": "min"}}}
    assert figures.better("val/no_such@3", mine) == "min"


@pytest.mark.parametrize("family", figures.families())
def test_every_shipped_metric_declares_its_figure_and_its_section(family: str) -> None:
    for key, node in figures.shipped(family).items():
        figure = figures.Figure(**{"name": key, **node["figure"]})
        assert figure.section, key
        assert set(node) == {"_target_", "figure"}


@pytest.mark.parametrize("name", ["a/b", "", "@", "hits_sampled9_uniform", "hits_partial", "9"])
def test_a_name_that_could_be_misread_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name="):
        figures.Figure(name, "max")
