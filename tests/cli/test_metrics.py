"""A metric of one's own takes one function and one YAML: for rankings and for clicks."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from cli.processes import read
from omegaconf import OmegaConf
from sklearn.metrics import brier_score_loss

from lightning_rec import cli, config
from lightning_rec.build import problem_of

Refused = Callable[..., str]
CODE = '''
def rbp(rank, p):
    """Rank-biased precision (Moffat and Zobel, TOIS 2008) of a single target."""
    return (1 - p) * p ** (rank - 1.0) * (rank > 0)


class Brier:
    """Squared distance of a probability from its label; one for each row."""

    def __init__(self, power: int = 2) -> None:
        self.power = power

    def __call__(self, label, probability):
        return (probability - label).abs() ** self.power


def wide(rank, k):
    return rank[:, None] <= k


def nothing(rank):
    return rank * float("nan")


def broken(gain):
    return gain.no_such_thing()


def words(label, sentence):
    return label
'''
NODES = {
    "rbp": "{_target_: own_metrics.rbp, p: 0.8, figure: {better: max, title: RBP, slices: true}}",
    "brier": "{_target_: own_metrics.Brier, figure: {better: min, title: Brier score}}",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``own(rbp="{…}")``: what to say for metrics that a module of one's own has."""
    (tmp_path / "own_metrics.py").write_text(CODE)
    (tmp_path / "conf/metrics").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)

    def write(**nodes: str) -> list[str]:
        for name, node in nodes.items():
            (tmp_path / "conf/metrics" / f"{name}.yaml").write_text(f"{name}: {node}\n")
        return [f"--config-dir={tmp_path / 'conf'}", f"metrics=[default,{','.join(nodes)}]"]

    return write


def test_a_metric_of_ranks_is_monitored_and_shown_and_told_of_each_user(
    small: list[str], own: Callable[..., list[str]], tmp_path: Path, refused: Refused,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    said = own(rbp=NODES["rbp"])
    run = ["trainer.max_epochs=1", "monitor=val/rbp", f"run_dir={tmp_path / 's'}"]
    assert cli.run(["train", "-m", *said, *small, *run, "seed=1,2"]) == 0
    assert "test/RBP" in capsys.readouterr().out
    folder = tmp_path / "s/0"
    figures, cfg = read(folder / "metrics.json"), OmegaConf.load(folder / "config.yaml")
    users = pl.read_parquet(folder / "test_users.parquet")
    each = [0.2 * 0.8 ** (rank - 1) if rank else 0.0 for rank in users["rank"]]
    assert users["rbp"].to_list() == pytest.approx(each)
    assert figures["test/rbp"] == pytest.approx(sum(each) / len(each))
    assert figures["popularity/val/rbp"] != figures["val/rbp"] > 0
    warm = pl.Series(each).filter(users["rank"].is_not_null())
    assert figures["test/warm/rbp"] >= warm.mean() > 0  # a slice
    assert (cfg.monitor_mode, cfg.callbacks.best.monitor) == ("max", "val/rbp")
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert "--trust own_metrics" in refused("evaluate", f"run={folder}")
    assert cli.run(["evaluate", "--trust=own_metrics", f"run={folder}"]) == 0
    shown = capsys.readouterr().out
    assert "RBP" in shown
    assert "to the last bit" in shown


def test_a_metric_of_clicks_is_told_of_each_row(
    own: Callable[..., list[str]], click_csv: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    said = own(brier=NODES["brier"])
    run = ["model=naive_bayes", "data=click_table", f"data.path={click_csv}", "logger=none"]
    run += ["data.fields.label=clicked", "data.fields.categorical=[uid,sku]", "trainer=cpu"]
    run += ["monitor=val/brier", f"run_dir={tmp_path / 'run'}"]
    assert cli.run(["train", *said, *run]) == 0
    rows, figures = pl.read_parquet(tmp_path / "run/test_rows.parquet"), read(tmp_path / "run/metrics.json")  # fmt: skip
    expected = brier_score_loss(rows["label"], rows["probability"])
    assert figures["test/brier"] == pytest.approx(expected) == pytest.approx(rows["brier"].mean())
    assert OmegaConf.load(tmp_path / "run/config.yaml").monitor_mode == "min"
    assert "Brier score" in capsys.readouterr().out


WRONG = {
    "rank, k": ("wide", "better: max", "tensor of shape [4, 1]"),
    "nan": ("nothing", "better: max", "gives nan on each of 4 made-up examples"),
    "error": ("broken", "better: max", "no_such_thing"),
    "input": ("words", "better: max", "takes label, sentence, which does not fit here"),
    "better": ("rbp", "title: RBP", "figure.better is missing"),
    "direction": ("rbp", "better: more", "figure.better=more"),
    "key": ("rbp", "better: max, titel: x", "Did you mean 'title'?"),
    "name": ("rbp", "better: max, name: a/b", "name=a/b"),
    "section": ("rbp", "better: max, section: rows", "figure.section=rows"),
    "twice": ("rbp", "better: max, name: ndcg, shown: run", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_metric_is_refused_before_any_training(
    case: str, small: list[str], own: Callable[..., list[str]], refused: Refused, tmp_path: Path
) -> None:
    function, figure, sentence = WRONG[case]
    p = ", p: 0.8" if function == "rbp" else ""
    said = own(mine=f"{{_target_: own_metrics.{function}{p}, figure: {{{figure}}}}}")
    run = [*said, *small, f"run_dir={tmp_path / 'run'}"]
    if not sentence:  # ndcg@10 and ndcg are two figures
        assert cli.run(["show", *run]) == 0
        return
    assert sentence in refused("train", *run)
    assert not (tmp_path / "run").exists()


def test_names_that_there_are_not_are_refused(small: list[str], refused: Refused) -> None:
    assert "Unknown choice metrics=rankin. Did you mean 'ranking'?" in refused(
        "show", *small, "metrics=[rankin]"
    )
    assert "does not fit here" in refused("show", *small, "metrics=[default,words]")
    assert "monitor=val/ndcg@10 is no figure" in refused("show", *small, "metrics=[lists]")
    said = ["+metrics.again={_target_: lightning_rec.metrics.functional.recall, figure: {name: recall, better: max}}"]  # fmt: skip
    assert "another metric is called recall" in refused("show", *small, *said)


def test_what_costs_is_left_out(small: list[str], tmp_path: Path) -> None:
    run = ["metrics=[ranking]", "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"]
    assert cli.run(["train", *small, *run, "~metrics.auc"]) == 0
    figures = read(tmp_path / "run/metrics.json")
    assert {"val/ndcg@10", "test/recall@5", "test/mrr"} < set(figures)
    assert not {"test/auc", "test/coverage@10", "test/gini@1"} & set(figures)


@pytest.mark.parametrize("model", ["sasrec", "deepfm"])
def test_a_run_that_is_older_than_metrics_measures_the_default_ones(model: str) -> None:
    cfg = config.compose([f"model={model}"])
    names = [each.figure for each in problem_of(cfg).measured]
    del cfg.metrics
    assert [each.figure for each in problem_of(cfg).measured] == names
