"""What going on costs beside training anew, over how much is new: of clicks.

``python -m experiments.current.clicks RESULTS FOLDER [SEED …]`` trains DeepFM on MovieLens-100K by
time below FOLDER, where it goes on if it was stopped, and writes RESULTS. The test of all runs
begins at nine tenths of the rows; an earlier run was tested on the first half of it. It trained on
all but the latest 5, 10 or 20 % of the rows before four fifths.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.updates import Clock, compared
from lightning_rec.build import problem_of
from lightning_rec.commands.repeating import train_or_resume
from lightning_rec.config import compose
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.fetch import cache_dir
from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.lab.examples import Values
from lightning_rec.lab.gated import Judged, of_clicks
from lightning_rec.lab.later import opened
from lightning_rec.runs.provenance import about

SHARES = (5, 10, 20)  # per cent of the training rows that are new
TRAIN, TEST, MIDDLE = (
    0.8,
    0.9,
    0.95,
)  # of the rows: where validation, the test, its second half begin
SETTINGS = [
    "model=deepfm", "data=ml_100k_clicks", "protocol=temporal_rows", "logger=none", "trainer=cpu",
    "baseline=null", "trainer.max_epochs=8", "patience=2",
]  # fmt: skip
UPDATE = ["method=update", "trainer.max_epochs=3"]


def dates(*shares: float) -> list[str]:
    """The moments until which these shares of the rows were made."""
    problem: Any = problem_of(compose(SETTINGS))
    loaded: AuditedClicks = problem.load(cache_dir())
    found = np.quantile(times(loaded.data.table, problem.source.fields), shares, method="higher")
    return [datetime.fromtimestamp(int(each), UTC).strftime("%Y-%m-%dT%H:%M:%S") for each in found]


def trained(path: Path, *overrides: str) -> dict[str, Any]:
    """Train a run if it is missing; its rows and what it cost."""
    kept, clock = path.with_name(f"{path.name}.json"), Clock()
    if not kept.is_file():
        train_or_resume([*SETTINGS, *overrides], path, watch=clock)
        card: dict[str, Any] = read_json(path / "run.json")
        rows = {"rows": card["split"]["train rows"], **card.get("begun", {})}
        write_json(kept, {"seconds": round(clock.seconds, 2), "cost": card["cost"], **rows})
    found: dict[str, Any] = read_json(kept)
    return found


def judged(new: Path, old: Path) -> Judged:
    """Both asked for the test of the newer one."""
    (run, problem), (older, other) = opened("run", new), opened("against", old)
    return of_clicks(run, problem, older, other, "auc")  # type: ignore[arg-type]


def measure(folder: Path, seeds: list[int]) -> dict[str, Any]:
    """Train and compare all."""
    begins = dates(*(TRAIN * (1 - share / 100) for share in SHARES), TRAIN, TEST, MIDDLE)
    *earlier, train, test, middle = begins
    now = [f"protocol.val_from={train}", f"protocol.test_from={test}"]
    runs: dict[str, list[dict[str, Any]]] = {}
    told = []
    for seed in seeds:
        anew = trained(folder / f"anew_{seed}", *now, f"seed={seed}")
        runs.setdefault("anew", []).append(anew)
    for share, begin in zip(SHARES, earlier, strict=True):
        against: list[tuple[Values, Values]] = []
        beside: list[tuple[Values, Values]] = []
        for seed in seeds:
            old, new = folder / f"old_{share}_{seed}", folder / f"update_{share}_{seed}"
            then = [f"protocol.val_from={begin}", f"protocol.test_from={test}"]
            runs.setdefault(f"old {share}", []).append(
                trained(old, *then, f"protocol.until={middle}", f"seed={seed}")
            )
            asked = [*UPDATE, f"method.run='{old.absolute()}'", f"seed={seed}"]
            runs.setdefault(f"update {share}", []).append(trained(new, *now, *asked))
            found, whole = judged(new, old), judged(folder / f"anew_{seed}", old)
            against.append((found.now, found.before))
            beside.append((found.now, whole.now))
        lines = [
            *compared("update - old", against, found),
            *compared("update - anew", beside, found),
        ]
        told += [{"share": share, **each} for each in lines]
    settings = {"settings": SETTINGS, "update": UPDATE, "cuts": begins, "seeds": seeds}
    return {**about(), **settings, "runs": runs, "compared": told}


if __name__ == "__main__":
    write_json(
        Path(sys.argv[1]),
        measure(Path(sys.argv[2]), [int(each) for each in sys.argv[3:]] or [1, 2, 3]),
    )
