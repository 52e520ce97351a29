"""The table of a sweep: grouped by all but the seed, best first, failures counted."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from lightning_rec.lab.reading import name_settings
from lightning_rec.reports.sweep import (
    SweepSummary,
    collect,
    costs_table,
    summarise,
    table,
)

MONITOR = "val/ndcg@10"
MODEL = "model: {_target_: lightning_rec.models.sequential.sasrec.SASRec}\n"
CONFIG = f"monitor: {MONITOR}\nmonitor_mode: max\n{MODEL}"


def job(*overrides: str, **figures: float) -> dict[str, Any]:
    metrics = {MONITOR: figures["ndcg"]} if figures else {}
    status = "completed" if figures else "failed"
    return {
        "folder": "0",
        "status": status,
        "error": None,
        "overrides": list(overrides),
        "model": "SASRec",
        "metrics": metrics,
        "cost": {"epoch_seconds": 10 * figures["ndcg"]} if figures else {},
    }


def named(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    name_settings([*jobs])
    return [*jobs]


JOBS = named(
    job("trainer=cpu", "model.dim=32", "seed=1", ndcg=0.10),
    job("trainer=cpu", "model.dim=32", "seed=2", ndcg=0.20),
    job("trainer=cpu", "model.dim=64", "seed=1", ndcg=0.30),
    job("trainer=cpu", "model.dim=64", "seed=2"),
    job("trainer=cpu", "model.dim=99", "seed=1"),
)


def test_jobs_are_grouped_by_all_but_the_seed_best_first() -> None:
    rows = summarise(JOBS, MONITOR, "max")
    assert [row["setting"] for row in rows] == ["model.dim=64", "model.dim=32", "model.dim=99"]
    assert [(row["jobs"], row["failed"]) for row in rows] == [(2, 1), (2, 0), (1, 1)]
    assert rows[1]["figures"][MONITOR]["mean"] == pytest.approx(0.15)
    assert rows[1]["figures"][MONITOR]["sd"] == pytest.approx(statistics.stdev([0.1, 0.2]))
    assert rows[0]["figures"][MONITOR] == {"mean": 0.3, "sd": None}
    assert rows[2]["figures"] == rows[2]["costs"] == {}
    assert rows[1]["costs"]["epoch_seconds"]["mean"] == pytest.approx(1.5)


def test_where_less_is_better_the_least_comes_first_and_failures_last() -> None:
    rows = summarise(JOBS, MONITOR, "min")
    assert [row["setting"] for row in rows] == ["model.dim=32", "model.dim=64", "model.dim=99"]


def test_seeds_alone_and_nothing_at_all() -> None:
    seeds = named(job("model.dim=8", "seed=1", ndcg=1.0), job("model.dim=8", "seed=2", ndcg=3.0))
    (row,) = summarise(seeds, MONITOR, "max")
    assert (row["setting"], row["figures"][MONITOR]["mean"]) == ("SASRec", 2.0)
    alone = named(job("model.dim=8", ndcg=1.0))
    assert summarise(alone, MONITOR, "max")[0]["setting"] == "SASRec"
    assert summarise([], MONITOR, "max") == []


def test_the_table_shows_means_deviations_and_failures() -> None:
    console = Console(record=True, width=160)
    console.print(table(summarise(JOBS, MONITOR, "max"), MONITOR, "log"))
    text = console.export_text()
    assert "0.1500 ± 0.0707" in text
    assert "2 (1 failed)" in text
    assert text.index("dim=64") < text.index("dim=32")


def test_the_baseline_stands_below() -> None:
    rows = summarise(JOBS, MONITOR, "max")
    rows[0]["figures"][f"popularity/{MONITOR}"] = {"mean": 0.1234, "sd": None}
    console = Console(record=True, width=160)
    console.print(table(rows, MONITOR, "log"))
    lines = [line for line in console.export_text().splitlines() if line.strip()]
    assert lines[-1].split() == ["popularity,", "the", "baseline", "0.1234"]


def test_figures_of_each_goal_are_shown() -> None:
    figures = {f"test/{goal}/{name}": 0.5 for goal in ("buy", "see") for name in
               ("auc", "logloss", "threshold", "f1")}  # fmt: skip
    watched = "val/buy/logloss"
    spread = {name: {"mean": value, "sd": None} for name, value in (figures | {watched: 0.4}).items()}  # fmt: skip
    row = {"setting": "ESMM", "jobs": 1, "failed": 0, "figures": spread, "costs": {}}
    console = Console(record=True, width=160)
    console.print(table([row], watched, "log"))
    of_goals = [f"test/{goal}/{name}" for goal in ("buy", "see") for name in ("auc", "logloss")]
    heading = console.export_text().splitlines()[1]
    assert heading.split() == ["setting", "seeds", watched, *of_goals]


def test_costs_are_shown_as_far_as_they_are_known() -> None:
    console = Console(record=True, width=80)
    shown = costs_table(summarise(JOBS, MONITOR, "max"))
    assert shown is not None
    console.print(shown)
    text = console.export_text()
    assert "s/epoch" in text
    assert "1.50" in text
    assert "model.dim=32" in text
    assert "MiB" not in text  # nothing is known of it
    assert costs_table(summarise(named(job("seed=1")), MONITOR, "max")) is None


def test_a_setting_is_what_differs_in_the_whole_sweep_whatever_part_it_stands_in() -> None:
    jobs = [
        job("data.path=a.csv", f"model.dim={dim}", f"protocol.cutoffs={cutoffs}", "seed=1")
        for cutoffs in ("[1,10]", "[1,5,10]")
        for dim in (8, 16)
    ]
    broken = job()
    *named_, last = named(*jobs, broken)
    assert [each["setting"] for each in named_] == [
        "model.dim=8 protocol.cutoffs=[1,10]",
        "model.dim=16 protocol.cutoffs=[1,10]",
        "model.dim=8 protocol.cutoffs=[1,5,10]",
        "model.dim=16 protocol.cutoffs=[1,5,10]",
    ]
    assert last["setting"] == "SASRec"
    (row,) = summarise(named_[:1], MONITOR, "max")  # alone in its part
    assert row["setting"] == "model.dim=8 protocol.cutoffs=[1,10]"


def test_runs_are_collected_in_the_order_of_their_jobs(tmp_path: Path) -> None:
    for name in ("10_seed=3", "2_seed=2", "0_seed=1"):
        (tmp_path / name).mkdir()
        failed = name.startswith("2")
        card = {
            "status": "failed" if failed else "completed",
            "error": "UserError: no" if failed else None,
            "peak_memory_mib": 300.5,
            "cost": {"trained_parameters": 9, "epochs": 2},
        }
        (tmp_path / name / "run.json").write_text(json.dumps(card))
        (tmp_path / name / "overrides.yaml").write_text(f"- {name.partition('_')[2]}\n")
        (tmp_path / name / "config.yaml").write_text(CONFIG)
        if not failed:
            (tmp_path / name / "metrics.json").write_text('{"val/ndcg@10": 0.5}')
    (tmp_path / "not_a_run").mkdir()
    jobs = collect(tmp_path)
    assert [found["folder"] for found in jobs] == ["0_seed=1", "2_seed=2", "10_seed=3"]
    assert [found["metrics"] for found in jobs] == [{MONITOR: 0.5}, {}, {MONITOR: 0.5}]
    assert (jobs[1]["status"], jobs[1]["error"]) == ("failed", "UserError: no")
    assert jobs[0]["overrides"] == ["seed=1"]
    assert jobs[0]["cost"] == {"peak_memory_mib": 300.5, "trained_parameters": 9}


def test_a_broken_run_does_not_cost_the_others_their_table(tmp_path: Path) -> None:
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text('{"status": "completed"}' if name == "0" else "{")
        (tmp_path / name / "overrides.yaml").write_text("[]\n")
    assert len(collect(tmp_path)) >= 1


def test_jobs_are_ordered_by_what_they_monitor_themselves(tmp_path: Path) -> None:
    known = {"data": "log", "data_hash": "1", "protocol": {"name": "p"}, "protocol_hash": "2"}
    for name, loss, monitor, mode in (
        ("0", 0.9, "val/logloss", "min"),
        ("1", 0.2, "val/logloss", "min"),
        ("2", 0.5, "val/auc", "max"),
    ):
        job = tmp_path / name
        job.mkdir()
        (job / "run.json").write_text(json.dumps({"status": "completed", **known}))
        (job / "overrides.yaml").write_text(f"- model.dim={name}\n")
        (job / "config.yaml").write_text(f"monitor: {monitor}\nmonitor_mode: {mode}\n{MODEL}")
        (job / "metrics.json").write_text(json.dumps({"val/logloss": loss, "val/auc": loss}))
    # What the sweep itself was composed with is another task's.
    composed = {"monitor": MONITOR, "monitor_mode": "max", "hydra": {"sweep": {"dir": str(tmp_path)}}}  # fmt: skip
    summary, cfg = SweepSummary(), OmegaConf.create(composed)
    summary.on_multirun_start(cfg)
    summary.on_multirun_end(cfg)
    first, second = json.loads((tmp_path / "sweep.json").read_text())["tables"]
    assert (first["monitor"], second["monitor"]) == ("val/logloss", "val/auc")
    assert [row["setting"] for row in first["rows"]] == ["model.dim=1", "model.dim=0"]
    assert [row["jobs"] for row in second["rows"]] == [1]
