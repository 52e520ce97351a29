"""Windows of steps, curves whose clock stands still while scoring, runs that fail and are kept."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.harness import probe
from benchmarks.harness.probe import CurveProbe, SpeedProbe
from benchmarks.harness.runs import run, run_all


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(probe, "time", made)
    return made


def test_windows_count_rows_after_the_first_steps(clock: Clock) -> None:
    watched = SpeedProbe(warmup=2, steps=2, windows=2)
    stops = []
    for seconds in (9.0, 5.0, 1.0, 1.0, 2.0, 2.0):
        clock.now += seconds
        stops.append(watched.step(100))
    assert stops == [False] * 5 + [True]
    assert watched.per_second("rows") == [100.0, 50.0]


def test_the_clock_of_a_curve_stands_still_while_it_scores(clock: Clock) -> None:
    def score() -> dict[str, float]:
        clock.now += 100
        return {"val/auc": 0.5}

    watched = CurveProbe(seconds=4, every=2, epoch_rows=40, score=score)
    stops = []
    for _ in range(4):
        clock.now += 1
        stops.append(watched.step(10))
    assert stops == [False, False, False, True]
    assert watched.curve == [
        {"train_seconds": 2.0, "epoch": 0.5, "val/auc": 0.5},
        {"train_seconds": 4.0, "epoch": 1.0, "val/auc": 0.5},
    ]


def test_what_failed_is_kept_and_what_is_there_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, made, failing = (tmp_path / f"{name}.json" for name in "abc")
    there.write_text("{}")
    write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('{\"n\": 3}')"
    runs = [
        (there, [sys.executable, "-c", "raise SystemExit('run again')"]),
        (made, [sys.executable, "-c", write, str(made)]),
        (failing, [sys.executable, "-c", "raise ValueError('no such model')"]),
    ]
    log = tmp_path / "failures.json"
    run_all(runs, log, lambda found: f"n is {found['n']}", threads=1, timeout=60, pause=0)
    (failure,) = json.loads(log.read_text())["failures"]
    assert failure["run"] == "c"
    assert "no such model" in failure["reason"]
    assert "n is 3" in capsys.readouterr().out


def test_a_run_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert run(slow, threads=1, timeout=0.01) == "not done after 0.01 s"
