"""What is said of a model of clicks beside its baseline."""

import polars as pl
import pytest

from lightning_rec.problems.click_figures import rela_impr, words_of_slices


def test_rela_impr_is_left_out_where_the_baseline_is_no_better_than_chance() -> None:
    figures = {"val/auc": 0.7, "test/auc": 0.48}
    both = ["val/auc", "test/auc"]
    said = rela_impr(both, figures, {"val/auc": 0.6, "test/auc": 0.484})
    assert said == {"val/rela_impr": pytest.approx(1.0)}
    assert rela_impr(both, figures, {"val/auc": 0.515}) == {}


def test_slices_of_categories_that_are_alike_but_for_signs_are_numbered() -> None:
    values = [None, "a b", "plus", "a/b", "%", "a_b", "ü+"]
    known = pl.DataFrame({"id": range(7), "value": values})
    assert words_of_slices("plan", known)["word"].to_list() == [
        "plan_is_empty", "plan_is_a_b", "plan_is_plus", "plan_is_a_b_2", "plan_is_signs",
        "plan_is_a_b_3", "plan_is_ü",
    ]  # fmt: skip
