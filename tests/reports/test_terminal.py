"""The end of a run on a narrow terminal: names and figures are folded, never cut."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_rec.reports.terminal import show_run
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.tracking import Example, shown_items

NAMES = ("precision@10", "coverage@10", "cold/ndcg@10", "cold/examples")


def test_nothing_is_cut_where_there_is_little_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    cfg = OmegaConf.create({"seed": 1, "monitor": "val/precision@10"})
    run = RunFolder.create(tmp_path / "r", cfg, [])
    run.seconds["fit"] = 1.0
    figures = {f"{stage}/{name}": 0.1234 for stage in ("val", "test") for name in NAMES}
    columns = {"SessionPopularity": figures, "BERT4Rec": figures}
    examples = [Example("u1", ["a film with a long title"], ["another one with a long title"])]
    show_run(run, columns, examples, None)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "cov" in shown


def test_the_number_of_examples_is_told_and_that_few_say_little(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cfg = OmegaConf.create({"seed": 1, "monitor": "val/ndcg@10"})
    figures = {"SASRec": {"val/ndcg@10": 0.5, "test/ndcg@10": 0.4}}
    for number, (split, told) in enumerate(
        [
            ({"val targets": 1279, "test targets": 100}, "1,279 val targets, 100 test targets"),
            ({"val targets": 4, "test targets": 4}, "Of 4 test targets alone"),
            ({"val queries": 3, "test queries": 6, "test rows": 500}, "Of 6 test queries alone"),
            ({"val rows": 900, "test rows": 900}, "900 val rows, 900 test rows"),
        ]
    ):
        run = RunFolder.create(tmp_path / str(number), cfg, [])
        run.card["split"] = split
        show_run(run, figures, [], None)
        shown = " ".join(capsys.readouterr().out.split())
        assert told in shown
        assert ("alone: such figures are rough" in shown) == (min(split.values()) < 10)


def test_items_without_an_order_are_not_called_the_latest() -> None:
    example = Example("u1", ["a"], ["b"])
    assert shown_items([example]) == "latest items"
    assert shown_items([example._replace(ordered=False)]) == "some items"
