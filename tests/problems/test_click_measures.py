"""What is said of a model of clicks beside its baseline."""

import pytest

from lightning_rec.problems.click_figures import rela_impr


def test_rela_impr_is_left_out_where_the_baseline_is_no_better_than_chance() -> None:
    figures = {"val/auc": 0.7, "test/auc": 0.48}
    both = ["val/auc", "test/auc"]
    said = rela_impr(both, figures, {"val/auc": 0.6, "test/auc": 0.484})
    assert said == {"val/rela_impr": pytest.approx(1.0)}
    assert rela_impr(both, figures, {"val/auc": 0.515}) == {}
